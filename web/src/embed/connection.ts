/**
 * A room's connection for pages that nobody looks after: embeds and overlays. Finds out who we are, joins, renews the token
 * before it ends, reads on without one where that is allowed, and, if told to, never gives up. Draws nothing.
 */
import { Api, Client, CloseCode, type CommentBatch, type DevIdentity, type JoinOptions, type Room, type RoomEvent, type RoomJoined } from "@barrage/client";
import { randomId } from "../shared/ids";
import { claimsOf } from "../shared/token";

export interface ConnectionOptions {
  server: string;
  roomId: string;
  token: string | undefined;
  join: JoinOptions;
  /** Asked for a new token shortly before this one ends, and once it has. Undefined: there is none. */
  renew?: () => Promise<string | undefined>;
  /** Comes back also after what a page with a person before it would tell that person. */
  forever?: boolean;
}

export type ConnectionState =
  | { name: "connecting" | "connected" | "reconnecting" }
  | { name: "ended"; code: number | undefined; reason: string };

export interface ConnectionHandlers {
  state(state: ConnectionState): void;
  /** Who we are has been told, or that we only read; `expired` when that was not so before. */
  identified(me: { userId: string | undefined; expired: boolean }): void;
  joined(room: RoomJoined): void;
  comments(batch: CommentBatch): void;
  event(event: RoomEvent): void;
}

const RENEW_AHEAD_MS = 60_000;
const ASK_AGAIN_MS = 3_000;
const FOREVER_MS = 30_000;
/** The longest delay a timer takes. */
const TIMER_MAX_MS = 2_147_483_000;

export class RoomConnection {
  room: Room | undefined;
  client: Client | undefined;
  api: Api;

  #token: string | undefined;
  #identity: DevIdentity | undefined;
  #expired = false;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly handlers: ConnectionHandlers,
  ) {
    this.#token = options.token;
    this.api = new Api({ url: options.server });
    handlers.state({ name: "connecting" });
    void this.#start();
  }

  /** Takes a new token without losing the connection. */
  useToken(token: string | undefined): void {
    if (token === this.#token) return;
    const anonymous = this.#token === undefined || token === undefined;
    this.#token = token;
    this.#expired = false;
    this.#planRenewal();
    this.api = this.#makeApi();
    if (anonymous || !this.client?.connected) return this.#connect();
    this.client.login(token ?? "").catch(() => this.#closed || this.#connect());
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#renewal);
    this.client?.close();
  }

  /** A server in `--dev` mode believes names: a guest's is made up, so that a first try can write. */
  async #start(): Promise<void> {
    const info = await this.api.server().catch(() => undefined);
    if (this.#closed) return;
    if (!info) {
      this.#timer = setTimeout(() => void this.#start(), ASK_AGAIN_MS);
      return;
    }
    if (info.dev) {
      const name = `guest-${randomId().slice(0, 4)}`;
      this.#identity = { user_id: name, username: name };
    }
    this.#planRenewal();
    this.api = this.#makeApi();
    this.#connect();
  }

  #makeApi(): Api {
    const { server: url } = this.options;
    return new Api({ url, ...(this.#token ? { token: this.#token } : this.#identity ? { identity: this.#identity } : {}) });
  }

  #connect(): void {
    this.client?.close();
    const { server: url, roomId, join } = this.options;
    const token = this.#token;
    const client = new Client({ url, ...(token ? { token: () => this.#token ?? "" } : this.#identity ? { identity: this.#identity } : {}) });
    this.client = client;
    const current = <T>(listener: (value: T) => void) => (value: T): void => {
      if (client === this.client && !this.#closed) listener(value);
    };
    client.on("state", current((state) => {
      if (state.name === "connected") this.handlers.state({ name: "connected" });
      else if (state.name === "waiting") this.handlers.state({ name: "reconnecting" });
      else if (state.name === "closed") this.#ended(state.code, state.reason ?? "");
    }));
    client.on("identified", current(({ user_id }) => this.handlers.identified({ userId: user_id, expired: false })));
    const room = client.room(roomId);
    this.room = room;
    room.on("joined", current((joined) => this.handlers.joined(joined)));
    room.on("comments", current((batch) => this.handlers.comments(batch)));
    room.on("event", current((event) => this.handlers.event(event)));
    room.on("refused", current((error) => this.#refused(error.code, error.message)));
    if (!token && !this.#identity) this.handlers.identified({ userId: undefined, expired: this.#expired });
    client.connect();
    room.join(join).catch(() => undefined); // `refused` tells, or the state does
  }

  #refused(code: string, message: string): void {
    if (code === "unauthorized") return this.#ended(CloseCode.Unauthorized, message);
    if (code === "timeout" || code === "overloaded" || code === "unavailable" || code === "rate_limited") return; // joined again by itself
    this.#ended(undefined, message);
  }

  /** A token that is no longer taken is renewed, or left away. */
  #ended(code: number | undefined, reason: string): void {
    if (code === CloseCode.Unauthorized && this.#token !== undefined) return void this.#expire();
    this.handlers.state({ name: "ended", code, reason });
    if (this.options.forever) this.#timer = setTimeout(() => this.#closed || this.#connect(), FOREVER_MS);
  }

  async #expire(): Promise<void> {
    const old = this.#token;
    const renewed = await this.options.renew?.().catch(() => undefined);
    if (this.#closed || this.#token !== old) return;
    this.#token = renewed !== old ? renewed : undefined;
    this.#expired = this.#token === undefined;
    this.#planRenewal();
    this.api = this.#makeApi();
    this.#connect();
  }

  #planRenewal(): void {
    clearTimeout(this.#renewal);
    const exp = (claimsOf(this.#token ?? "") as { exp?: unknown } | null)?.exp;
    if (typeof exp !== "number" || !this.options.renew) return;
    const dueMs = Math.max(0, exp * 1_000 - Date.now() - RENEW_AHEAD_MS);
    this.#renewal = setTimeout(() => void this.#renew(), Math.min(TIMER_MAX_MS, dueMs));
  }

  async #renew(): Promise<void> {
    const renewed = await this.options.renew?.().catch(() => undefined);
    if (!this.#closed && renewed && renewed !== this.#token) this.useToken(renewed);
  }
}

/**
 * The connection: one state machine that connects, keeps alive, reconnects and hands each message to the room it
 * belongs to. Rooms, clock, heartbeat, retries and transport are each their own file; this one joins them.
 *
 *     closed ──connect()──▶ connecting ──▶ connected
 *                              ▲   │           │ lost
 *                              │   └──failed───┤
 *                              └── waiting ◀───┘       fatal code or close() ──▶ closed
 */
import { BarrageError, CloseCode, isFatalClose } from "./codes.js";
import { ServerClock } from "./clock.js";
import { Emitter } from "./emitter.js";
import { Heartbeat } from "./heartbeat.js";
import { errorFrom, PendingRequests } from "./pending.js";
import { eventStreamTransport, longPollTransport, segmentTransport } from "./http-transport.js";
import { TransportLadder } from "./ladder.js";
import { raced } from "./raced.js";
import { fullJitter, orderedDelay, type RetryPolicy } from "./retry.js";
import { Room } from "./room.js";
import { SeenIds } from "./seen.js";
import { type Connect, SEGMENTS, type Transport, webSocketTransport } from "./transport.js";
import {
  type AnyMessage,
  type ClientMessage,
  type CommentsMessage,
  type Connected,
  type Level,
  type LikeAck,
  parseMessage,
  type RoomEvent,
} from "./types.js";
import { hasWebTransport, webTransport, type WebTransportOptions } from "./web-transport.js";

/** Who a server started with `--dev` shall believe we are. */
export interface DevIdentity {
  user_id: string;
  username?: string;
  level?: Level;
}

export interface ClientOptions {
  /** Where the server is, such as `https://live.example` or a page's `location.origin`. */
  url: string;
  /** The token, or a function asked for one at every attempt to connect (so that it can be a fresh one). */
  token?: string | (() => string | Promise<string>);
  /** Identity for a server in `--dev` mode; a token wins over it. */
  identity?: DevIdentity;
  /** Names this device: the same device connecting again replaces its older connection. Absent: a fresh one each time. */
  deviceId?: string;
  /** How long to wait before each new attempt. Default: full jitter, 1 s doubling to 30 s. */
  retry?: RetryPolicy;
  /** How long a request may go unanswered before it rejects with `timeout`. Default 10 s. */
  requestTimeoutMs?: number;
  /** How long one attempt to connect may take. Default 10 s. */
  connectTimeoutMs?: number;
  /**
   * Where the server has WebTransport (`Api.server()` says so): raced against WebSocket, which starts 300 ms later and is
   * taken alone for an hour where it wins.
   */
  webTransport?: WebTransportOptions;
  /** Where a cache in front of the server is, for live segments. Default: `url`. */
  cdnUrl?: string;
  /** What carries the messages: the first that works here. Default: WebSocket, event streams with HTTP, long polling, live segments. */
  transport?: Connect | readonly Connect[];
}

export type ClientState =
  | { name: "connecting" }
  | { name: "connected" }
  /** Lost or refused; the next attempt starts in `retryInMs`. */
  | { name: "waiting"; retryInMs: number; code: number; reason: string }
  /** Not connected and not trying. `code` and `reason` are the server's when it ended things for good. */
  | { name: "closed"; code?: number; reason?: string };

export interface ClientEvents {
  /** Every change of state. */
  state: ClientState;
  /** The server told us who we are; also after a later login. */
  identified: Connected;
  /** Something that happened in a room or to this user; each `event_id` once, critical ones acknowledged already. */
  event: RoomEvent;
  /** A message the client itself has no use for, such as those of the chat. */
  message: AnyMessage;
  /** The server complained about something that was not a request waiting for its answer. */
  error: BarrageError;
}

const DEFAULT_HEARTBEAT_MS = 30_000;
/** A connection that lived shorter than this counts as another failure, so a flapping server is not hammered. */
const STABLE_MS = 10_000;
const EVENTS_REMEMBERED = 1_024;
/** Viewers whom a server sends to segments go within this time, each at another moment. */
const MOVE_MS = 3_000;
/** Close code of a connection that ended without a word (RFC 6455 §7.1.5). */
const ABNORMAL = 1006;

export class Client extends Emitter<ClientEvents> {
  /** The server's clock; plays things at the same moment on every screen. */
  readonly clock = new ServerClock();

  readonly #options: ClientOptions;
  readonly #retryPolicy: RetryPolicy;
  readonly #rooms = new Map<string, Room>();
  readonly #pending: PendingRequests;
  readonly #events = new SeenIds(EVENTS_REMEMBERED);
  readonly #heartbeat: Heartbeat;
  readonly #ladder: TransportLadder;
  #state: ClientState = { name: "closed" };
  #identity: Connected | undefined;
  #transport: Transport | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #probe: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #attempt = 0;
  #attemptedAt = 0;
  #connectedAt = 0;
  #beatSentAt: number | undefined;
  #move: ReturnType<typeof setTimeout> | undefined;
  /** Whether the server would rather have us read segments. */
  #prefersSegments = false;

  constructor(options: ClientOptions) {
    super();
    this.#options = { ...options };
    this.#retryPolicy = options.retry ?? fullJitter();
    const { transport = defaultTransports(options) } = options;
    this.#ladder = new TransportLadder(typeof transport === "function" ? [transport] : transport);
    this.#pending = new PendingRequests(options.requestTimeoutMs ?? 10_000);
    this.#heartbeat = new Heartbeat(
      () => this.#beat(),
      () => this.#transport?.close("no heartbeat"),
    );
  }

  get state(): ClientState {
    return this.#state;
  }

  /** Whom the server took us for, once it has said so. */
  get identity(): Connected | undefined {
    return this.#identity;
  }

  /** What carries the messages now, or will with the next attempt: `webtransport`, `websocket`, `event-stream`, `long-poll`, `segments`. */
  get transport(): string {
    return this.#ladder.current.label ?? "custom";
  }

  get connected(): boolean {
    return this.#state.name === "connected";
  }

  /** Starts connecting; while waiting, tries at once instead. Does nothing when connected or connecting. */
  connect(): void {
    if (this.#state.name !== "closed" && this.#state.name !== "waiting") return;
    if (this.#state.name === "closed") this.#failures = 0;
    void this.#open();
  }

  /** Ends the connection and all attempts; every open request rejects with `closed`. */
  close(): void {
    this.#finish({ name: "closed" });
  }

  /** The room of that name, the same object each time. It is not joined yet. */
  room(roomId: string): Room {
    const known = this.#rooms.get(roomId);
    if (known) return known;
    const room = new Room(roomId, this);
    this.#rooms.set(roomId, room);
    return room;
  }

  /** Takes another identity: at once when connected, otherwise with the next connection. */
  async login(token: string): Promise<void> {
    this.#options.token = token;
    if (this.connected) await this.request({ type: "login", token }, false);
  }

  /** Likes a comment; rejects with `already_liked` the second time. */
  async like(commentId: string): Promise<LikeAck> {
    return (await this.request({ type: "like", comment_id: commentId }, false)) as unknown as LikeAck;
  }

  /**
   * Sends a message and waits for its answer. `repeatable` ones wait out a lost connection and are sent again;
   * give it only to what the server recognises as a repeat (`client_msg_id`).
   */
  request(message: ClientMessage, repeatable: boolean): Promise<AnyMessage> {
    if (this.#state.name === "closed") return Promise.reject(new BarrageError("closed", "the client is closed"));
    if (!this.connected && !repeatable) {
      return Promise.reject(new BarrageError("disconnected", "there is no connection"));
    }
    const { ref, answer } = this.#pending.add(message, repeatable);
    if (this.connected) this.#send({ ...message, ref });
    return answer;
  }

  /** Sends a message that has no answer; dropped while there is no connection. */
  send(message: ClientMessage): void {
    if (this.connected) this.#send(message);
  }

  async #open(): Promise<void> {
    const attempt = ++this.#attempt;
    clearTimeout(this.#timer);
    this.#become({ name: "connecting" });
    this.#attemptedAt = this.clock.monotonicMs();
    this.#timer = setTimeout(() => {
      if (this.#transport) this.#transport.close();
      else this.#lost(attempt, ABNORMAL, "no token in time");
    }, this.#options.connectTimeoutMs ?? 10_000);
    let url: string;
    try {
      url = await this.#url();
    } catch (error) {
      return this.#lost(attempt, ABNORMAL, `no token: ${String(error)}`);
    }
    if (attempt !== this.#attempt) return;
    this.#transport = this.#ladder.current(url, {
      opened: () => attempt === this.#attempt && this.#opened(),
      received: (message) => attempt === this.#attempt && this.#received(message),
      prefers: (segments) => attempt === this.#attempt && this.#preferred(segments),
      closed: (code, reason) => this.#lost(attempt, code, reason),
    });
  }

  /** While a lesser transport is in use: looks whether the first one works by now, and changes over. */
  #probeLater(attempt: number): void {
    clearTimeout(this.#probe);
    if (!this.#ladder.better) return;
    this.#probe = setTimeout(() => void this.#tryBetter(attempt), this.#ladder.nextProbeMs());
  }

  async #tryBetter(attempt: number): Promise<void> {
    if (this.#prefersSegments) return this.#probeLater(attempt);
    const url = await this.#url().catch(() => undefined);
    const better = this.#ladder.better;
    if (!url || !better || attempt !== this.#attempt) return;
    let settled = false;
    const settle = (works: boolean): void => {
      if (settled) return;
      settled = true;
      if (attempt !== this.#attempt) return;
      if (!works) return this.#probeLater(attempt);
      this.#ladder.climb();
      this.#changeOver();
    };
    // Without a device: it must not replace the connection of anybody.
    const plain = new URL(url);
    plain.searchParams.delete("device_id");
    const finish = (works: boolean): void => (settle(works), queueMicrotask(() => probe.close()));
    // Somebody with an identity is told whether the server has room.
    const greeted = Boolean(this.#options.token ?? this.#options.identity);
    const probe = better(plain.href, {
      opened: () => !greeted && finish(true),
      received: (received) => {
        const message = typeof received === "string" ? parseMessage(received) : received;
        if (message?.type === "connected") finish(message.prefer !== SEGMENTS);
      },
      closed: () => settle(false),
    });
    setTimeout(() => (settle(false), probe.close()), this.#options.connectTimeoutMs ?? 10_000);
  }

  /** Opens the ladder's next transport in place of this one; rooms resume where they are. */
  #changeOver(): void {
    const transport = this.#transport;
    this.#detach();
    transport?.close();
    this.#pending.disconnected();
    void this.#open();
  }

  /** The server says whether it would rather have us read segments. */
  #preferred(segments: boolean): void {
    this.#prefersSegments = segments;
    clearTimeout(this.#move);
    if (!segments || this.#ladder.current.label === SEGMENTS) return;
    this.#move = setTimeout(() => {
      if (this.#ladder.toSegments()) this.#changeOver();
    }, Math.random() * MOVE_MS);
  }

  async #url(): Promise<string> {
    const { url, token, identity, deviceId } = this.#options;
    const socket = new URL("/ws", url);
    socket.protocol = socket.protocol.replace("http", "ws");
    const query = socket.searchParams;
    const value = typeof token === "function" ? await token() : token;
    if (value) query.set("token", value);
    else if (identity) for (const [key, field] of Object.entries(identity)) if (field) query.set(key, String(field));
    if (deviceId) query.set("device_id", deviceId);
    return socket.href;
  }

  /** Someone with an identity is greeted by `connected`; an anonymous reader is connected as soon as the socket opens. */
  #opened(): void {
    if (!this.#options.token && !this.#options.identity) this.#established(DEFAULT_HEARTBEAT_MS);
  }

  #established(heartbeatMs: number): void {
    clearTimeout(this.#timer);
    this.#connectedAt = this.clock.monotonicMs();
    // Taken before anybody hears of the connection, and before the rooms join: what they ask for then is sent already.
    const unanswered = this.#pending.unanswered();
    this.#become({ name: "connected" });
    this.#heartbeat.start(heartbeatMs);
    this.#beat();
    this.#probeLater(this.#attempt);
    for (const room of this.#rooms.values()) room.rejoin();
    for (const { ref, message } of unanswered) this.#send({ ...message, ref });
  }

  #received(received: string | AnyMessage): void {
    this.#heartbeat.heard();
    const message = typeof received === "string" ? parseMessage(received) : received;
    if (!message) return;
    if (message.type === "connected") this.#greeted(message as unknown as Connected);
    if (message.type === "error" && message.prefer === SEGMENTS) this.#preferred(true);
    if (this.#pending.settle(message)) return;
    switch (message.type) {
      case "heartbeat_ack":
        return this.#beaten(message);
      case "comments":
        return this.#rooms.get(String(message.room_id))?.receive(message as unknown as CommentsMessage);
      case "event":
        return this.#happened(message as unknown as RoomEvent);
      case "error":
        return this.#complained(errorFrom(message));
      default:
        return this.emit("message", message);
    }
  }

  #greeted(message: Connected): void {
    const heartbeatMs = message.heartbeat_s > 0 ? message.heartbeat_s * 1_000 : DEFAULT_HEARTBEAT_MS;
    if (this.#state.name === "connecting") {
      this.clock.reset();
      this.clock.observe(this.#attemptedAt, this.clock.monotonicMs(), message.server_time_ms);
      this.#established(heartbeatMs);
    } else {
      this.#heartbeat.start(heartbeatMs); // after a login; or we read anonymously, and had not waited for it
    }
    this.#identity = message;
    this.#preferred(message.prefer === SEGMENTS);
    this.emit("identified", message);
  }

  #beat(): void {
    this.#beatSentAt = this.clock.monotonicMs();
    this.#send({ type: "heartbeat" });
  }

  #beaten({ server_time_ms: serverTime }: AnyMessage): void {
    if (this.#beatSentAt !== undefined && typeof serverTime === "number") {
      this.clock.observe(this.#beatSentAt, this.clock.monotonicMs(), serverTime);
    }
    this.#beatSentAt = undefined;
  }

  /** A repeat is acknowledged again (the first acknowledgement may be lost) but told only once. */
  #happened(event: RoomEvent): void {
    if (event.critical) this.#send({ type: "ack", event_id: event.event_id });
    if (!this.#events.add(event.event_id)) return;
    this.emit("event", event);
    if (event.room_id) this.#rooms.get(event.room_id)?.receiveEvent(event);
  }

  /** An identity refused at the door will be refused at every door. */
  #complained(error: BarrageError): void {
    this.emit("error", error);
    if (this.#state.name === "connecting" && error.code === "unauthorized") {
      this.#finish({ name: "closed", code: CloseCode.Unauthorized, reason: error.message });
    }
  }

  #lost(attempt: number, code: number, reason: string): void {
    if (attempt !== this.#attempt || this.#state.name === "closed") return;
    if (isFatalClose(code)) return this.#finish({ name: "closed", code, reason });
    const lived = this.connected ? this.clock.monotonicMs() - this.#connectedAt : 0;
    this.#failures = lived >= STABLE_MS ? 1 : this.#failures + 1;
    this.#ladder.ended(this.connected ? lived : undefined, code);
    this.#detach();
    const ordered = code === CloseCode.Reconnect ? orderedDelay(reason) : undefined;
    const retryInMs = ordered ?? this.#retryPolicy(this.#failures);
    this.#timer = setTimeout(() => void this.#open(), retryInMs);
    this.#become({ name: "waiting", retryInMs, code, reason });
    this.#pending.disconnected();
  }

  #finish(state: Extract<ClientState, { name: "closed" }>): void {
    const transport = this.#transport;
    this.#detach();
    transport?.close();
    this.#become(state);
    const error = new BarrageError("closed", state.reason ?? "the client was closed");
    this.#pending.rejectAll(error);
    for (const room of this.#rooms.values()) room.abandon(error);
  }

  /** Lets go of the current connection: whatever it still says is no longer heard. */
  #detach(): void {
    this.#attempt++;
    this.#transport = undefined;
    this.#heartbeat.stop();
    clearTimeout(this.#timer);
    clearTimeout(this.#probe);
    clearTimeout(this.#move);
  }

  #become(state: ClientState): void {
    this.#state = state;
    this.emit("state", state);
  }

  #send(message: ClientMessage & { ref?: string }): void {
    this.#transport?.send(JSON.stringify(message));
  }
}

/** Node 20 has no WebSocket of its own; there one is given with `webSocketTransport(WebSocket)`, or HTTP serves. */
function defaultTransports({ cdnUrl, webTransport: quic }: ClientOptions): Connect[] {
  const sockets = typeof WebSocket === "function" ? [webSocketTransport()] : [];
  if (quic && hasWebTransport() && sockets[0]) sockets[0] = raced(webTransport(quic), sockets[0]);
  return [...sockets, eventStreamTransport(), longPollTransport(), segmentTransport(cdnUrl === undefined ? {} : { cdnUrl })];
}

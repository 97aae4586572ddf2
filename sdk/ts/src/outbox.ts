/**
 * Comments that wait for the network: what is said offline is kept on this device and sent once, in order, when the room can
 * be reached again. A repeat carries the same `client_msg_id`, so the server publishes it once however often it is sent, and
 * several tabs that share a storage do no harm. A refusal is told, and the comment forgotten.
 */
import { BarrageError, isPassing } from "./codes.js";
import type { Client } from "./client.js";
import { Emitter } from "./emitter.js";
import { randomId } from "./random.js";
import { type ChatStorage, memoryStorage } from "./chat/storage.js";
import type { CommentAck, CommentDraft } from "./types.js";

export interface WaitingComment {
  room_id: string;
  draft: CommentDraft & { client_msg_id: string };
  /** Unix milliseconds by this device's clock. */
  said_at_ms: number;
}

export interface CommentOutboxOptions {
  /** Where they outlive the page, such as `await deviceStorage("comments alice")`. Default: nowhere. */
  storage?: ChatStorage;
  /** More are refused with `outbox_full`. Default 100. */
  max?: number;
  /** A comment about what is live means nothing later: older ones are dropped unsent. Default an hour. */
  maxAgeMs?: number;
}

export interface CommentOutboxEvents {
  /** More or fewer wait. */
  changed: number;
  sent: { comment: WaitingComment; ack: CommentAck };
  refused: { comment: WaitingComment; error: BarrageError };
}

const RETRY_MS = 1_000;
const MAX = 100;
const MAX_AGE_MS = 3_600_000;

export class CommentOutbox extends Emitter<CommentOutboxEvents> {
  readonly #storage: ChatStorage;
  readonly #max: number;
  readonly #maxAgeMs: number;
  readonly #off: () => void;
  #entries: WaitingComment[];
  #sending = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly client: Pick<Client, "connected" | "on" | "room">,
    options: CommentOutboxOptions = {},
  ) {
    super();
    this.#storage = options.storage ?? memoryStorage();
    this.#max = options.max ?? MAX;
    this.#maxAgeMs = options.maxAgeMs ?? MAX_AGE_MS;
    this.#entries = parse(this.#storage.load()).slice(0, this.#max);
    this.#off = client.on("state", ({ name }) => name === "connected" && void this.#flush());
    if (client.connected) void this.#flush();
  }

  get entries(): readonly WaitingComment[] {
    return this.#entries;
  }

  /** Says something now, or when the network is back. Returns its `client_msg_id`; `sent` and `refused` tell what became of it. */
  add(roomId: string, draft: CommentDraft): string {
    if (this.#entries.length >= this.#max) throw new BarrageError("outbox_full", "too many comments are waiting to be sent");
    const client_msg_id = draft.client_msg_id ?? randomId();
    this.#entries.push({ room_id: roomId, draft: { ...draft, client_msg_id }, said_at_ms: Date.now() });
    this.#changed();
    void this.#flush();
    return client_msg_id;
  }

  /** Forgets one that has not been sent. */
  discard(clientMsgId: string): void {
    this.#entries = this.#entries.filter(({ draft }) => draft.client_msg_id !== clientMsgId);
    this.#changed();
  }

  /** Stops sending; what waits stays in the storage. */
  close(): void {
    clearTimeout(this.#timer);
    this.#off();
  }

  async #flush(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    clearTimeout(this.#timer);
    for (let next = this.#entries[0]; next && this.client.connected; next = this.#entries[0]) {
      if (!(await this.#deliver(next))) break;
    }
    this.#sending = false;
  }

  /** False when the rest has to wait. */
  async #deliver(comment: WaitingComment): Promise<boolean> {
    try {
      if (Date.now() - comment.said_at_ms > this.#maxAgeMs) throw new BarrageError("too_late", "it waited too long to be sent");
      const ack = await this.client.room(comment.room_id).comment(comment.draft);
      this.#forget(comment);
      this.emit("sent", { comment, ack });
    } catch (cause) {
      const error = cause as BarrageError;
      if (error.code === "disconnected" || error.code === "closed") return false; // the next connection sends it
      if (isPassing(error)) {
        this.#timer = setTimeout(() => void this.#flush(), error.retryAfterMs ?? RETRY_MS);
        return false;
      }
      this.#forget(comment);
      this.emit("refused", { comment, error });
    }
    return true;
  }

  #forget(comment: WaitingComment): void {
    this.#entries = this.#entries.filter((entry) => entry !== comment);
    this.#changed();
  }

  #changed(): void {
    this.#storage.save(JSON.stringify(this.#entries));
    this.emit("changed", this.#entries.length);
  }
}

/** What is not ours, or of another version, reads as nothing. */
function parse(text: string | null): WaitingComment[] {
  try {
    const list = JSON.parse(text ?? "[]") as unknown;
    return Array.isArray(list) ? (list as WaitingComment[]).filter((entry) => typeof entry.draft.client_msg_id === "string" && typeof entry.room_id === "string") : [];
  } catch {
    return [];
  }
}

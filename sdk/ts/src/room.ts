/**
 * One joined room. Made by `Client.room`. Remembers what it asked for and the last comment it saw, so that the
 * client can join it again on each new connection exactly where it left off. Never opens or closes a connection.
 */
import { type BarrageError, isPassing } from "./codes.js";
import { Emitter } from "./emitter.js";
import { randomId } from "./random.js";
import { SeenIds } from "./seen.js";
import type {
  AnyMessage,
  ClientMessage,
  Comment,
  CommentAck,
  CommentDraft,
  CommentsMessage,
  Id,
  JoinOptions,
  RoomEvent,
  RoomJoined,
} from "./types.js";

/** Ids remembered to drop repeats: well over what a resume can bring back. */
const SEEN_CAPACITY = 4_096;
const REJOIN_MS = 3_000;

/** Where a batch comes from: said before we joined, missed while we were away, or live. */
export type BatchSource = "history" | "resumed" | "live";

export interface CommentBatch {
  comments: Comment[];
  /** How many more there were that this viewer was not given. */
  omitted: number;
  source: BatchSource;
}

/** Comments that were said while this reader was away and that it does not get. */
export interface Gap {
  omitted: number;
  /** The last comment seen before, and the first one after. */
  afterId: Id;
  beforeId: Id | undefined;
}

export interface RoomEvents {
  /** The server let us in, for the first time, again after a lost connection, or with new options. */
  joined: RoomJoined;
  /** New comments, none of them told before, in the order of publication. */
  comments: CommentBatch;
  /** Coming back did not bring everything that was missed. The batch that follows carries the same number. */
  gap: Gap;
  /** Something else that happened in the room; each `event_id` once. */
  event: RoomEvent;
  /** The server would not let us (back) in. It is tried again only if the error says it may pass. */
  refused: BarrageError;
}

/** What a room needs of its client. */
export interface RoomLink {
  readonly connected: boolean;
  request(message: ClientMessage, repeatable: boolean): Promise<AnyMessage>;
}

interface Waiter {
  resolve: (joined: RoomJoined) => void;
  reject: (error: BarrageError) => void;
}

export class Room extends Emitter<RoomEvents> {
  readonly #seen = new SeenIds(SEEN_CAPACITY);
  #options: JoinOptions = {};
  #wanted = false;
  #lastId: Id | undefined;
  #waiters: Waiter[] = [];
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly roomId: string,
    private readonly link: RoomLink,
  ) {
    super();
  }

  /** The last comment seen, from which a new connection resumes. */
  get lastId(): Id | undefined {
    return this.#lastId;
  }

  /** Whether it is (to be) joined. */
  get wanted(): boolean {
    return this.#wanted;
  }

  /**
   * Joins, or changes the options of a room already joined (they replace the old ones). Without a connection it is
   * done on the next one; the promise waits for that.
   */
  join(options: JoinOptions = {}): Promise<RoomJoined> {
    this.#options = options;
    this.#wanted = true;
    const joined = new Promise<RoomJoined>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    if (this.link.connected) this.rejoin();
    return joined;
  }

  /** Leaves; nothing of this room arrives any more. */
  async leave(): Promise<void> {
    this.#wanted = false;
    clearTimeout(this.#retry);
    if (this.link.connected) await this.link.request({ type: "leave_room", room_id: this.roomId }, false);
  }

  /** Says something. Resolves when the server has it safely, or holds it for review. */
  async comment(draft: CommentDraft): Promise<CommentAck> {
    const client_msg_id = draft.client_msg_id ?? randomId();
    const message: ClientMessage = { type: "comment", room_id: this.roomId, ...draft, client_msg_id };
    return (await this.link.request(message, true)) as unknown as CommentAck;
  }

  /** For the client: asks to be let in, resuming after the last comment seen. */
  rejoin(): void {
    if (!this.#wanted) return;
    clearTimeout(this.#retry);
    const since = this.#lastId === undefined ? {} : { since_id: this.#lastId };
    this.link
      .request({ type: "join_room", room_id: this.roomId, ...this.#options, ...since }, false)
      .then((answer) => this.#joined(answer as unknown as RoomJoined))
      .catch((error: unknown) => this.#refused(error as BarrageError));
  }

  /** For the client: a batch of this room. */
  receive(message: CommentsMessage): void {
    if (this.#wanted) this.#deliver(message.comments, message.omitted, "live");
  }

  /** For the client: an event of this room. */
  receiveEvent(event: RoomEvent): void {
    if (this.#wanted) this.emit("event", event);
  }

  /** For the client: it was closed, so nobody will answer. The room stays wanted for the day it connects again. */
  abandon(error: BarrageError): void {
    clearTimeout(this.#retry);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  #joined(message: RoomJoined): void {
    const before = this.#lastId;
    const source = before === undefined ? "history" : "resumed";
    this.emit("joined", message);
    const { omitted = 0 } = message;
    if (before !== undefined && omitted > 0) this.emit("gap", { omitted, afterId: before, beforeId: message.history[0]?.id });
    this.#deliver(message.history, message.omitted, source);
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(message);
  }

  #refused(error: BarrageError): void {
    if (error.code === "disconnected" || error.code === "closed") return; // the next connection joins again
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
    this.emit("refused", error);
    const passing = error.retryAfterMs ?? (isPassing(error) ? REJOIN_MS : undefined);
    if (passing === undefined) this.#wanted = false;
    else this.#retry = setTimeout(() => this.link.connected && this.rejoin(), passing);
  }

  #deliver(all: Comment[] | undefined, omitted = 0, source: BatchSource): void {
    const list = Array.isArray(all) ? all : [];
    const comments = list.filter((comment) => this.#seen.add(comment.id));
    this.#lastId = list.at(-1)?.id ?? this.#lastId;
    if (comments.length > 0 || omitted > 0) this.emit("comments", { comments, omitted, source });
  }
}

/**
 * The socket's messages over plain HTTP, for networks that let no WebSocket through: requests are calls of the API, a room's
 * comments come as an event stream or by long polling. The client above never learns the difference. What HTTP cannot carry
 * (typing notices, watching presence as it changes) is left out.
 */
import { Api } from "./http.js";
import { BarrageError, CloseCode } from "./codes.js";
import { EventStream } from "./event-stream.js";
import { type SegmentOptions, SegmentReader } from "./segments.js";
import { type Connect, labelled, SEGMENTS, type Transport, type TransportHandlers, UNUSABLE } from "./transport.js";
import { type AnyMessage, type Comment, type CommentAck, type Id, type JoinOptions, type Level, parseMessage, type RoomState } from "./types.js";
import type { Message, MessageAck, Presence, SyncResponse } from "./chat/types.js";

type Way = "stream" | "poll" | "segments";

const NORMAL = 1000;
const ABNORMAL = 1006;
const HEARTBEAT_S = 30;
const WAIT_S = 25;
/** A request that waits has this much longer than the server was asked to wait. */
const ANSWER_MS = 15_000;
const PAGE = 100;
/** Pages read at once when a reader comes back; the rest follows as it would live. */
const RESUME_PAGES = 50;
const HISTORY = 50;
/** After the first line of a stream, its history follows at once, or there is none. */
const HISTORY_MS = 150;
const FIRST_LINE_MS = 8_000;
/** The server gives a sign of life every 15 s. */
const SILENCE_MS = 40_000;
const PRESENCE_MAX = 20;

/** Comments as Server-Sent Events, everything else as requests. */
export function eventStreamTransport(): Connect {
  return labelled("event-stream", (url, handlers) => new HttpTransport(url, handlers, "stream"));
}

/** Everything as requests; the server answers a waiting one when there is something to say. */
export function longPollTransport(): Connect {
  return labelled("long-poll", (url, handlers) => new HttpTransport(url, handlers, "poll"));
}

/** Comments as live segments, which any HTTP cache carries; everything else as requests. About a second and a half behind. */
export function segmentTransport(options: SegmentOptions = {}): Connect {
  return labelled(SEGMENTS, (url, handlers) => new HttpTransport(url, handlers, "segments", options));
}

type Request = AnyMessage & { room_id?: string };
type Answer = Record<string, unknown>;

class HttpTransport implements Transport {
  readonly #query: URLSearchParams;
  readonly #origin: string;
  readonly #end = new AbortController();
  readonly #rooms = new Map<string, AbortController>();
  #token: string | undefined;
  #api: Api;
  #polling = false;
  #reader: SegmentReader | undefined;
  #over = false;

  constructor(
    url: string,
    private readonly handlers: TransportHandlers,
    private readonly way: Way,
    private readonly segments: SegmentOptions = {},
  ) {
    const socket = new URL(url);
    this.#query = socket.searchParams;
    socket.protocol = socket.protocol.replace("ws", "http");
    this.#origin = socket.origin;
    this.#token = this.#query.get("token") ?? undefined;
    this.#api = this.#makeApi();
    void this.#open();
  }

  send(text: string): void {
    const message = parseMessage(text);
    if (!message || this.#over) return;
    this.#handle(message).catch((error: unknown) => this.#failed(message, error));
  }

  close(reason = ""): void {
    this.#finish(NORMAL, reason);
  }

  // ---- coming and going ---------------------------------------------------------------------------

  #makeApi(): Api {
    const user_id = this.#query.get("user_id");
    const identity = user_id ? { user_id, ...optional("username", this.#query.get("username")), ...optional("level", this.#query.get("level") as Level | null) } : undefined;
    return new Api({ url: this.#origin, ...(this.#token ? { token: this.#token } : identity ? { identity } : {}), signal: this.#end.signal });
  }

  async #open(): Promise<void> {
    let prefer: string | undefined;
    try {
      ({ prefer } = await this.#api.server());
    } catch (error) {
      // A server with too much to do for this may still be behind a cache that has segments.
      const overloaded = error instanceof BarrageError && error.code === "overloaded";
      if (!overloaded || this.way !== "segments") return this.#finish(ABNORMAL, String(error));
      prefer = SEGMENTS;
    }
    if (this.#over) return;
    this.handlers.opened();
    this.#greet();
    this.handlers.prefers?.(prefer === SEGMENTS);
  }

  /** What a socket would be told unasked; a token is believed until a request is refused. */
  #greet(ref?: string): void {
    const user_id = this.#token ? subjectOf(this.#token) : (this.#query.get("user_id") ?? undefined);
    if (user_id === undefined && ref === undefined) return;
    this.#say({
      type: "connected", user_id, device_id: this.#query.get("device_id") ?? "http", connection_id: "http", node_id: "", heartbeat_s: HEARTBEAT_S,
      server_time_ms: Date.now(), ref,
    });
  }

  #finish(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#end.abort();
    for (const room of this.#rooms.values()) room.abort();
    this.handlers.closed(code, reason);
  }

  #say(message: Record<string, unknown> & { type: string }): void {
    if (!this.#over) this.handlers.received(message as AnyMessage);
  }

  /** No answer at all ends the connection, as a broken socket would: the client decides what is said again. */
  #failed(message: Request, error: unknown): void {
    if (this.#over) return;
    if (!(error instanceof BarrageError) || error.code === "network") return this.#finish(ABNORMAL, String(error));
    if (error.status === 401 && this.#token) return this.#finish(CloseCode.Unauthorized, error.message);
    this.#say({ type: "error", ref: message.ref, code: error.code, message: error.message, ...optional("retry_after_ms", error.retryAfterMs) });
  }

  // ---- requests -------------------------------------------------------------------------------------

  async #handle(message: Request): Promise<void> {
    switch (message.type) {
      case "heartbeat":
        // Segments come or fail by themselves, and tell the server's clock.
        if (this.way === "segments") return this.#answer(message, "heartbeat_ack", this.#reader?.clock.errorMs === undefined ? {} : { server_time_ms: this.#reader.clock.now() });
        await this.#api.server();
        return this.#answer(message, "heartbeat_ack", {});
      case "login":
        this.#token = String(message.token);
        this.#api = this.#makeApi();
        return this.#greet(message.ref ?? "");
      case "join_room":
        return this.#join(message);
      case "leave_room":
        this.#rooms.get(String(message.room_id))?.abort();
        this.#rooms.delete(String(message.room_id));
        return this.#answer(message, "room_left", { room_id: message.room_id });
      case "comment": {
        const { client_msg_id, room_id, content, style, mentions, session_id, offset_ms } = message;
        const posted = await this.#api.call<CommentAck>("POST", `/rooms/${encodeURIComponent(String(room_id))}/comments`, { body: { client_msg_id, content, style, mentions, session_id, offset_ms } });
        return this.#answer(message, "comment_ack", { ...posted, client_msg_id });
      }
      case "like":
        return this.#answer(message, "like_ack", { comment_id: message.comment_id, ...(await this.#api.like(String(message.comment_id))) });
      case "ack":
      case "typing":
      case "logout":
        return;
      default:
        return this.#handleChat(message);
    }
  }

  async #handleChat(message: Request): Promise<void> {
    const { type, ref, ...fields } = message;
    switch (type) {
      case "send_message":
      case "send_group_message":
        return this.#answer(message, "message_ack", { ...(await this.#api.call<MessageAck>("POST", "/messages", { body: fields })) });
      case "mark_as_read":
        return this.#answer(message, "read_ack", { ...fields, ...(await this.#api.call<Answer>("POST", `/messages/${encodeURIComponent(String(message.message_id))}/read`)) });
      case "recall_message":
        return this.#answer(message, "recall_ack", { ...fields, ...(await this.#api.call<Answer>("POST", `/messages/${encodeURIComponent(String(message.message_id))}/recall`)) });
      case "edit_message":
        return this.#answer(message, "edit_ack", { ...(await this.#api.call<Answer>("PATCH", `/messages/${encodeURIComponent(String(message.message_id))}`, { body: { content: message.content } })) });
      case "react": {
        const path = `/messages/${encodeURIComponent(String(message.message_id))}/reactions/${encodeURIComponent(String(message.emoji))}`;
        return this.#answer(message, "react_ack", { ...(await this.#api.call<Answer>(message.on === false ? "DELETE" : "PUT", path)) });
      }
      case "sync_messages": {
        const page = await this.#messages({ since_id: message.since_id as Id, since_change: message.since_change as string, limit: message.limit as number });
        this.#answer(message, "sync_response", { ...page });
        if (!page.more) void this.#pollMessages(page);
        return;
      }
      case "watch_presence": {
        const ids = (message.user_ids as string[]).slice(0, PRESENCE_MAX);
        const users = await Promise.all(ids.map((id) => this.#api.call<Presence>("GET", `/users/${encodeURIComponent(id)}/presence`).then((presence) => ({ ...presence, user_id: id }))));
        return this.#answer(message, "presence_list", { users });
      }
      default:
        throw new BarrageError("unavailable", `${type} needs a WebSocket`, undefined, ref === undefined ? undefined : 501);
    }
  }

  #answer(request: Request, type: string, fields: Answer): void {
    this.#say({ ...fields, type, ...optional("ref", request.ref) });
  }

  // ---- rooms ------------------------------------------------------------------------------------------

  async #join(request: Request): Promise<void> {
    const roomId = String(request.room_id);
    this.#rooms.get(roomId)?.abort();
    const room = new AbortController();
    this.#rooms.set(roomId, room);
    const info = await this.#api.room(roomId);
    if (room.signal.aborted) return;
    const joined = ({ history, omitted = 0 }: { history: Comment[]; omitted?: number | undefined }): void =>
      this.#answer(request, "room_joined", { room_id: roomId, state: info.state satisfies RoomState, viewers: info.viewers, history, ...(omitted > 0 ? { omitted } : {}) });
    if (this.way === "stream") await this.#stream(roomId, request, room.signal, joined);
    else if (this.way === "segments") await this.#readSegments(roomId, request, room.signal, joined);
    else await this.#poll(roomId, request, room.signal, joined);
  }

  async #stream(roomId: string, request: Request & JoinOptions & { since_id?: Id }, signal: AbortSignal, joined: (told: { history: Comment[]; omitted?: number | undefined }) => void): Promise<void> {
    const { since_id, history, history_s, max_per_s, only_user_ids } = request;
    const query = { since_id, history, history_s, max_per_s, only_user_ids: only_user_ids?.join(",") || undefined };
    const stream = new EventStream(await this.#opened(this.#api.stream(`/rooms/${encodeURIComponent(roomId)}/events`, query, signal)), SILENCE_MS);
    const first = await stream.next(FIRST_LINE_MS).catch(() => undefined);
    if (!first) return signal.aborted ? undefined : this.#finish(UNUSABLE, "event streams do not come through");
    const second = await Promise.race([stream.next(), new Promise<"none">((resolve) => setTimeout(() => resolve("none"), HISTORY_MS))]);
    const message = second === "none" ? undefined : parseMessage(second?.data ?? "");
    joined(message?.type === "comments" ? { history: message.comments as Comment[], omitted: message.omitted as number | undefined } : { history: [] });
    if (message && message.type !== "comments") this.#say(message);
    for (;;) {
      const event = await stream.next();
      if (signal.aborted || this.#over) return;
      if (!event) return this.#finish(ABNORMAL, "the stream ended");
      const told = parseMessage(event.data);
      if (told) this.#say(told);
    }
  }

  /** A stream that is refused is an answer; one that never begins is a network that collects streams. */
  async #opened(opening: Promise<Response>): Promise<ReadableStream<Uint8Array>> {
    const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), FIRST_LINE_MS));
    const response = await Promise.race([opening, late]);
    if (response?.body) return response.body;
    this.#finish(UNUSABLE, "event streams do not come through");
    throw new BarrageError("network", "event streams do not come through");
  }

  async #poll(roomId: string, request: Request & JoinOptions & { since_id?: Id }, signal: AbortSignal, joined: (told: { history: Comment[]; omitted?: number }) => void): Promise<void> {
    const { only_user_ids = [], max_per_s } = request;
    const wanted = (comments: Comment[]): Comment[] => (max_per_s === 0 ? [] : only_user_ids.length === 0 ? comments : comments.filter(({ user_id }) => only_user_ids.includes(user_id)));
    const keep = Math.min(PAGE, request.history ?? HISTORY);
    let { comments, latest_id: since_id } = await this.#api.comments(roomId, { since_id: request.since_id, limit: request.since_id ? PAGE : Math.max(1, keep) });
    const missed = request.since_id || keep > 0 ? [...comments] : [];
    for (let pages = 1; request.since_id && comments.length >= PAGE && pages < RESUME_PAGES; pages++) {
      ({ comments, latest_id: since_id } = await this.#api.comments(roomId, { since_id, limit: PAGE }));
      missed.push(...comments);
    }
    if (signal.aborted) return;
    const history = keep > 0 ? wanted(missed).slice(-keep) : [];
    joined({ history, omitted: request.since_id ? Math.max(0, wanted(missed).length - history.length) : 0 });
    while (!signal.aborted && !this.#over) {
      const page = await this.#within(this.#api.comments(roomId, { since_id, limit: PAGE, wait_s: WAIT_S }));
      if (signal.aborted) return;
      since_id = page.latest_id;
      const fresh = wanted(page.comments);
      if (fresh.length > 0) this.#say({ type: "comments", room_id: roomId, comments: fresh });
    }
  }

  async #readSegments(roomId: string, request: Request & JoinOptions & { since_id?: Id }, signal: AbortSignal, joined: (told: { history: Comment[]; omitted?: number }) => void): Promise<void> {
    const reader = new SegmentReader(this.#api, roomId, signal, this.segments);
    this.#reader = reader;
    const { comments, events, omitted } = await reader.open(request);
    if (signal.aborted) return;
    joined({ history: comments, omitted });
    for (const event of events) this.#say({ ...event });
    for (;;) {
      const read = await reader.next(request);
      if (!read || signal.aborted || this.#over) return;
      if (read.comments.length > 0 || read.omitted > 0) {
        this.#say({ type: "comments", room_id: roomId, comments: read.comments, ...(read.omitted > 0 ? { omitted: read.omitted } : {}) });
      }
      for (const event of read.events) this.#say({ ...event });
      this.handlers.prefers?.(read.prefer === SEGMENTS);
    }
  }

  /** Rejects what no longer can be answered: the network went away without a word. */
  async #within<T>(waiting: Promise<T>): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new BarrageError("network", "no answer in time")), WAIT_S * 1_000 + ANSWER_MS);
    });
    try {
      return await Promise.race([waiting, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  // ---- chat ---------------------------------------------------------------------------------------------

  #messages(query: { since_id?: Id | undefined; since_change?: string | undefined; limit?: number | undefined; wait_s?: number | undefined }): Promise<SyncResponse> {
    return this.#api.call<SyncResponse>("GET", "/messages", { query });
  }

  /** Once a device has caught up, what comes then is pushed as a socket would. */
  async #pollMessages(from: SyncResponse): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    let { latest_id, latest_change } = from;
    try {
      while (!this.#over) {
        const page = await this.#within(this.#messages({ since_id: latest_id, since_change: latest_change, wait_s: WAIT_S }));
        ({ latest_id, latest_change } = page);
        for (const { id, ...message } of page.messages as (Message & { id: Id })[]) this.#say({ ...message, type: "new_message", server_msg_id: id });
        for (const { status, by_user, at, message, ...change } of page.changes) {
          if (message) this.#say({ ...change, type: "message_refreshed", message });
          else if (status === "recalled") this.#say({ ...change, type: "message_recalled", recalled_by: by_user, recalled_at: at });
          else this.#say({ ...change, type: "message_read", read_by: by_user, read_at: at });
        }
      }
    } catch (error) {
      this.#failed({ type: "sync_messages" }, error);
      this.#polling = false;
    }
  }
}

function optional<K extends string, T>(key: K, value: T | null | undefined): Partial<Record<K, T>> {
  return value === null || value === undefined ? {} : ({ [key]: value } as Record<K, T>);
}

/** Whose token this is, for want of somebody who says so; the server verifies it with each request. */
function subjectOf(token: string): string | undefined {
  try {
    const part = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The HTTP endpoints, one typed function each. Every failure rejects with a `BarrageError`: the server's own code, or
 * `network` when there was no answer. Keeps no state and never retries.
 */
import { BarrageError } from "./codes.js";
import type { DevIdentity } from "./client.js";
import type { LiveInfo, LiveSegment } from "./segments.js";
import type {
  Appeal, AuditEntry, AuditQuery, DeadLetter, Moderation, Note, NoteDraft, NukeReport, NukeRequest, Page, PageQuery, Raid, Review, ReviewQuery, RoleGiven, Sample, SampleQuery, ShieldState, Webhook,
  WebhookDraft,
} from "./moderation.js";
import type { Comment, CommentDraft, Id, Pin, Poll, Question, RankingEntry, RecordedEvent, RoomState } from "./types.js";

export interface ApiOptions {
  /** Where the server is. Default: the page's own origin. */
  url?: string;
  /** Bearer of every request: a token, or the admin key. */
  token?: string;
  /** Identity for a server in `--dev` mode, sent in the query when there is no token. */
  identity?: DevIdentity;
  /** Ends every request under way. */
  signal?: AbortSignal;
}

export interface ServerInfo {
  dev: boolean;
  anonymous_read: boolean;
  version: string;
  /** Present where the server accepts WebTransport; the port where it is another, the hash of a certificate without authority. */
  webtransport?: { port?: number; certificate_hash?: string };
  /** `segments` while this server would rather have viewers read live segments. */
  prefer?: string;
}

export interface RoomInfo {
  room_id: string;
  name: string;
  owner_id: string | null;
  video_url: string | null;
  state: RoomState;
  accepts_comments: boolean;
  viewers: number;
  session_id?: Id;
  /** Seconds between two comments of one user; a server that does not say leaves both out. */
  slow_mode_s?: number;
  speakers?: Speakers;
  pin?: Pin | null;
}

export type Speakers = "everyone" | "vip" | "moderators" | "nobody";

export interface Session {
  session_id: Id;
  /** Its own name, where it has one. */
  title?: string;
  started_at: string;
  ended_at?: string;
  duration_s?: number;
  comment_count: number;
  /** Its comments are in the archive; they are read as ever. */
  archived?: boolean;
}

export interface CommentPosted {
  id: Id;
  status: "accepted" | "pending_review";
  created_at: string;
}

/** A comment onto a recording carries both; a live one neither. */
export interface RecordingPosition {
  session_id: Id;
  /** Milliseconds since that session's start. */
  offset_ms: number;
}

export interface ReplayQuery {
  session_id?: Id;
  /** Included. */
  from_ms?: number;
  /** Excluded. */
  to_ms?: number;
  by_user?: string;
  cursor?: string;
  limit?: number;
}

export interface ReplayPage {
  /** By `offset_ms`. */
  comments: Comment[];
  /** Present when there is more. */
  next_cursor?: string;
}

/** Every field is optional: what is absent stays as it is. */
export interface RoomSettings {
  name?: string;
  owner_id?: string;
  video_url?: string;
  enabled?: boolean;
  private?: boolean;
  priority?: number | string;
  speakers?: Speakers;
  slow_mode_s?: number;
  limits?: Record<string, number>;
  window_ms_max?: number;
  reader_groups?: number;
  store?: boolean;
  retention_days?: number;
  /** Merged key by key; null removes a key. */
  moderation?: { [K in keyof Moderation]?: Moderation[K] | null };
}

export type WordList = "mask" | "review" | "block";
export type Words = Record<WordList, string[]>;

export interface BanDraft {
  user_id: string;
  room_id?: string;
  duration_s: number;
  reason?: string;
  kind: "ban" | "mute";
  purge?: boolean;
}

export interface Ban extends BanDraft {
  id: Id;
  created_at?: string;
  expires_at?: string;
  /** A user id, or `admin key`. */
  created_by?: string;
}

export interface GiftDraft {
  gift: string;
  user_id: string;
  username: string;
  count: number;
  value: number;
  play_at?: number;
}

export interface PollDraft {
  question: string;
  /** 2 to 20. */
  options: string[];
  duration_s: number;
}

/** How something is read whose address the server named. */
export interface ReadOptions {
  accept: string;
  /** It needs no identity: any cache may have it, also the one at `cdnUrl`. */
  shared?: boolean | undefined;
  cdnUrl?: string | undefined;
  cache?: RequestCache | undefined;
  signal?: AbortSignal | undefined;
}

type Query = Record<string, string | number | undefined>;
type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export class Api {
  constructor(private readonly options: ApiOptions = {}) {}

  /** What kind of server this is. */
  server(): Promise<ServerInfo> {
    return this.call("GET", "/server");
  }

  /** The rooms this caller may enter, those on air first. */
  async rooms(): Promise<RoomInfo[]> {
    return (await this.call<{ rooms: RoomInfo[] }>("GET", "/rooms")).rooms;
  }

  room(roomId: string): Promise<RoomInfo> {
    return this.call("GET", roomPath(roomId));
  }

  /** Comments published after `since_id`; with `wait_s` (≤ 30) it waits for one. */
  comments(roomId: string, query: { since_id?: Id | undefined; limit?: number; wait_s?: number } = {}): Promise<{ comments: Comment[]; latest_id: Id }> {
    return this.call("GET", `${roomPath(roomId)}/comments`, { query });
  }

  /** Where the room's live segments stand. */
  live(roomId: string): Promise<LiveInfo> {
    return this.call("GET", `${roomPath(roomId)}/live`);
  }

  /** A live segment by its address as `live` names it, from a cache where there is one. It needs no identity. */
  async segment(url: string, cdnUrl?: string, signal?: AbortSignal): Promise<LiveSegment> {
    const response = await this.read(url, { shared: true, cdnUrl, signal, accept: "application/json" });
    const answer = parse(await response.text().catch(broken));
    if (answer === undefined) throw failure(response, answer);
    return answer as LiveSegment;
  }

  /** What is at an address that the server named. */
  async read(url: string, { accept, shared, cdnUrl, cache, signal = this.options.signal }: ReadOptions): Promise<Response> {
    const at = shared ? new URL(url, cdnUrl ?? this.#origin()) : this.#identified(new URL(url, this.#origin()));
    const headers = { ...(shared ? {} : this.#headers(undefined)), accept };
    const response = await fetch(at, { headers, cache: cache ?? "default", signal: signal ?? null }).catch(broken);
    if (response.ok) return response;
    throw failure(response, parse(await response.text().catch(broken)));
  }

  postComment(roomId: string, draft: CommentDraft & Partial<RecordingPosition>): Promise<CommentPosted> {
    return this.call("POST", `${roomPath(roomId)}/comments`, { body: draft });
  }

  async hot(roomId: string, limit = 10): Promise<Comment[]> {
    return (await this.call<{ comments: Comment[] }>("GET", `${roomPath(roomId)}/hot`, { query: { limit } })).comments;
  }

  async ranking(roomId: string, limit = 100): Promise<RankingEntry[]> {
    return (await this.call<{ entries: RankingEntry[] }>("GET", `${roomPath(roomId)}/ranking`, { query: { limit } })).entries;
  }

  /** Newest first. */
  async sessions(roomId: string, limit?: number): Promise<Session[]> {
    return (await this.call<{ sessions: Session[] }>("GET", `${roomPath(roomId)}/sessions`, { query: { limit } })).sessions;
  }

  replay(roomId: string, query: ReplayQuery): Promise<ReplayPage> {
    return this.call("GET", `${roomPath(roomId)}/replay`, { query: { ...query } });
  }

  like(commentId: Id): Promise<{ like_count: number }> {
    return this.call("POST", `/comments/${encodeURIComponent(commentId)}/like`);
  }

  unlike(commentId: Id): Promise<{ like_count: number }> {
    return this.call("DELETE", `/comments/${encodeURIComponent(commentId)}/like`);
  }

  /** The polls that run, oldest first. */
  async polls(roomId: string): Promise<Poll[]> {
    return (await this.call<{ polls: Poll[] }>("GET", `${roomPath(roomId)}/polls`)).polls;
  }

  /** Who moderates the room opens one. */
  openPoll(roomId: string, draft: PollDraft): Promise<Poll> {
    return this.call("POST", `${roomPath(roomId)}/polls`, { body: draft });
  }

  /** Once a user; a second time rejects with `already_voted`. */
  vote(roomId: string, pollId: Id, option: number): Promise<Poll> {
    return this.call("POST", `${roomPath(roomId)}/polls/${encodeURIComponent(pollId)}/votes`, { body: { option } });
  }

  closePoll(roomId: string, pollId: Id): Promise<Poll> {
    return this.call("POST", `${roomPath(roomId)}/polls/${encodeURIComponent(pollId)}/close`);
  }

  /** Those with most upvotes first. */
  async questions(roomId: string, state?: Question["state"]): Promise<Question[]> {
    return (await this.call<{ questions: Question[] }>("GET", `${roomPath(roomId)}/questions`, { query: { state } })).questions;
  }

  ask(roomId: string, content: string): Promise<Question> {
    return this.call("POST", `${roomPath(roomId)}/questions`, { body: { content } });
  }

  /** Once a user; a second time rejects with `already_voted`. */
  upvote(roomId: string, questionId: Id): Promise<Question> {
    return this.call("POST", `${roomPath(roomId)}/questions/${encodeURIComponent(questionId)}/upvote`);
  }

  /** Who moderates the room says so. */
  answer(roomId: string, questionId: Id): Promise<Question> {
    return this.call("POST", `${roomPath(roomId)}/questions/${encodeURIComponent(questionId)}/answer`);
  }

  /** Pins, polls and questions of a session, by their `offset_ms`. */
  async recordedEvents(roomId: string, sessionId: Id): Promise<RecordedEvent[]> {
    return (await this.call<{ events: RecordedEvent[] }>("GET", `${roomPath(roomId)}/sessions/${encodeURIComponent(sessionId)}/events`)).events;
  }

  /** The author of a held, rejected or removed comment asks once for another look. The answer comes as a `notice`. */
  appeal(commentId: Id, text: string): Promise<Appeal> {
    return this.call("POST", "/appeals", { body: { comment_id: commentId, text } });
  }

  readonly admin = {
    saveRoom: (roomId: string, settings: RoomSettings): Promise<unknown> =>
      this.call("PUT", `/admin${roomPath(roomId)}`, { body: settings }),
    openRoom: (roomId: string): Promise<{ session_id: Id }> => this.call("POST", `/admin${roomPath(roomId)}/open`),
    closeRoom: (roomId: string): Promise<unknown> => this.call("POST", `/admin${roomPath(roomId)}/close`),
    /** Oldest first. */
    reviews: (query: ReviewQuery = {}): Promise<Page<"reviews", Review>> => this.call("GET", "/admin/reviews", { query: { ...query } }),
    /** Keeps others from deciding about it for a while; rejects with `claimed` when somebody else does. */
    claim: (id: Id): Promise<Review> => this.call("POST", `/admin/reviews/${encodeURIComponent(id)}/claim`),
    approve: (id: Id): Promise<Review> => this.call("POST", `/admin/reviews/${encodeURIComponent(id)}/approve`),
    reject: (id: Id, reason?: string): Promise<Review> => this.call("POST", `/admin/reviews/${encodeURIComponent(id)}/reject`, reasoned(reason)),
    /** The reasons that a decision may have, in the order in which they are to be offered. */
    reasons: (): Promise<{ reasons: string[] }> => this.call("GET", "/admin/reasons"),
    /** Oldest first. */
    appeals: (query: PageQuery & { status?: Appeal["status"] } = {}): Promise<Page<"appeals", Appeal>> => this.call("GET", "/admin/appeals", { query: { ...query } }),
    decideAppeal: (id: Id, decision: "approve" | "reject", reason?: string): Promise<Appeal> =>
      this.call("POST", `/admin/appeals/${encodeURIComponent(id)}/${decision}`, reasoned(reason)),
    /** Newest first. */
    audit: (query: AuditQuery = {}): Promise<Page<"entries", AuditEntry>> => this.call("GET", "/admin/audit", { query: { ...query } }),
    roles: (roomId?: string): Promise<{ roles: RoleGiven[] }> => this.call("GET", "/admin/roles", { query: { room_id: roomId } }),
    /** A role of null takes it. */
    giveRole: (given: RoleGiven): Promise<RoleGiven> => this.call("PUT", "/admin/roles", { body: given }),
    /** Lays a preset over the room's rules, or takes it off again. */
    shield: (roomId: string, on: boolean, preset?: Moderation): Promise<ShieldState> =>
      this.call("POST", `/admin${roomPath(roomId)}/shield`, { body: preset === undefined ? { on } : { on, preset } }),
    /** Hides what matches, or counts it with `preview`. */
    nuke: (roomId: string, request: NukeRequest): Promise<NukeReport> => this.call("POST", `/admin${roomPath(roomId)}/nuke`, { body: request }),
    /** Raids of the last minutes for which the shield is proposed. */
    raids: (roomId?: string): Promise<{ raids: Raid[] }> => this.call("GET", "/admin/raids", { query: { room_id: roomId } }),
    dismissRaid: (roomId: string): Promise<unknown> => this.call("DELETE", `/admin${roomPath(roomId)}/raid`),
    /** Oldest first. */
    samples: (query: SampleQuery = {}): Promise<Page<"samples", Sample>> => this.call("GET", "/admin/samples", { query: { ...query } }),
    undo: (roomId: string, actionId: Id): Promise<NukeReport> => this.call("POST", `/admin${roomPath(roomId)}/undo/${encodeURIComponent(actionId)}`),
    pin: (roomId: string, commentId: Id, durationS?: number): Promise<Pin> =>
      this.call("PUT", `/admin${roomPath(roomId)}/pin`, { body: { comment_id: commentId, ...(durationS === undefined ? {} : { duration_s: durationS }) } }),
    unpin: (roomId: string): Promise<unknown> => this.call("DELETE", `/admin${roomPath(roomId)}/pin`),
    webhooks: (): Promise<{ webhooks: Webhook[] }> => this.call("GET", "/admin/webhooks"),
    /** The answer alone has the secret. */
    addWebhook: (draft: WebhookDraft): Promise<Webhook> => this.call("POST", "/admin/webhooks", { body: draft }),
    removeWebhook: (id: Id): Promise<unknown> => this.call("DELETE", `/admin/webhooks/${encodeURIComponent(id)}`),
    testWebhook: (id: Id): Promise<{ message_id: string }> => this.call("POST", `/admin/webhooks/${encodeURIComponent(id)}/test`),
    /** For a day calls are signed with both secrets. */
    rotateWebhook: (id: Id): Promise<{ id: Id; secret: string }> => this.call("POST", `/admin/webhooks/${encodeURIComponent(id)}/rotate`),
    deadLetters: (id: Id): Promise<{ dead_letters: DeadLetter[] }> => this.call("GET", `/admin/webhooks/${encodeURIComponent(id)}/dead-letters`),
    replayWebhook: (id: Id): Promise<{ replayed: number }> => this.call("POST", `/admin/webhooks/${encodeURIComponent(id)}/replay`),
    words: (): Promise<Words> => this.call("GET", "/admin/words"),
    saveWords: (words: Words): Promise<unknown> => this.call("PUT", "/admin/words", { body: words }),
    addWord: (list: WordList, word: string): Promise<unknown> => this.call("POST", `/admin/words/${list}/${encodeURIComponent(word)}`),
    removeWord: (list: WordList, word: string): Promise<unknown> => this.call("DELETE", `/admin/words/${list}/${encodeURIComponent(word)}`),
    bans: (): Promise<{ bans: Ban[] }> => this.call("GET", "/admin/bans"),
    ban: (draft: BanDraft): Promise<Ban> => this.call("POST", "/admin/bans", { body: draft }),
    unban: (id: Id): Promise<unknown> => this.call("DELETE", `/admin/bans/${encodeURIComponent(id)}`),
    deleteComment: (id: Id, reason?: string): Promise<unknown> => this.call("DELETE", `/admin/comments/${encodeURIComponent(id)}`, { query: { reason } }),
    /** Notes of moderators about a person, newest first. */
    notes: (userId: string, query: PageQuery = {}): Promise<Page<"notes", Note>> => this.call("GET", notesPath(userId), { query: { ...query } }),
    addNote: (userId: string, draft: NoteDraft): Promise<Note> => this.call("POST", notesPath(userId), { body: draft }),
    removeNote: (userId: string, id: Id): Promise<unknown> => this.call("DELETE", `${notesPath(userId)}/${encodeURIComponent(id)}`),
    announce: (roomId: string, content: string): Promise<unknown> =>
      this.call("POST", `/admin${roomPath(roomId)}/announcements`, { body: { content } }),
    gift: (roomId: string, gift: GiftDraft): Promise<unknown> => this.call("POST", `/admin${roomPath(roomId)}/gifts`, { body: gift }),
  };

  /** Any endpoint under /api/v1, with this object's identity. */
  async call<T>(method: Method, path: string, { query, body }: { query?: Query; body?: unknown } = {}): Promise<T> {
    const { signal = null } = this.options;
    const response = await this.#fetch(path, query, { method, headers: this.#headers(body), body: body === undefined ? null : JSON.stringify(body), signal });
    const answer = parse(await response.text().catch(broken));
    if (response.ok) return answer as T;
    throw failure(response, answer);
  }

  /** An endpoint whose answer is read as it comes. */
  async stream(path: string, query: Query, signal: AbortSignal): Promise<Response> {
    const response = await this.#fetch(path, query, { headers: { ...this.#headers(undefined), accept: "text/event-stream" }, cache: "no-store", signal });
    if (response.ok) return response;
    throw failure(response, parse(await response.text().catch(broken)));
  }

  async #fetch(path: string, query: Query | undefined, init: RequestInit): Promise<Response> {
    return fetch(this.#url(path, query), init).catch(broken);
  }

  /** An address the server named, which may be relative to it. */
  absolute(url: string): string {
    return new URL(url, this.#origin()).href;
  }

  #origin(): string {
    return this.options.url ?? location.origin;
  }

  #url(path: string, query: Query = {}): URL {
    return this.#identified(new URL(`/api/v1${path}`, this.#origin()), query);
  }

  /** With the identity that a server in `--dev` mode takes from the query. */
  #identified(url: URL, query: Query = {}): URL {
    const identity: Query = this.options.token ? {} : { ...this.options.identity };
    for (const [key, value] of Object.entries({ ...identity, ...query })) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    return url;
  }

  #headers(body: unknown): Record<string, string> {
    const { token } = this.options;
    return {
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    };
  }
}

function notesPath(userId: string): string {
  return `/admin/users/${encodeURIComponent(userId)}/notes`;
}

/** What a decision sends: a body only where there is a reason. */
function reasoned(reason: string | undefined): { body?: unknown } {
  return reason === undefined ? {} : { body: { reason } };
}

function roomPath(roomId: string): string {
  return `/rooms/${encodeURIComponent(roomId)}`;
}

function broken(error: unknown): never {
  throw new BarrageError("network", `no answer: ${String(error)}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function failure(response: Response, answer: unknown): BarrageError {
  const { error } = (answer ?? {}) as { error?: { code?: string; message?: string; retry_after_ms?: number; rule?: string } };
  return new BarrageError(
    error?.code ?? `http_${response.status}`,
    error?.message ?? response.statusText,
    error?.retry_after_ms,
    response.status,
    error?.rule,
  );
}

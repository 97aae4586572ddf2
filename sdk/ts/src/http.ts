/**
 * The HTTP endpoints, one typed function each. Every failure rejects with a `BarrageError`: the server's own code, or
 * `network` when there was no answer. Keeps no state and never retries.
 */
import { BarrageError } from "./codes.js";
import type { DevIdentity } from "./client.js";
import type { Comment, CommentDraft, Id, RankingEntry, RoomState } from "./types.js";

export interface ApiOptions {
  /** Where the server is. Default: the page's own origin. */
  url?: string;
  /** Bearer of every request: a token, or the admin key. */
  token?: string;
  /** Identity for a server in `--dev` mode, sent in the query when there is no token. */
  identity?: DevIdentity;
}

export interface ServerInfo {
  dev: boolean;
  anonymous_read: boolean;
  version: string;
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
}

export interface Session {
  session_id: Id;
  started_at: string;
  ended_at?: string;
  duration_s?: number;
  comment_count: number;
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
  speakers?: "everyone" | "vip" | "moderators" | "nobody";
  slow_mode_s?: number;
  limits?: Record<string, number>;
  window_ms_max?: number;
  reader_groups?: number;
  store?: boolean;
  retention_days?: number;
}

export interface Review {
  id: Id;
  room_id: string;
  user_id: string;
  content: string;
  created_at: string;
  status: "pending" | "approved" | "rejected";
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
}

export interface GiftDraft {
  gift: string;
  user_id: string;
  username: string;
  count: number;
  value: number;
  play_at?: number;
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
  comments(roomId: string, query: { since_id?: Id; limit?: number; wait_s?: number } = {}): Promise<{ comments: Comment[]; latest_id: Id }> {
    return this.call("GET", `${roomPath(roomId)}/comments`, { query });
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
  async sessions(roomId: string): Promise<Session[]> {
    return (await this.call<{ sessions: Session[] }>("GET", `${roomPath(roomId)}/sessions`)).sessions;
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

  readonly admin = {
    saveRoom: (roomId: string, settings: RoomSettings): Promise<unknown> =>
      this.call("PUT", `/admin${roomPath(roomId)}`, { body: settings }),
    openRoom: (roomId: string): Promise<{ session_id: Id }> => this.call("POST", `/admin${roomPath(roomId)}/open`),
    closeRoom: (roomId: string): Promise<unknown> => this.call("POST", `/admin${roomPath(roomId)}/close`),
    reviews: (query: { status?: string; room_id?: string; limit?: number } = {}): Promise<{ reviews: Review[] }> =>
      this.call("GET", "/admin/reviews", { query }),
    approve: (id: Id): Promise<unknown> => this.call("POST", `/admin/reviews/${encodeURIComponent(id)}/approve`),
    reject: (id: Id): Promise<unknown> => this.call("POST", `/admin/reviews/${encodeURIComponent(id)}/reject`),
    words: (): Promise<Words> => this.call("GET", "/admin/words"),
    saveWords: (words: Words): Promise<unknown> => this.call("PUT", "/admin/words", { body: words }),
    addWord: (list: WordList, word: string): Promise<unknown> => this.call("POST", `/admin/words/${list}/${encodeURIComponent(word)}`),
    removeWord: (list: WordList, word: string): Promise<unknown> => this.call("DELETE", `/admin/words/${list}/${encodeURIComponent(word)}`),
    bans: (): Promise<{ bans: Ban[] }> => this.call("GET", "/admin/bans"),
    ban: (draft: BanDraft): Promise<Ban> => this.call("POST", "/admin/bans", { body: draft }),
    unban: (id: Id): Promise<unknown> => this.call("DELETE", `/admin/bans/${encodeURIComponent(id)}`),
    deleteComment: (id: Id): Promise<unknown> => this.call("DELETE", `/admin/comments/${encodeURIComponent(id)}`),
    announce: (roomId: string, content: string): Promise<unknown> =>
      this.call("POST", `/admin${roomPath(roomId)}/announcements`, { body: { content } }),
    gift: (roomId: string, gift: GiftDraft): Promise<unknown> => this.call("POST", `/admin${roomPath(roomId)}/gifts`, { body: gift }),
  };

  /** Any endpoint under /api/v1, with this object's identity. */
  async call<T>(method: Method, path: string, { query, body }: { query?: Query; body?: unknown } = {}): Promise<T> {
    let response: Response;
    try {
      response = await fetch(this.#url(path, query), { method, headers: this.#headers(body), body: body === undefined ? null : JSON.stringify(body) });
    } catch (error) {
      throw new BarrageError("network", `no answer: ${String(error)}`);
    }
    const answer = parse(await response.text());
    if (response.ok) return answer as T;
    throw failure(response, answer);
  }

  /** An address the server named, which may be relative to it. */
  absolute(url: string): string {
    return new URL(url, this.#origin()).href;
  }

  #origin(): string {
    return this.options.url ?? location.origin;
  }

  #url(path: string, query: Query = {}): URL {
    const url = new URL(`/api/v1${path}`, this.#origin());
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

function roomPath(roomId: string): string {
  return `/rooms/${encodeURIComponent(roomId)}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function failure(response: Response, answer: unknown): BarrageError {
  const { error } = (answer ?? {}) as { error?: { code?: string; message?: string; retry_after_ms?: number } };
  return new BarrageError(
    error?.code ?? `http_${response.status}`,
    error?.message ?? response.statusText,
    error?.retry_after_ms,
    response.status,
  );
}

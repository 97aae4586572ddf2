/**
 * `@barrage/client/recording`: the comments of one session, read as segments of six minutes: each is one object that every cache may keep for a year, so that
 * watching it again, or together with a million others, costs the server nothing. What has no segments yet, or cannot be read so,
 * comes page by page from `replay`. Knows nothing of media or of what is due: that is the `Timeline`.
 */
import { BarrageError } from "./codes.js";
import type { Api, ReplayPage, ReplayQuery } from "./http.js";
import { decodeSegment, type Segment } from "./stored-segment.js";
import type { Comment, Id } from "./types.js";

export { decodeSegment, type Segment } from "./stored-segment.js";

/** Where one content of a segment is. Another content has another address. */
export interface SegmentEntry {
  n: number;
  from_ms: number;
  to_ms: number;
  count: number;
  /** From the server's root, or absolute. */
  url: string;
}

export interface SegmentManifest {
  session_id: Id;
  segment_ms: number;
  /** The session has ended: no segment is still growing. */
  complete: boolean;
  /** By `n`; empty ones are left out. */
  segments: SegmentEntry[];
  /** Whether everybody may read it: then segments need no identity, and any cache may share them. */
  is_public: boolean;
}

export interface RecordingOptions {
  /** Where a cache in front of the server is, if not where the server is. It is asked for public segments alone. */
  cdnUrl?: string;
}

type Window = Required<Pick<ReplayQuery, "from_ms" | "to_ms">> & Pick<ReplayQuery, "cursor" | "by_user">;

/** A manifest older than this is read again, for what was deleted or added meanwhile. */
const MANIFEST_MS = 60_000;
/** Segments kept decoded: one is played, and the next one fetched ahead. */
const HELD_MAX = 3;
const DELETED_MAX = 10_000;
const PAGE = 1_000;
const STORED = "application/vnd.barrage.segment.v1";

interface Held {
  url: string;
  comments: Promise<Comment[]>;
}

export class Recording {
  #manifest: { manifest: SegmentManifest; readAtMs: number } | undefined;
  #reading: Promise<SegmentManifest | undefined> | undefined;
  /** The server has no segments of this session. */
  #none = false;
  readonly #held = new Map<number, Held>();
  readonly #deleted = new Set<Id>();

  constructor(
    private readonly api: Api,
    private readonly roomId: string,
    private readonly sessionId: Id,
    private readonly options: RecordingOptions = {},
  ) {}

  /** What was said in a part of its time, for a `Timeline`; perhaps by one user alone. */
  readonly window = async (query: Window): Promise<ReplayPage> => {
    const found = query.cursor === undefined ? await this.#fromSegments(query) : undefined;
    const page = found ? { comments: found } : await this.api.replay(this.roomId, { session_id: this.sessionId, ...query });
    return { ...page, comments: page.comments.filter(({ id }) => !this.#deleted.has(id)) };
  };

  /** Everything, piece by piece, by `offset_ms`. */
  async *all(): AsyncGenerator<Comment[], void, undefined> {
    let from_ms = 0;
    const manifest = await this.#read();
    for (const entry of manifest?.segments ?? []) {
      const comments = await this.#segment(entry.n);
      if (!comments) break;
      yield this.#left(comments);
      from_ms = entry.to_ms;
    }
    if (manifest?.complete && from_ms >= (manifest.segments.at(-1)?.to_ms ?? 0)) return;
    let cursor: string | undefined;
    do {
      const page = await this.api.replay(this.roomId, { session_id: this.sessionId, from_ms, limit: PAGE, ...(cursor === undefined ? {} : { cursor }) });
      yield this.#left(page.comments);
      cursor = page.next_cursor;
    } while (cursor !== undefined);
  }

  /** These were deleted: they are left out, whatever an older copy of a segment says. */
  remove(ids: Iterable<Id>): void {
    for (const id of ids) this.#deleted.add(id);
    for (const id of this.#deleted) {
      if (this.#deleted.size <= DELETED_MAX) break;
      this.#deleted.delete(id);
    }
  }

  #left(comments: Comment[]): Comment[] {
    return this.#deleted.size === 0 ? comments : comments.filter(({ id }) => !this.#deleted.has(id));
  }

  /** Undefined when it has to come from `replay`. */
  async #fromSegments({ from_ms, to_ms, by_user }: Window): Promise<Comment[] | undefined> {
    const manifest = await this.#read();
    if (!manifest) return undefined;
    const found: Comment[][] = [];
    for (let n = Math.floor(from_ms / manifest.segment_ms); n * manifest.segment_ms < to_ms; n++) {
      const comments = await this.#segment(n);
      if (!comments) return undefined;
      found.push(comments.filter(({ offset_ms, user_id }) => offset_ms >= from_ms && offset_ms < to_ms && (by_user === undefined || user_id === by_user)));
    }
    return found.flat();
  }

  /** The comments of the n-th six minutes, without a request where nobody spoke. Undefined when the segment cannot be had. */
  async #segment(n: number): Promise<Comment[] | undefined> {
    for (const again of [false, true]) {
      const manifest = await this.#read(again);
      // The last one of a running session is another one every few seconds.
      if (!manifest || (!manifest.complete && n >= (manifest.segments.at(-1)?.n ?? 0))) return undefined;
      const entry = manifest.segments.find((known) => known.n === n);
      if (!entry) return [];
      try {
        return await this.#load(entry, manifest);
      } catch (error) {
        this.#held.delete(n);
        // Gone: a comment in it was deleted, and the manifest was older than that.
        if (!(error instanceof BarrageError) || (error.status !== 404 && error.status !== 410)) return undefined;
      }
    }
    return undefined;
  }

  #load({ n, url }: SegmentEntry, manifest: SegmentManifest): Promise<Comment[]> {
    const held = this.#held.get(n);
    if (held?.url === url) return held.comments;
    const comments = readSegment(this.api, url, { shared: manifest.is_public, cdnUrl: this.options.cdnUrl }).then((segment) => segment.comments);
    this.#held.delete(n);
    this.#held.set(n, { url, comments });
    const oldest = this.#held.keys().next();
    if (this.#held.size > HELD_MAX && !oldest.done) this.#held.delete(oldest.value);
    return comments;
  }

  #read(again = false): Promise<SegmentManifest | undefined> {
    if (this.#none) return Promise.resolve(undefined);
    const age = this.#manifest ? performance.now() - this.#manifest.readAtMs : Infinity;
    if (this.#manifest && !again && age < MANIFEST_MS) return Promise.resolve(this.#manifest.manifest);
    this.#reading ??= this.#ask(again).finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #ask(again: boolean): Promise<SegmentManifest | undefined> {
    try {
      const manifest = await readManifest(this.api, this.roomId, this.sessionId, again ? "no-cache" : "default");
      this.#manifest = { manifest, readAtMs: performance.now() };
      return manifest;
    } catch (error) {
      // A server without segments, or without this session: `replay` says which.
      this.#none = error instanceof BarrageError && error.status === 404;
      return undefined;
    }
  }
}

/** The segments of a session. `no-cache` asks the server even when a cache has a fresh answer. */
export async function readManifest(api: Pick<Api, "read">, roomId: string, sessionId: Id, cache: RequestCache = "default"): Promise<SegmentManifest> {
  const path = `/api/v1/rooms/${encodeURIComponent(roomId)}/sessions/${encodeURIComponent(sessionId)}/segments`;
  const response = await api.read(path, { accept: "application/json", cache });
  const manifest = (await response.json().catch(damaged)) as SegmentManifest;
  return { ...manifest, is_public: /\bpublic\b/.test(response.headers.get("cache-control") ?? "") };
}

/** A segment by its address in the manifest: in the stored form, which the server need not make. */
export async function readSegment(api: Pick<Api, "read">, url: string, from: { shared?: boolean; cdnUrl?: string | undefined } = {}): Promise<Segment> {
  const response = await api.read(url, { ...from, accept: `${STORED}, application/json;q=0.5` });
  if (!response.headers.get("content-type")?.startsWith(STORED)) return (await response.json().catch(damaged)) as Segment;
  return response.arrayBuffer().then((bytes) => decodeSegment(new Uint8Array(bytes))).catch(damaged);
}

function damaged(error: unknown): never {
  throw new BarrageError("damaged", String(error));
}

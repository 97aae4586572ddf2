/**
 * Reads a room as live segments: pieces of time that any HTTP cache may keep, so that a million viewers cost the server what
 * one does. Each is asked for by its number once its time is over, at a moment of this viewer's own, so that not all come at
 * once. Knows nothing of rooms joined or connections: `HttpTransport` hands on what it reads.
 */
import { ServerClock } from "./clock.js";
import { BarrageError } from "./codes.js";
import type { Api } from "./http.js";
import type { Comment, Id, JoinOptions, RoomEvent } from "./types.js";

export interface LiveSegment {
  room_id: string;
  /** Unix milliseconds divided by the segments' length. */
  seq: number;
  /** The server's clock; `to_ms` is excluded. */
  from_ms: number;
  to_ms: number;
  comments: Comment[];
  events: RoomEvent[];
  omitted: number;
  prefer?: string;
}

export interface LiveInfo {
  segment_ms: number;
  seq: number;
  server_time_ms: number;
  url_template: string;
}

export interface SegmentOptions {
  /** Where a cache in front of the server is, if not where the server is. */
  cdnUrl?: string;
  /** A number in [0, 1). Default `Math.random`. */
  random?: () => number;
}

type Request = JoinOptions & { since_id?: Id | undefined };

export interface Read {
  comments: Comment[];
  events: RoomEvent[];
  omitted: number;
}

/** The longest a viewer waits after a segment's end, and never longer than a segment. */
const JITTER_MS = 300;
/** Segments read at once when somebody comes, and at most when somebody comes back. */
const HISTORY_SEGMENTS = 5;
const RESUME_SEGMENTS = 30;
const HISTORY = 50;
const PAGE = 100;
const RETRY_MS = 500;
/** Failures in a row after which the connection counts as lost. */
const FAILURES_MAX = 5;
/** A request that is held has this much longer than its segment takes. */
const ANSWER_MS = 15_000;

export class SegmentReader {
  /** The server's clock, as `live` told it. */
  readonly clock = new ServerClock();
  readonly #random: () => number;
  #live: LiveInfo | undefined;
  #next = 0;
  #lastId: Id | undefined;
  #jitter = 0;
  #failures = 0;

  constructor(
    private readonly api: Api,
    private readonly roomId: string,
    private readonly signal: AbortSignal,
    private readonly options: SegmentOptions = {},
  ) {
    this.#random = options.random ?? Math.random;
    this.#jitter = this.#random();
  }

  /** What was missed, or the history asked for. What comes then is read with `next`. */
  async open(request: Request): Promise<Read> {
    const { seq } = await this.#locate();
    this.#next = seq;
    this.#lastId = request.since_id;
    const keep = Math.min(PAGE, request.history ?? HISTORY);
    const missed = request.since_id ? await this.#missed(seq, request.since_id) : await this.#history(seq, keep);
    const wanted = select(missed, request, Infinity);
    const shown = keep > 0 ? wanted.comments.slice(-keep) : [];
    const cut = request.since_id ? wanted.comments.length - shown.length : 0;
    this.#lastId = missed.comments.at(-1)?.id ?? this.#lastId;
    return { ...wanted, comments: shown, omitted: (request.since_id ? wanted.omitted : 0) + cut };
  }

  /** The next segment. Undefined when the reading was ended. */
  async next(request: Request): Promise<(Read & { prefer: string | undefined }) | undefined> {
    while (!this.signal.aborted) {
      const live = this.#live ?? (await this.#locate());
      await this.#until((this.#next + 1) * live.segment_ms + this.#jitter * Math.min(JITTER_MS, live.segment_ms));
      if (this.signal.aborted) return undefined;
      try {
        const segment = await this.#segment(this.#next, live);
        this.#failures = 0;
        this.#next += 1;
        this.#lastId = segment.comments.at(-1)?.id ?? this.#lastId;
        return { ...select(segment, request, live.segment_ms), prefer: segment.prefer };
      } catch (error) {
        const caught = await this.#recover(error);
        if (caught) return { ...select(caught, request, Infinity), prefer: undefined };
      }
    }
    return undefined;
  }

  /** After a failure: waits and tries again, or finds its place anew, and returns what was missed meanwhile. */
  async #recover(error: unknown): Promise<Read | undefined> {
    if (this.signal.aborted) return undefined;
    this.#failures += 1;
    if (!(error instanceof BarrageError) || this.#failures > FAILURES_MAX) throw error;
    await this.#sleep((error.retryAfterMs ?? RETRY_MS * 2 ** (this.#failures - 1)) * (0.5 + this.#random() / 2));
    // The prefix has ended, the node is another one, or this viewer was asleep: where do the segments stand?
    if (error.status !== 404 && error.status !== 403 && error.status !== 401) return undefined;
    const { seq } = await this.#locate();
    if (this.#next >= seq) {
      this.#next = Math.min(this.#next, seq + 1);
      return undefined;
    }
    const since = this.#lastId;
    this.#next = seq;
    return since === undefined ? undefined : this.#page(since);
  }

  async #locate(): Promise<LiveInfo> {
    const sentMs = this.clock.monotonicMs();
    const live = await this.api.live(this.roomId);
    this.clock.observe(sentMs, this.clock.monotonicMs(), live.server_time_ms);
    this.#live = live;
    return live;
  }

  async #segment(seq: number, { url_template, segment_ms }: LiveInfo): Promise<LiveSegment> {
    const asked = new AbortController();
    const stop = (): void => asked.abort();
    const timer = setTimeout(stop, segment_ms * 2 + ANSWER_MS);
    this.signal.addEventListener("abort", stop);
    try {
      return await this.api.segment(url_template.replace("{seq}", String(seq)), this.options.cdnUrl, asked.signal);
    } finally {
      clearTimeout(timer);
      this.signal.removeEventListener("abort", stop);
    }
  }

  /** Everything since a comment: from segments, which caches have, and if they do not reach back so far from the server. */
  async #missed(seq: number, since: Id): Promise<Read> {
    const found: LiveSegment[] = [];
    for (let back = 1; back <= RESUME_SEGMENTS; back++) {
      const segment = await this.#segmentIfAny(seq - back);
      if (!segment) return this.#page(since).catch(() => merge(found));
      found.unshift(segment);
      const at = segment.comments.findIndex(({ id }) => id === since);
      if (at >= 0) {
        const first = { ...segment, comments: segment.comments.slice(at + 1), omitted: 0 };
        return merge([first, ...found.slice(1)]);
      }
    }
    return this.#page(since).catch(() => merge(found));
  }

  async #history(seq: number, keep: number): Promise<Read> {
    if (keep === 0) return merge([]);
    try {
      const { comments } = await this.api.comments(this.roomId, { limit: Math.max(1, keep) });
      return { comments, events: [], omitted: 0 };
    } catch (error) {
      // A server with too much to do still has what caches keep.
      if (!(error instanceof BarrageError) || error.status === 401 || error.status === 403) throw error;
      const before = Array.from({ length: HISTORY_SEGMENTS }, (_, n) => this.#segmentIfAny(seq - HISTORY_SEGMENTS + n));
      const found = await Promise.all(before);
      return merge(found.filter((segment) => segment !== undefined));
    }
  }

  async #segmentIfAny(seq: number): Promise<LiveSegment | undefined> {
    if (!this.#live) return undefined;
    return this.#segment(seq, this.#live).catch(() => undefined);
  }

  /** What was published since a comment, as polling gives it. */
  async #page(since: Id): Promise<Read> {
    const comments: Comment[] = [];
    for (let since_id = since, pages = 0; pages < RESUME_SEGMENTS; pages++) {
      const page = await this.api.comments(this.roomId, { since_id, limit: PAGE });
      comments.push(...page.comments);
      since_id = page.latest_id;
      if (page.comments.length < PAGE) break;
    }
    return { comments, events: [], omitted: 0 };
  }

  #until(serverMs: number): Promise<void> {
    return this.#sleep(this.clock.until(serverMs));
  }

  #sleep(ms: number): Promise<void> {
    if (ms <= 0 || this.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.signal.addEventListener("abort", done);
    });
  }
}

function merge(segments: LiveSegment[]): Read {
  return {
    comments: segments.flatMap(({ comments }) => comments),
    events: segments.flatMap(({ events }) => events),
    omitted: segments.reduce((sum, { omitted }) => sum + omitted, 0),
  };
}

/** What this viewer asked for of what everybody is given. */
function select({ comments, events, omitted }: Read, { max_per_s, only_user_ids = [] }: Request, ms: number): Read {
  if (max_per_s === 0) return { comments: [], events, omitted: 0 };
  if (only_user_ids.length > 0) return { comments: comments.filter(({ user_id }) => only_user_ids.includes(user_id)), events, omitted: 0 };
  const most = max_per_s === undefined ? Infinity : Math.max(1, Math.round((max_per_s * ms) / 1_000));
  if (comments.length <= most) return { comments, events, omitted };
  // Evenly: the n-th of a share is where the share of the whole steps up.
  const kept = comments.filter((_, n) => Math.floor(((n + 1) * most) / comments.length) > Math.floor((n * most) / comments.length));
  return { comments: kept, events, omitted: omitted + comments.length - kept.length };
}

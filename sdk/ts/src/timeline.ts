/**
 * The comments of a recording, fetched a window at a time ahead of the playhead and handed out when the media's time
 * reaches them. Knows nothing of the stage or the media: it is told the time.
 */
import type { ReplayPage } from "./http.js";
import type { Comment } from "./types.js";

const WINDOW_MS = 30_000;
/** The next window is fetched when less than this lies ahead. */
const AHEAD_MS = 20_000;
const RETRY_MS = 3_000;
/** A step longer than this is a jump, not playing: what lies between is not shown. */
const STEP_MAX_MS = 5_000;

export type FetchWindow = (query: { from_ms: number; to_ms: number; cursor?: string }) => Promise<ReplayPage>;

export class Timeline {
  /** Fetched and not yet due, by `offset_ms`. */
  #ahead: Comment[] = [];
  /** Put onto the recording by this viewer since the last jump: on the stage already. */
  readonly #posted = new Set<string>();
  #loadedTo = 0;
  #at = 0;
  #generation = 0;
  #loading = false;
  #retryAt = 0;

  constructor(
    private readonly fetchWindow: FetchWindow,
    /** Told when a window cannot be fetched; it is tried again. */
    private readonly failed: (error: unknown) => void = () => undefined,
  ) {}

  /** Up to here everything is fetched. */
  get loadedMs(): number {
    return this.#loadedTo;
  }

  /** Puts the playhead somewhere else; comments before it are not handed out. */
  seek(ms: number): void {
    this.#generation++;
    this.#loading = false;
    this.#retryAt = 0;
    this.#ahead = [];
    this.#posted.clear();
    this.#at = ms;
    this.#loadedTo = ms;
    void this.#load();
  }

  /** Moves the playhead on and returns what has become due. */
  advance(ms: number): Comment[] {
    if (ms < this.#at || ms - this.#at > STEP_MAX_MS) {
      this.seek(ms);
      return [];
    }
    this.#at = ms;
    if (this.#loadedTo - ms < AHEAD_MS) void this.#load();
    const due = this.#ahead.findIndex(({ offset_ms }) => offset_ms > ms);
    return this.#ahead.splice(0, due < 0 ? this.#ahead.length : due).filter(({ id }) => !this.#posted.has(id));
  }

  /** A comment this viewer just put onto the recording and sees already. */
  posted(id: string): void {
    this.#posted.add(id);
  }

  /** These were deleted. */
  remove(ids: ReadonlySet<string>): void {
    this.#ahead = this.#ahead.filter(({ id }) => !ids.has(id));
  }

  async #load(): Promise<void> {
    if (this.#loading || performance.now() < this.#retryAt) return;
    this.#loading = true;
    const generation = this.#generation;
    const from_ms = Math.floor(this.#loadedTo);
    const to_ms = from_ms + WINDOW_MS;
    try {
      const comments = await this.#fetchAll(from_ms, to_ms, generation);
      if (generation !== this.#generation) return;
      this.#ahead.push(...comments);
      this.#loadedTo = to_ms;
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#retryAt = performance.now() + RETRY_MS;
      this.failed(error);
    }
    this.#loading = false;
  }

  async #fetchAll(from_ms: number, to_ms: number, generation: number): Promise<Comment[]> {
    const comments: Comment[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.fetchWindow({ from_ms, to_ms, ...(cursor === undefined ? {} : { cursor }) });
      comments.push(...page.comments);
      cursor = page.next_cursor;
    } while (cursor !== undefined && generation === this.#generation);
    return comments;
  }
}

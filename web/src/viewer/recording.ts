/**
 * All comments of one recording, fetched piece by piece in the background: for the list one can click and the curve that
 * shows where people spoke. Never decides what flies; that is the timeline's.
 */
import type { Comment } from "@barrage/client";
import type { Recording } from "@barrage/client/recording";

/** Recordings of more are listed up to here, and have no curve: it would show their beginning alone. */
const COMMENTS_MAX = 30_000;
export const HEAT_BUCKETS = 120;

export class RecordingIndex {
  #comments: Comment[] = [];
  #stopped = false;

  constructor(
    private readonly recording: Pick<Recording, "all">,
    /** Called after each piece. */
    private readonly grown: () => void,
  ) {}

  /** By `offset_ms`. */
  get comments(): readonly Comment[] {
    return this.#comments;
  }

  /** Whether the curve can be drawn from what is here. */
  get complete(): boolean {
    return this.#complete;
  }

  #complete = false;

  async load(): Promise<void> {
    for await (const comments of this.recording.all()) {
      if (this.#stopped) return;
      this.#comments = this.#comments.concat(comments);
      if (this.#comments.length >= COMMENTS_MAX) return this.grown();
      this.grown();
    }
    this.#complete = !this.#stopped;
    if (this.#complete) this.grown();
  }

  /** One that was just said about the recording. */
  insert(comment: Comment): void {
    const at = this.#comments.findIndex(({ offset_ms }) => offset_ms > comment.offset_ms);
    this.#comments.splice(at < 0 ? this.#comments.length : at, 0, comment);
    this.grown();
  }

  remove(ids: ReadonlySet<string>): void {
    this.#comments = this.#comments.filter(({ id }) => !ids.has(id));
    this.grown();
  }

  /** Another recording is watched: what still arrives is not wanted. */
  stop(): void {
    this.#stopped = true;
  }
}

/** How lively each part of the time was, 0–1, smoothed over the neighbours. */
export function heatOf(offsets: readonly number[], lengthMs: number, buckets = HEAT_BUCKETS): number[] {
  const counts = Array.from({ length: buckets }, () => 0);
  for (const offset of offsets) {
    const at = Math.min(buckets - 1, Math.floor((offset / lengthMs) * buckets));
    if (at >= 0) counts[at] = (counts[at] ?? 0) + 1;
  }
  const smooth = counts.map((count, at) => ((counts[at - 1] ?? count) + 2 * count + (counts[at + 1] ?? count)) / 4);
  const most = Math.max(...smooth);
  return most > 0 ? smooth.map((value) => value / most) : smooth;
}

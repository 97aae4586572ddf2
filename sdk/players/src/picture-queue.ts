/**
 * Comments that wait for their picture: somebody who sees the stream twenty seconds late is told of nothing before they see it.
 * Pure: it is told the time of the picture. Used by `feedLive`, and by pages that draw comments themselves.
 */
import type { Comment } from "@barrage/client";

const WAITING_MAX = 10_000;
/** After a jump to a later picture, comments older than this are not shown. */
const STEP_MS = 10_000;
/** A picture that says it is older than this has a wrong clock, or is no live picture: nothing waits for it. */
const BEHIND_MAX_MS = 900_000;

export class PictureQueue {
  /** The earliest first. */
  #waiting: { atMs: number; comment: Comment }[] = [];

  get size(): number {
    return this.#waiting.length;
  }

  /** Returns what need not wait: a comment that was approved late is of an earlier picture. */
  add(comments: readonly Comment[], pictureMs: number): Comment[] {
    const now: Comment[] = [];
    for (const comment of comments) {
      const atMs = Date.parse(comment.created_at);
      if (!(atMs > pictureMs) || atMs - pictureMs > BEHIND_MAX_MS) {
        now.push(comment);
        continue;
      }
      let place = this.#waiting.length;
      while (place > 0 && (this.#waiting[place - 1]?.atMs ?? 0) > atMs) place--;
      this.#waiting.splice(place, 0, { atMs, comment });
    }
    this.#waiting.splice(0, this.#waiting.length - WAITING_MAX);
    return now;
  }

  remove(ids: readonly string[]): void {
    this.#waiting = this.#waiting.filter(({ comment }) => !ids.includes(comment.id));
  }

  clear(): void {
    this.#waiting = [];
  }

  /** Those whose picture is shown; all while nobody knows what is shown. */
  due(pictureMs = Infinity): Comment[] {
    const end = this.#waiting.findIndex(({ atMs }) => atMs > pictureMs);
    const due = this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
    const fresh = pictureMs === Infinity ? due : due.filter(({ atMs }) => pictureMs - atMs <= STEP_MS);
    return fresh.map(({ comment }) => comment);
  }
}

/** `window.__barrage`: what the renderer says it has done. Read-only, for tests and for measuring. */
import type { StageReport } from "@barrage/danmaku";

const DRAWN_KEPT = 500;
const FRAMES_KEPT = 20_000;

export interface Probe {
  /** The last comments that reached the screen, oldest first. */
  readonly drawn: readonly { id: string; text: string }[];
  /** Totals since the page was opened. */
  readonly shown: number;
  readonly dropped: Readonly<StageReport["dropped"]>;
  readonly flying: number;
  /** Comments the server said it left out. */
  readonly omitted: number;
  /** Comments that arrived, shown or not. */
  readonly received: number;
  /** Milliseconds between the renderer's frames. */
  readonly frames: readonly number[];
  /** Where the video is, in seconds. */
  readonly time: number;
  /** When the live picture that is shown was recorded, where that is known. */
  readonly pictureMs: number | undefined;
}

export class ProbeRecorder {
  #drawn: { id: string; text: string }[] = [];
  #frames: number[] = [];
  #last: StageReport = { drawn: [], shown: 0, dropped: { late: 0, crowded: 0, cleared: 0 }, merged: 0, flying: 0, frames: [] };
  received = 0;
  omitted = 0;

  /** Comments the screen had no room for. */
  get unshown(): number {
    return this.#last.dropped.late + this.#last.dropped.crowded;
  }

  record(report: StageReport): void {
    this.#drawn = [...this.#drawn, ...report.drawn].slice(-DRAWN_KEPT);
    if (this.#frames.length < FRAMES_KEPT) this.#frames.push(...report.frames);
    this.#last = report;
  }

  /** Puts the probe onto the window; `where` tells where the video is. */
  expose(where: () => Pick<Probe, "time" | "pictureMs">): void {
    Object.defineProperty(window, "__barrage", { get: () => this.#snapshot(where()) });
  }

  #snapshot(where: Pick<Probe, "time" | "pictureMs">): Probe {
    const { shown, dropped, flying } = this.#last;
    return Object.freeze({
      drawn: [...this.#drawn], shown, dropped: { ...dropped }, flying,
      omitted: this.omitted, received: this.received, frames: [...this.#frames], ...where,
    });
  }
}

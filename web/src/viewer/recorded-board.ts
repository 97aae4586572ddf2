/**
 * Pins, polls and questions of a recording, at their time. Told where the viewer is; after a jump back it begins anew.
 * Draws nothing itself.
 */
import type { RecordedEvent } from "@barrage/client";

export interface BoardOfRecording {
  clear(): void;
  show(event: RecordedEvent): void;
}

export class RecordedBoard {
  #events: readonly RecordedEvent[] = [];
  /** How many of them are shown. */
  #shown = 0;

  constructor(private readonly board: BoardOfRecording) {}

  /** Those of the recording that is watched now. */
  load(events: readonly RecordedEvent[]): void {
    this.#events = [...events].sort((a, b) => a.offset_ms - b.offset_ms);
    this.#shown = 0;
    this.board.clear();
  }

  at(offsetMs: number): void {
    const due = this.#events.filter(({ offset_ms }) => offset_ms <= offsetMs).length;
    if (due < this.#shown) {
      this.board.clear();
      this.#shown = 0;
    }
    for (const event of this.#events.slice(this.#shown, due)) this.board.show(event);
    this.#shown = due;
  }
}

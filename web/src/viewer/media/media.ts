/**
 * What plays under the comments: a clip the page draws itself, or a video. Both are driven by the same few verbs, so that
 * replay follows either one's time.
 */

export type MediaFailure = "network" | "format" | "damaged" | "file";

export interface Media {
  /** Shown on the stage, under the comments. */
  readonly element: HTMLElement;
  /** Seconds from the start. */
  time: number;
  /** Seconds; Infinity when it has no end. */
  readonly duration: number;
  readonly paused: boolean;
  rate: number;
  /** It reached its end and waits there. */
  readonly ended: boolean;
  /** It would play, and waits for data. */
  readonly stalled: boolean;
  /** When what it shows was recorded, in Unix milliseconds, where a live stream says so. */
  readonly pictureMs?: number | undefined;
  /** Whether it can go to another time: it has an end, and the source allows it. */
  readonly seekable: boolean;
  /** What a picture-in-picture window shows, where the browser has one. */
  pictureInPicture?(): Promise<void>;
  /** Whether there is sound to switch. */
  readonly hasSound: boolean;
  muted: boolean;
  /** 0–1. */
  volume: number;
  play(): void;
  pause(): void;
  /** Calls `listener` when it plays, pauses, stalls, jumps, changes speed or duration. `seeked` is true for a jump. */
  onChange(listener: (seeked: boolean) => void): void;
  /** Tells why it cannot be played. */
  onError(listener: (why: MediaFailure) => void): void;
  /** Ends it and frees what it holds. */
  dispose(): void;
}

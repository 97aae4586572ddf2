/**
 * What plays under the comments: a clip the page draws itself, or a video. Both are driven by the same few verbs, so that
 * replay follows either one's time.
 */

export interface Media {
  /** Shown on the stage, under the comments. */
  readonly element: HTMLElement;
  /** Seconds from the start. */
  time: number;
  /** Seconds; Infinity when it has no end. */
  readonly duration: number;
  readonly paused: boolean;
  rate: number;
  /** Whether there is sound to switch. */
  readonly hasSound: boolean;
  muted: boolean;
  play(): void;
  pause(): void;
  /** Calls `listener` when it plays, pauses, jumps, changes speed or duration. `seeked` is true for a jump. */
  onChange(listener: (seeked: boolean) => void): void;
  /** Tells why it cannot be played. */
  onError(listener: () => void): void;
  /** Ends it and frees what it holds. */
  dispose(): void;
}

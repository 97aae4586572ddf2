/**
 * Which part of a long history is drawn: some messages around the reader, however many there are. Pure.
 * The window ends with the newest message, or with the one that was last when the reader went up.
 */

/** Messages drawn at once; a screen shows some twenty. */
export const WINDOW = 120;
/** How far the window moves when the reader comes near its edge. */
export const STEP = 40;

export interface Slice {
  from: number;
  to: number;
}

/** `endKey` undefined means the newest message. A key that is gone means that too. */
export function sliceOf(keys: readonly string[], endKey: string | undefined): Slice {
  const at = endKey === undefined ? -1 : keys.lastIndexOf(endKey);
  const to = at < 0 ? keys.length : Math.max(at + 1, Math.min(WINDOW, keys.length));
  return { from: Math.max(0, to - WINDOW), to };
}

/** The window's end after it moved towards older messages; undefined when it already begins with the oldest. */
export function earlier(keys: readonly string[], { from, to }: Slice): string | undefined {
  return from === 0 ? undefined : keys[to - 1 - Math.min(STEP, from)];
}

/** The window's end after it moved towards newer messages; undefined when it ends with the newest then. */
export function later(keys: readonly string[], { to }: Slice): string | undefined {
  return to + STEP >= keys.length ? undefined : keys[to - 1 + STEP];
}

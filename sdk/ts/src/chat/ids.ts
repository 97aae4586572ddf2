/** Ids are decimal strings of 63 bits: too long for a JavaScript number, and ordered by value, not by letters. */
import type { Id } from "../types.js";

/** Negative when `a` came before `b`. */
export function compareIds(a: Id, b: Id): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

export function laterId(a: Id | undefined, b: Id | undefined): Id | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareIds(a, b) >= 0 ? a : b;
}

/** Whether `id` is at or before `mark`; nothing is before a mark that was never set. */
export function isUpTo(id: Id, mark: Id | undefined): boolean {
  return mark !== undefined && compareIds(id, mark) <= 0;
}

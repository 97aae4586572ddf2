/** Ids by time. Pure. Ids grow with time, so that one made up for a moment serves as a list's cursor. */

const epochMs = Date.UTC(2024, 0, 1);
/** Bits of an id beneath its milliseconds: node and sequence. */
const belowTime = 22n;

/** The lowest id of a moment. */
export function idAt(ms: number): string {
  const since = BigInt(Math.max(1, Math.floor(ms - epochMs)));
  return String(since << belowTime);
}

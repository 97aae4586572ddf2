/**
 * How long to wait before the next attempt to connect. Full jitter (M. Brooker, "Exponential Backoff And Jitter",
 * AWS Architecture Blog, 2015): uniform between 0 and a ceiling that doubles, so that a million viewers of a
 * restarted gateway do not come back in the same instant.
 */

/** Given how many attempts have failed in a row (1, 2, …), the milliseconds to wait. */
export type RetryPolicy = (failures: number) => number;

export interface FullJitterOptions {
  /** Ceiling of the first wait. Default 1 s. */
  firstMs?: number;
  /** Highest ceiling. Default 30 s. */
  maxMs?: number;
  /** A number in [0, 1). Default `Math.random`. */
  random?: () => number;
}

/** The default policy. */
export function fullJitter(options: FullJitterOptions = {}): RetryPolicy {
  const { firstMs = 1_000, maxMs = 30_000, random = Math.random } = options;
  return (failures) => {
    const ceiling = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 30));
    return Math.round(random() * ceiling);
  };
}

const MAX_ORDERED_MS = 60_000;

/** The delay a draining server asks for in the reason of close 1012; undefined when there is none to obey. */
export function orderedDelay(reason: string): number | undefined {
  if (!/^\d+$/.test(reason)) return undefined;
  return Math.min(Number(reason), MAX_ORDERED_MS);
}

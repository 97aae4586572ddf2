/** Draws a fair sample from what passes. Pure. */

/** At most `max` of them, chosen evenly at random, in their order (Vitter's algorithm R). */
export function sampled<T>(all: readonly T[], max: number, random: () => number = Math.random): T[] {
  const chosen = all.slice(0, max).map((_, index) => index);
  for (let index = max; index < all.length; index++) {
    const place = Math.floor(random() * (index + 1));
    if (place < max) chosen[place] = index;
  }
  return chosen.sort((a, b) => a - b).flatMap((index) => all.slice(index, index + 1));
}

/**
 * The comments that wait for a free lane. Pure. A screen holds far fewer comments than a busy room sends, so what
 * waits is chosen by priority, then newest first; what waited too long, or does not fit in here, is
 * dropped and counted by reason.
 */

export interface Candidate {
  /** Higher goes first. */
  priority: number;
  /** Stage milliseconds after which it is no longer worth showing. */
  patienceMs: number;
}

/** Makes one of two equal ones: the first gets bigger. */
export interface Merging<T> {
  /** Equal keys are equal comments; undefined merges with nothing. */
  key(item: T): string | undefined;
  merge(into: T, item: T): void;
}

export type DropReason =
  /** No lane became free while it was still fresh. */
  | "late"
  /** More waited than can be kept. */
  | "crowded"
  /** Cleared, deleted or switched off before it was shown. */
  | "cleared";

interface Entry<T> {
  item: T;
  key: string | undefined;
  since: number;
  order: number;
}

export class Waiting<T extends Candidate> {
  readonly dropped: Record<DropReason, number> = { late: 0, crowded: 0, cleared: 0 };
  /** Sorted: the best is last, so that taking it is cheap. */
  #entries: Entry<T>[] = [];
  readonly #byKey = new Map<string, Entry<T>>();
  #order = 0;
  merged = 0;

  constructor(
    readonly capacity: number,
    private readonly merging?: Merging<T>,
  ) {}

  get size(): number {
    return this.#entries.length;
  }

  /** `merge`: an equal one that waits already takes this one in. */
  offer(item: T, now: number, merge = false): void {
    const key = merge ? this.merging?.key(item) : undefined;
    const equal = key === undefined ? undefined : this.#byKey.get(key);
    if (equal) {
      this.merging?.merge(equal.item, item);
      this.merged++;
      return;
    }
    const entry: Entry<T> = { item, key, since: now, order: this.#order++ };
    if (key !== undefined) this.#byKey.set(key, entry);
    let at = this.#entries.length;
    while (at > 0 && isBetter(this.#entries[at - 1], entry)) at--;
    this.#entries.splice(at, 0, entry);
    if (this.#entries.length > this.capacity) {
      this.#forget(this.#entries.shift());
      this.dropped.crowded++;
    }
  }

  /** Offers the best `limit` ones, best first, to `take`; those it accepts leave. */
  serve(limit: number, take: (item: T) => boolean): void {
    const stop = Math.max(0, this.#entries.length - limit);
    for (let at = this.#entries.length - 1; at >= stop; at--) {
      const entry = this.#entries[at];
      if (!entry || !take(entry.item)) continue;
      this.#entries.splice(at, 1);
      this.#forget(entry);
    }
  }

  /** Drops what has waited too long. */
  expire(now: number): void {
    this.dropped.late += this.#keep(({ item, since }) => now - since <= item.patienceMs);
  }

  /** Drops what matches. */
  remove(matches: (item: T) => boolean): void {
    this.dropped.cleared += this.#keep(({ item }) => !matches(item));
  }

  #keep(wanted: (entry: Entry<T>) => boolean): number {
    const before = this.#entries.length;
    this.#entries = this.#entries.filter((entry) => {
      const stays = wanted(entry);
      if (!stays) this.#forget(entry);
      return stays;
    });
    return before - this.#entries.length;
  }

  #forget(entry: Entry<T> | undefined): void {
    if (entry?.key !== undefined) this.#byKey.delete(entry.key);
  }
}

function isBetter<T extends Candidate>(a: Entry<T> | undefined, b: Entry<T>): boolean {
  if (!a) return false;
  return a.item.priority !== b.item.priority ? a.item.priority > b.item.priority : a.order > b.order;
}

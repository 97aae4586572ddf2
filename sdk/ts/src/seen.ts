/** Remembers the last N ids, to drop repeats. When full, the oldest is forgotten. */
export class SeenIds {
  readonly #ids = new Set<string>();

  constructor(readonly capacity: number) {}

  /** True the first time an id is added. */
  add(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > this.capacity) {
      const oldest = this.#ids.values().next();
      if (!oldest.done) this.#ids.delete(oldest.value);
    }
    return true;
  }

  get size(): number {
    return this.#ids.size;
  }
}

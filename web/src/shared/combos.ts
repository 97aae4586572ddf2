/** Gifts in a row: which line on the screen a repeat belongs to. Pure apart from the lines it remembers. */

/** As the server counts them: the same gift of the same user within this long. */
const COMBO_MS = 5_000;
const KEPT_MAX = 50;

interface Gift {
  user_id: string;
  gift: string;
}

interface Shown<Line> {
  line: Line;
  name: string;
  /** How many it is by now. */
  count: number;
}

export class Combos<Line> {
  readonly #lines = new Map<string, Shown<Line> & { at: number }>();

  /** The line of the same gift shown just before, if it may go on. */
  line({ user_id, gift }: Gift): Shown<Line> | undefined {
    const known = this.#lines.get(key(user_id, gift));
    return known && performance.now() - known.at < COMBO_MS ? known : undefined;
  }

  shown({ user_id, gift }: Gift, shown: Shown<Line>): void {
    this.#lines.delete(key(user_id, gift));
    this.#lines.set(key(user_id, gift), { ...shown, at: performance.now() });
    for (const old of [...this.#lines.keys()].slice(0, -KEPT_MAX)) this.#lines.delete(old);
  }
}

const key = (user: string, gift: string): string => JSON.stringify([user, gift]);

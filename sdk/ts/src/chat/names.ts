/** What people call themselves, as their messages say: a server lists whom it does not know by id. The newest few are kept. */
import type { Message } from "./types.js";

const MAX = 2_000;

export class Names {
  readonly #names = new Map<string, string>();

  get(userId: string): string | undefined {
    return this.#names.get(userId);
  }

  learn({ from_user, from_name }: Pick<Message, "from_user" | "from_name">): void {
    if (!from_name || this.#names.get(from_user) === from_name) return;
    this.#names.delete(from_user);
    this.#names.set(from_user, from_name);
    const oldest = this.#names.keys().next();
    if (this.#names.size > MAX && !oldest.done) this.#names.delete(oldest.value);
  }
}

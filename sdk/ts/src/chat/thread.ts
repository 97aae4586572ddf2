/**
 * The messages of one conversation as far as they are known: an unbroken run up to the newest, each id once, in the
 * order of their ids, which is the order the server stored them in. Owned by a conversation; knows nothing of the wire.
 */
import type { Id } from "../types.js";
import { compareIds } from "./ids.js";
import type { Message } from "./types.js";

export class Thread {
  #messages: Message[] = [];

  get messages(): readonly Message[] {
    return this.#messages;
  }

  get oldest(): Message | undefined {
    return this.#messages[0];
  }

  get newest(): Message | undefined {
    return this.#messages.at(-1);
  }

  get(id: Id): Message | undefined {
    const index = this.#indexOf(id);
    const found = this.#messages[index];
    return found?.id === id ? found : undefined;
  }

  /** False when it was there already; then what is newer about it is kept. */
  put(message: Message): boolean {
    const index = this.#indexOf(message.id);
    const known = this.#messages[index];
    if (known?.id === message.id) {
      this.#messages[index] = merged(known, message);
      return false;
    }
    this.#messages.splice(index, 0, message);
    return true;
  }

  /** Changes one message; false when it is not here. */
  change(id: Id, part: Partial<Message>): boolean {
    const index = this.#indexOf(id);
    const known = this.#messages[index];
    if (known?.id !== id) return false;
    this.#messages[index] = { ...known, ...part };
    return true;
  }

  /** Lets the oldest go until `max` are left, and gives back the newest of those. They can be loaded again. */
  trim(max: number): Message | undefined {
    return this.#messages.splice(0, Math.max(0, this.#messages.length - max)).at(-1);
  }

  clear(): void {
    this.#messages = [];
  }

  /** Where this id is or would be. Almost always at the end. */
  #indexOf(id: Id): number {
    let [low, high] = [0, this.#messages.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const at = this.#messages[middle];
      if (at && compareIds(at.id, id) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Whether the first one is a later edit; both times have the same form. */
export function isEditedLater(one: Pick<Message, "edited_at">, other: Pick<Message, "edited_at">): boolean {
  return (one.edited_at ?? "") > (other.edited_at ?? "");
}

/** Answers may overtake each other: what was read stays read, what was recalled recalled, and the last edit the last. */
function merged(known: Message, told: Message): Message {
  if (known.status === "recalled") return known;
  const status = known.status === "read" && told.status === "delivered" ? "read" : told.status;
  const read_count = Math.max(known.read_count ?? 0, told.read_count ?? 0);
  const later = isEditedLater(known, told) ? { content: known.content, ...(known.edited_at ? { edited_at: known.edited_at } : {}) } : {};
  return { ...known, ...told, ...later, status, ...(read_count > 0 ? { read_count } : {}) };
}

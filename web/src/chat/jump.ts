/** The way to one message of a conversation: whoever names it sets the target, the open thread scrolls there. */
import type { Conversation, Id } from "@barrage/client";
import { signal } from "@preact/signals";
import { show } from "./session";

export const target = signal<{ key: string; id: Id } | undefined>(undefined);

/** The message that was looked for, marked for a while. */
export const found = signal<Id | undefined>(undefined);
const FOUND_MS = 2_500;
let clearing = 0;

export function jumpTo({ key }: Conversation, id: Id): void {
  target.value = { key, id };
  show(key);
}

export function markFound(id: Id): void {
  found.value = id;
  window.clearTimeout(clearing);
  clearing = window.setTimeout(() => (found.value = undefined), FOUND_MS);
}

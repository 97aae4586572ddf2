/** What was begun and not sent, kept per conversation in this tab. The oldest go when there are too many. */
import { signal } from "@preact/signals";

const KEY = "barrage.chat.drafts";
const MAX = 50;

const drafts = signal<Record<string, string>>(read());

export function draftOf(key: string): string {
  return drafts.value[key] ?? "";
}

export function keepDraft(key: string, text: string): void {
  if (draftOf(key) === text) return;
  const others = Object.entries(drafts.value).filter(([other]) => other !== key);
  drafts.value = Object.fromEntries([...others, ...(text === "" ? [] : [[key, text] as const])].slice(-MAX));
  try {
    sessionStorage.setItem(KEY, JSON.stringify(drafts.value));
  } catch {
    // Full or forbidden: kept for as long as the page is open.
  }
}

function read(): Record<string, string> {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "{}") as Record<string, unknown>;
    return Object.fromEntries(Object.entries(kept).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  } catch {
    return {};
  }
}

/** What was begun and not sent, kept per conversation in this tab. The oldest go when there are too many. */
import { signal } from "@preact/signals";
import { readInTab, writeInTab } from "../shared/storage";

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
  writeInTab(KEY, JSON.stringify(drafts.value));
}

function read(): Record<string, string> {
  try {
    const kept = JSON.parse(readInTab(KEY) ?? "{}") as Record<string, unknown>;
    return Object.fromEntries(Object.entries(kept).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  } catch {
    return {};
  }
}

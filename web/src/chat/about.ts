/** What the text being written is about: an answer to a message, or another wording of one's own. Kept in this tab while the page is open. */
import type { Chat, ChatMessage, Conversation, Id } from "@barrage/client";
import { signal } from "@preact/signals";
import { draftOf, keepDraft } from "./drafts";
import { textOf } from "./summary";

/** As long as the server lets a message be recalled or edited. */
export const CHANGEABLE_MS = 120_000;

export type About = { kind: "reply"; id: Id } | { kind: "edit"; id: Id; /** The draft that waits meanwhile. */ before: string };

const abouts = signal<Readonly<Record<string, About>>>({});

export function aboutOf({ key }: Conversation): About | undefined {
  return abouts.value[key];
}

/** Answers a message from here on; an edit that was begun is given up. */
export function replyTo(conversation: Conversation, id: Id): void {
  stopAbout(conversation);
  keep(conversation, { kind: "reply", id });
}

/** Puts a message's text where one writes. */
export function startEdit(conversation: Conversation, id: Id, text: string): void {
  stopAbout(conversation);
  keep(conversation, { kind: "edit", id, before: draftOf(conversation.key) });
  keepDraft(conversation.key, text);
}

/** The text is about nothing any more; what waited behind an edit is there again. */
export function stopAbout(conversation: Conversation): void {
  const about = abouts.peek()[conversation.key];
  if (about?.kind === "edit") keepDraft(conversation.key, about.before);
  keep(conversation, undefined);
}

/** Puts back what could not be done. */
export function resumeAbout(conversation: Conversation, about: About | undefined): void {
  if (about && !abouts.peek()[conversation.key]) keep(conversation, about);
}

function keep({ key }: Conversation, about: About | undefined): void {
  const others = Object.entries(abouts.peek()).filter(([other]) => other !== key);
  abouts.value = Object.fromEntries(about ? [...others, [key, about] as const] : others);
}

/** The text that one may still edit; undefined for all other messages. */
export function editableText(chat: Chat, message: ChatMessage): string | undefined {
  const { own, id, state, created_at } = message;
  const recent = own && id !== undefined && state !== "recalled" && Date.now() - Date.parse(created_at) < CHANGEABLE_MS;
  return recent ? textOf(chat, message) : undefined;
}

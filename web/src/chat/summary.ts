/** A message in one line, for the list. */
import type { Chat, ChatMessage } from "@barrage/client";
import { bodyOf } from "./sealed";
import type { SealedBody } from "./sealed-body";
import { t } from "./strings";

export function summary(chat: Chat, message: ChatMessage, withName: boolean): string {
  if (message.state === "recalled") return t(message.own ? "msg.recalledOwn" : "msg.recalled");
  const body = message.msg_type === "encrypted" ? bodyOf(chat, message) : undefined;
  if (body?.kind === "setting") return settingText(chat, message, body.sealed);
  const said = body ? inWords(body) : message.msg_type === "text" ? message.content : undefined;
  const text = said?.replace(/\s+/g, " ") ?? t(`msg.${message.msg_type}`);
  return withName && !message.own ? `${message.from_name ?? message.from_user}: ${text}` : text;
}

/** What a message says in words, encrypted or not; undefined for files and for what cannot be read here. */
export function textOf(chat: Chat, message: ChatMessage): string | undefined {
  if (message.state === "recalled") return undefined;
  const body = message.msg_type === "encrypted" ? bodyOf(chat, message) : undefined;
  return body?.kind === "text" ? body.text : message.msg_type === "text" ? message.content : undefined;
}

function inWords(body: SealedBody): string | undefined {
  return body.kind === "text" ? body.text : body.kind === "file" ? t(`msg.${body.msg_type}`) : undefined;
}

/** Who turned encryption on or off. */
export function settingText(chat: Chat, message: ChatMessage, sealed: boolean): string {
  if (message.own) return t(sealed ? "e2ee.youOn" : "e2ee.youOff");
  const name = chat.names.get(message.from_user) ?? message.from_user;
  return t(sealed ? "e2ee.theyOn" : "e2ee.theyOff", { name });
}

/** A message in one line, for the list. */
import type { Chat, ChatMessage } from "@barrage/client";
import { textOf } from "./sealed";
import { t } from "./strings";

export function summary(chat: Chat, message: ChatMessage, withName: boolean): string {
  if (message.state === "recalled") return t(message.own ? "msg.recalledOwn" : "msg.recalled");
  const said = message.msg_type === "encrypted" ? textOf(chat, message) : message.msg_type === "text" ? message.content : undefined;
  const text = said?.replace(/\s+/g, " ") ?? t(`msg.${message.msg_type}`);
  return withName && !message.own ? `${message.from_name ?? message.from_user}: ${text}` : text;
}

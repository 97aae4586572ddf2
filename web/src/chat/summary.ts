/** A message in one line, for the list. */
import type { ChatMessage } from "@barrage/client";
import { t } from "./strings";

export function summary(message: ChatMessage, withName: boolean): string {
  if (message.state === "recalled") return t(message.own ? "msg.recalledOwn" : "msg.recalled");
  const text = message.msg_type === "text" ? message.content.replace(/\s+/g, " ") : t(`msg.${message.msg_type}`);
  return withName && !message.own ? `${message.from_name ?? message.from_user}: ${text}` : text;
}

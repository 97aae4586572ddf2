/** Tells of new messages outside the page, once the user has asked for it. Where the platform cannot, it says so. */
import type { Chat } from "@barrage/client";
import { signal } from "@preact/signals";
import { readStored, writeStored } from "../shared/storage";
import { open, type Session, show } from "./session";
import { t } from "./strings";
import { summary } from "./summary";

const KEY = "barrage.chat.notify";

const wanted = signal(readStored(KEY) === "yes");
const permission = signal(current());

/** Types say it is always there; phones have it for installed pages alone, and plain http has it denied. */
function current(): NotificationPermission | "missing" {
  const { Notification: platform } = globalThis as { Notification?: typeof Notification };
  return platform ? platform.permission : "missing";
}

export const notifies = (): boolean => wanted.value && permission.value === "granted";
export const mayNotify = (): boolean => permission.value === "default" || permission.value === "granted";

/** Asks the browser's permission when it has not been given yet. */
export async function setNotifies(on: boolean): Promise<void> {
  if (on && permission.value === "default") permission.value = await Notification.requestPermission();
  wanted.value = on && permission.value === "granted";
  writeStored(KEY, wanted.value ? "yes" : "no");
}

/** From now on tells of what the user is not looking at. */
export function startNotifying({ chat }: Session): () => void {
  return chat.on("message", ({ message, conversation }) => {
    const looking = document.visibilityState === "visible" && document.hasFocus() && open.value === conversation.key;
    if (message.from_user === chat.me || looking || !notifies()) return;
    const body = summary(chat, { ...message, own: false, state: message.status }, conversation.kind === "group");
    tell(chat, conversation.key, conversation.name, body);
  });
}

/** One note per conversation, whichever of the browser's tabs says it. */
function tell(chat: Chat, key: string, title: string, body: string): void {
  try {
    const note = new Notification(title, { body: body.slice(0, 200), tag: `barrage ${chat.me} ${key}` });
    note.onclick = () => {
      window.focus();
      show(key);
      note.close();
    };
  } catch {
    permission.value = "missing"; // browsers that show notifications through a service worker alone
  }
}

/** Why the switch cannot be used; "" when it can. */
export function whyNot(): string {
  if (mayNotify()) return "";
  return t(permission.value === "denied" ? "notify.denied" : "notify.missing");
}

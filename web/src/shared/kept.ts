/**
 * What pages keep of conversations so that they open without the network, and what waits to be sent: where it lies, and how all of
 * it goes when somebody signs out. Which conversations are encrypted stays known: forgetting that would send the next message
 * in plain. The keys of encryption stay as well, in a store of their own; without them this device could read nothing again.
 */
import { type ChatStorage, deviceStorage, eraseDeviceStorage } from "@barrage/client";
import { removeAllInTab, removeAllStored } from "./storage";

/** Cursors and unsent messages of a messenger; the user and the device follow. */
export const CHAT_PREFIX = "barrage.chat.of.";
/** Unsent comments of a viewer; the room and the user follow. */
export const UNSENT_PREFIX = "barrage.unsent.";
const DRAFTS_PREFIX = "barrage.chat.drafts";
/** Signing out does not wait longer for a browser that does not answer. */
const ERASE_MS = 1_500;

/** The newest messages of one person's conversations. Bounded by `Chat`; not in localStorage, which is too small for it. */
export function messagesOf(user: string): Promise<ChatStorage> {
  return deviceStorage(`messages ${user}`, { otherwise: "memory" });
}

/** Erases all of it, whoever's it is. */
export async function eraseKept(): Promise<void> {
  for (const prefix of [CHAT_PREFIX, UNSENT_PREFIX, DRAFTS_PREFIX]) {
    removeAllStored(prefix);
    removeAllInTab(prefix);
  }
  const late = new Promise<void>((resolve) => setTimeout(resolve, ERASE_MS));
  await Promise.race([eraseDeviceStorage().catch(() => undefined), late]);
}

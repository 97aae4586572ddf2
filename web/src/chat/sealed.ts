/**
 * End-to-end encryption as the messenger uses it: whether this device has it, for which conversations it is on, and the
 * texts it could read. The cryptography is in `e2ee/`, loaded only once there is a device whose keys are worth publishing.
 */
import type { Chat, ChatMessage, Conversation } from "@barrage/client";
import { signal } from "@preact/signals";
import type { E2ee } from "./e2ee/e2ee";
import type { Session } from "./session";

const ON_KEY = "barrage.chat.sealed";
/** Texts held for drawing; the device's own storage has them all. */
const TEXTS_MAX = 1_000;

/** Undefined as long as this device cannot encrypt: a passing tab, no HTTPS, or a server without a key directory. */
const device = signal<E2ee | undefined>(undefined);
const texts = signal<ReadonlyMap<string, string | undefined>>(new Map());
const on = signal<ReadonlySet<string>>(new Set(JSON.parse(localStorage.getItem(ON_KEY) ?? "[]") as string[]));

export const canSeal = (): boolean => device.value !== undefined;
export const isSealed = ({ key, kind }: Conversation): boolean => kind === "direct" && device.value !== undefined && on.value.has(key);

/** Makes this device's keys known and reads what arrives. Without a key directory nothing happens. */
export async function openSealing({ chat, device: name, lasting }: Session): Promise<void> {
  if (!lasting || device.value || !("subtle" in crypto)) return;
  const directory = {
    publish: (deviceId: string, body: string) => chat.api.publishKeys(deviceId, JSON.parse(body)),
    devices: (user: string) => chat.api.deviceKeys(user),
    claim: (user: string, deviceIds: string[]) => chat.api.claimKeys(user, deviceIds),
  };
  await directory.devices(chat.me);
  const [{ E2ee: Sealing }, { browserStorage }] = await Promise.all([import("./e2ee/e2ee"), import("./e2ee/storage")]);
  const storage = await browserStorage(`barrage-chat ${chat.me} ${name}`);
  device.value = await Sealing.open({ user: chat.me, device: name, directory, storage });
  chat.on("message", ({ message }) => void read(chat, { ...message, own: message.from_user === chat.me, state: message.status }));
}

export function setSealed({ key }: Conversation, sealed: boolean): void {
  const next = new Set(on.value);
  if (sealed) next.add(key);
  else next.delete(key);
  on.value = next;
  localStorage.setItem(ON_KEY, JSON.stringify([...next]));
}

/** Rejects when the other person has no device that could read it. */
export async function sendSealed(conversation: Conversation, text: string): Promise<void> {
  if (!device.value) throw new Error("no encryption on this device");
  const content = await device.value.encrypt(conversation.peer, text);
  remember(content, text);
  conversation.send(content, "encrypted");
}

/** The readable text of an encrypted message; undefined when it is not, or not yet, known. Asks for it the first time. */
export function textOf(chat: Chat, message: ChatMessage): string | undefined {
  if (!texts.value.has(message.content)) void read(chat, message);
  return texts.value.get(message.content);
}

export function verificationCode(user: string): Promise<string> {
  return device.value ? device.value.verificationCode(user) : Promise.reject(new Error("no encryption on this device"));
}

async function read(chat: Chat, { msg_type, content, from_user, to_user = chat.me }: ChatMessage): Promise<void> {
  if (msg_type !== "encrypted" || content === "" || !device.value || texts.peek().has(content)) return;
  const text = await device.value.decrypt(from_user, to_user, content).catch(() => undefined); // shown as unreadable
  remember(content, text);
}

function remember(content: string, text: string | undefined): void {
  texts.value = new Map([...texts.peek(), [content, text] as const].slice(-TEXTS_MAX));
}

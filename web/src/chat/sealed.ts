/**
 * End-to-end encryption as the messenger uses it: whether this browser can do it, what the people of each conversation
 * agreed on, and the texts this device could read. The cryptography is in `e2ee/` and loaded once something has to be
 * encrypted, decrypted or published; a text that was read before comes from this device's storage without it.
 */
import { type Address, BarrageError, type Chat, type ChatMessage, compareIds, type Conversation, type Id, type Sealing } from "@barrage/client";
import { signal } from "@preact/signals";
import { randomId } from "../shared/ids";
import { readStored, writeStored } from "../shared/storage";
import { agree, type Agreement } from "./agreement";
import type { E2ee } from "./e2ee/e2ee";
import { nameOf } from "./e2ee/hex";
import type { Storage } from "./e2ee/storage";
import { decodeBody, encodeBody, type SealedBody, type SealedFile } from "./sealed-body";
import { sealFile } from "./sealed-files";
import type { Session } from "./session";

const AGREED_KEY = "barrage.chat.sealed";
const AGREED_MAX = 500;
/** Texts held for drawing; the device's own storage has them all. */
const TEXTS_MAX = 1_000;
/** One-time keys below which this device publishes more; see `e2ee/e2ee.ts`. */
const ONE_TIME_KEYS_MIN = 25;
const SETTLE_MS = 3_000;
/** How far back a search reads encrypted messages. */
const SEARCH_PAGES = 10;
const SEARCH_PAGE = 200;

/** What this browser can encrypt with; undefined on plain http, with storage denied, or with a server that has no key directory. */
const workshop = signal<Workshop | undefined>(undefined);
/** By content, or by draft as long as a message is not encrypted yet. Undefined: read, and not readable here. */
const texts = signal<ReadonlyMap<string, string | undefined>>(new Map());
const agreements = signal<Readonly<Record<string, Agreement>>>({});
/** Under which name they are kept; one for each person who uses this browser. */
let agreementsKey = AGREED_KEY;
/** Conversations whose messages may go out in plain though they are encrypted elsewhere: this browser cannot, and its user knows. */
const plainByConsent = signal<ReadonlySet<string>>(new Set());

interface Workshop {
  session: Session;
  storage: Storage;
  /** Loads the cryptography the first time; its keys are published then. */
  engine: () => Promise<E2ee>;
  /** Whether this device's keys need nothing for now. */
  hasKeys: () => Promise<boolean>;
}

export const canSeal = (): boolean => workshop.value !== undefined;

/** Whether what is written here is to be encrypted, as far as this device knows. */
export const isSealed = ({ key, kind }: Conversation): boolean => kind === "direct" && agreements.value[key]?.sealed === true;

/** Encryption was on and was turned off: the next message goes out in plain. */
export const wasSealed = ({ key, kind }: Conversation): boolean => kind === "direct" && agreements.value[key]?.sealed === false;

/** Encrypted elsewhere, but this browser cannot: nothing may be sent before the user said so. */
export const mustAsk = (conversation: Conversation): boolean => isSealed(conversation) && !canSeal() && !plainByConsent.value.has(conversation.key);

export function allowPlain({ key }: Conversation): void {
  plainByConsent.value = new Set([...plainByConsent.value, key]);
}

/** A plain message in a conversation that was encrypted by then. */
export function isLeak(conversation: Conversation, { msg_type, id }: ChatMessage): boolean {
  const agreement = agreements.value[conversation.key];
  return msg_type !== "encrypted" && isSealed(conversation) && id !== undefined && agreement?.since !== undefined && compareIds(id, agreement.since) > 0;
}

let opening: Promise<void> | undefined;

/** Finds out whether this browser can encrypt, and reads what arrives. Loads no cryptography. Once it worked, it does nothing. */
export function openSealing(session: Session): Promise<void> {
  opening ??= setUp(session).catch((error: unknown) => ((opening = undefined), Promise.reject(error as Error)));
  return opening;
}

async function setUp(session: Session): Promise<void> {
  const { chat, sealDevice } = session;
  if (sealDevice === undefined || !hasPlatform()) return;
  const directory = {
    publish: (deviceId: string, body: string) => chat.api.publishKeys(deviceId, JSON.parse(body)),
    devices: (user: string) => chat.api.deviceKeys(user),
    claim: (user: string, deviceIds: string[]) => chat.api.claimKeys(user, deviceIds),
  };
  // A server without a directory has no encryption. Where it was used before there is one, though there may be no network now.
  const usedBefore = Object.keys(agreements.value).length > 0;
  const asked = directory.devices(chat.me).catch((error: unknown) => (usedBefore && (error as BarrageError).code === "network" ? [] : Promise.reject(error as Error)));
  const [{ browserStorage }] = await Promise.all([import("./e2ee/storage"), asked]);
  const storage = await browserStorage(`barrage-chat ${chat.me} ${sealDevice}`);
  let loading: Promise<E2ee> | undefined;
  const open = async (): Promise<E2ee> => {
    const { E2ee: Engine } = await import("./e2ee/e2ee");
    return Engine.open({ user: chat.me, device: sealDevice, directory, storage });
  };
  const engine = (): Promise<E2ee> => (loading ??= open().catch((error: unknown) => ((loading = undefined), Promise.reject(error as Error))));
  const hasKeys = async (): Promise<boolean> => {
    const mine = (await directory.devices(chat.me)).find(({ device_id }) => device_id === sealDevice);
    return (mine?.one_time_key_count ?? 0) >= ONE_TIME_KEYS_MIN;
  };
  workshop.value = { session, storage, engine, hasKeys };
  // Without the network some could not be read.
  chat.on("live", () => (texts.value = new Map([...texts.peek()].filter(([, text]) => text !== undefined))));
  chat.on("message", ({ message, conversation }) => void hear(chat, conversation, [{ ...message, own: message.from_user === chat.me, state: message.status }]));
  for (const { draft } of chat.outbox.entries) if (draft !== undefined) void readDraft(draft);
}

/** Publishes this device's keys once there is somebody who could write to it, when the page has nothing better to do. */
export function publishWhenIdle({ chat }: Session): void {
  const wanted = chat.conversations.some(({ kind, conversationId }) => kind === "direct" && conversationId !== undefined);
  if (wanted) whenIdle(() => void publishKeys().catch(() => undefined)); // the next connection tries again
}

async function publishKeys(): Promise<void> {
  const at = workshop.value;
  if (at && !(await at.hasKeys())) await (await at.engine()).publish();
}

/** Not while the page is still being filled. */
function whenIdle(run: () => void): void {
  setTimeout(() => {
    if ("requestIdleCallback" in window) window.requestIdleCallback(run, { timeout: 10_000 });
    else run();
  }, SETTLE_MS);
}

function hasPlatform(): boolean {
  // Types say they are always there; a page served without TLS, or a browser told so, has some of them not.
  const { crypto, indexedDB, WebAssembly } = globalThis as Partial<typeof globalThis>;
  return (crypto as Partial<Crypto> | undefined)?.subtle !== undefined && indexedDB !== undefined && WebAssembly !== undefined;
}

// ---- what is agreed ------------------------------------------------------------------------------

/** Turns encryption on or off for everybody in the conversation, and tells them. Rejects when the other person could not read it. */
export async function setSealed(conversation: Conversation, sealed: boolean): Promise<void> {
  if (!workshop.value) throw new BarrageError("sealing_unavailable", "this browser cannot encrypt here");
  const { chat } = workshop.value.session;
  if (sealed && chat.connected && (await chat.api.deviceKeys(conversation.peer)).length === 0) {
    throw new BarrageError("unreachable", "the other person has no device that can decrypt");
  }
  const at = conversation.messages.findLast(({ id }) => id !== undefined)?.id ?? conversation.lastMessage?.id ?? "0";
  await write(conversation, { kind: "setting", sealed });
  keepAgreement(conversation.key, sealed ? { sealed, at, since: at } : { sealed, at });
}

/** Takes from these messages what was agreed in them, as far as they have been read. */
export function hearAll(chat: Chat, conversation: Conversation): void {
  if (conversation.kind === "direct") void hear(chat, conversation, conversation.messages);
}

async function hear(chat: Chat, { key }: Conversation, messages: readonly ChatMessage[]): Promise<void> {
  for (const message of messages) {
    if (message.msg_type !== "encrypted" || message.id === undefined || message.content === "") continue;
    const decided = agreements.value[key]?.at;
    if (decided !== undefined && compareIds(message.id, decided) <= 0) continue; // so that a long history is read once, not again and again
    if (workshop.value) await read(chat, message);
    const before = agreements.value[key];
    const after = agree(before, { id: message.id, body: bodyIn(texts.value.get(message.content)) });
    if (after && after !== before) keepAgreement(key, after);
  }
}

function keepAgreement(key: string, agreement: Agreement): void {
  const others = Object.entries(agreements.value).filter(([other]) => other !== key);
  agreements.value = Object.fromEntries([...others, [key, agreement] as const].slice(-AGREED_MAX));
  writeStored(agreementsKey, JSON.stringify(agreements.value));
}

/** Takes up what this person's conversations agreed on. */
export function loadAgreements(user: string): void {
  agreementsKey = `${AGREED_KEY}.${user}`;
  agreements.value = readAgreements();
}

function readAgreements(): Record<string, Agreement> {
  try {
    const kept = JSON.parse(readStored(agreementsKey) ?? "{}") as Record<string, Partial<Agreement> | null>;
    return Object.fromEntries(Object.entries(kept).filter((entry): entry is [string, Agreement] => typeof entry[1]?.sealed === "boolean" && typeof entry[1].at === "string"));
  } catch {
    return {};
  }
}

// ---- writing ---------------------------------------------------------------------------------------

/** Says a text, encrypted when that is agreed. Works offline: it is encrypted when it is sent. */
export async function say(conversation: Conversation, text: string, replyTo?: Id): Promise<void> {
  if (isSealed(conversation) && canSeal()) await write(conversation, { kind: "text", text }, { replyTo });
  else conversation.send(text, "text", { replyTo });
}

/** Gives a message another text; an encrypted one stays encrypted. */
export async function sayAnew(chat: Chat, conversation: Conversation, message: ChatMessage, text: string): Promise<void> {
  if (message.id === undefined) return;
  if (message.msg_type !== "encrypted") return chat.edit(conversation, message.id, text);
  const inside = encodeBody({ kind: "edit", of: message.id, text });
  const content = await (await ready()).encrypt(conversation.peer, inside);
  remember(content, inside);
  await chat.edit(conversation, message.id, content);
}

/** Uploads a file and says it, encrypted when that is agreed. */
export async function sayFile(conversation: Conversation, file: File, onProgress: (share: number) => void): Promise<void> {
  if (!isSealed(conversation) || !workshop.value) return void (await conversation.sendFile(file, onProgress));
  const { bytes, sealed } = await sealFile(file);
  const upload_id = await workshop.value.session.chat.api.store(bytes, "file", onProgress);
  // The server lets the other person fetch what the message names; the key is inside.
  await write(conversation, { ...sealed, upload_id }, { uploads: [upload_id] });
}

/** The draft is kept in the device's encrypted storage, not in the outbox. */
async function write(conversation: Conversation, body: SealedBody, about: { replyTo?: Id | undefined; uploads?: Id[] } = {}): Promise<void> {
  if (!workshop.value) throw new BarrageError("sealing_unavailable", "this browser cannot encrypt here");
  const [draft, text] = [`draft:${randomId()}`, encodeBody(body)];
  await workshop.value.storage.put({ [draft]: text });
  remember(draft, text);
  conversation.sendSealed(draft, about);
}

/** Encrypts what the outbox sends. */
export const sealing: Sealing = {
  async seal(address: Address, draft: string): Promise<string> {
    const at = workshop.value;
    // Not found out yet, or not possible here: the message waits rather than going out in plain.
    if (!at || !("to_user" in address)) throw new BarrageError("unavailable", "encryption is not ready");
    try {
      const text = texts.value.get(draft) ?? (await at.storage.get(draft));
      if (text === undefined) throw new BarrageError("sealing_lost", "the draft is not on this device");
      const content = await (await at.engine()).encrypt(address.to_user, text);
      remember(content, text);
      return content;
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: unknown };
      if (typeof code === "string") throw error; // the server's refusal, or one of the encryption's
      throw new BarrageError("sealing_failed", String(message));
    }
  },
  sent(draft: string): void {
    workshop.value?.storage.remove(draft).catch(() => undefined); // a few bytes nobody reads again
  },
};

export function verificationCode(user: string): Promise<string> {
  return ready().then((engine) => engine.verificationCode(user));
}

/** After a device of theirs showed other keys: trusts what the directory shows now. */
export function trustAgain(user: string): Promise<void> {
  return ready().then((engine) => engine.forget(user));
}

function ready(): Promise<E2ee> {
  return workshop.value ? workshop.value.engine() : Promise.reject(new BarrageError("sealing_unavailable", "this browser cannot encrypt here"));
}

// ---- reading ---------------------------------------------------------------------------------------

/** What is inside an encrypted message; undefined when it is not, or not yet, readable here. Asks for it the first time. */
export function bodyOf(chat: Chat, message: ChatMessage): SealedBody | undefined {
  const name = message.content === "" ? message.draft : message.content;
  if (name === undefined) return undefined;
  if (!texts.value.has(name)) void (message.content === "" ? readDraft(name) : read(chat, message));
  const body = bodyIn(texts.value.get(name));
  if (body?.kind !== "edit") return body;
  return body.of === message.id ? { kind: "text", text: body.text } : undefined;
}

/** Encrypted messages of a conversation whose text fits, as far back as some pages of its history, newest first. */
export async function searchSealed(chat: Chat, conversation: Conversation, fits: (text: string) => boolean): Promise<{ message: ChatMessage; text: string }[]> {
  for (let page = 0; page < SEARCH_PAGES && conversation.hasOlder; page++) await conversation.loadOlder(SEARCH_PAGE);
  const found: { message: ChatMessage; text: string }[] = [];
  for (const message of conversation.messages.toReversed()) {
    if (message.msg_type !== "encrypted" || message.state === "recalled") continue;
    // Read from this device's own storage: what is drawn keeps fewer texts than a search looks at.
    const text = workshop.value && message.content !== "" ? await decrypt(workshop.value, chat, message) : undefined;
    const body = bodyIn(text);
    const said = body?.kind === "text" || (body?.kind === "edit" && body.of === message.id) ? body.text : undefined;
    if (said !== undefined && fits(said)) found.push({ message, text: said });
  }
  return found;
}

function bodyIn(text: string | undefined): SealedBody | undefined {
  return text === undefined ? undefined : decodeBody(text);
}

/** The uploads whose keys these messages carry, as far as they have been read: the plain messages that only name them need not be shown. */
export function sealedUploads(messages: readonly ChatMessage[]): ReadonlySet<string> {
  const known = texts.value;
  const bodies = messages.map(({ msg_type, content, draft }) => (msg_type === "encrypted" ? bodyIn(known.get(content || (draft ?? ""))) : undefined));
  return new Set(bodies.filter((body): body is SealedFile => body?.kind === "file").map(({ upload_id }) => upload_id));
}

async function readDraft(draft: string): Promise<void> {
  const text = await workshop.value?.storage.get(draft).catch(() => undefined);
  if (text !== undefined) remember(draft, text);
}

const reading = new Map<string, Promise<void>>();

function read(chat: Chat, message: ChatMessage): Promise<void> {
  const { msg_type, content } = message;
  if (msg_type !== "encrypted" || content === "" || !workshop.value || texts.peek().has(content)) return Promise.resolve();
  const known = reading.get(content);
  if (known) return known;
  const begun = decrypt(workshop.value, chat, message).then((text) => {
    reading.delete(content);
    remember(content, text);
  });
  reading.set(content, begun);
  return begun;
}

/** Undefined is shown as unreadable. */
async function decrypt({ session, storage, engine }: Workshop, chat: Chat, { content, from_user, to_user = chat.me }: ChatMessage): Promise<string | undefined> {
  try {
    const text = await storage.get(await nameOf(content));
    if (text !== undefined) return text;
    return isForDevice(content, `${chat.me}/${session.sealDevice ?? ""}`) ? await (await engine()).decrypt(from_user, to_user, content) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the envelope holds anything for this device: what was written before it was there need not load the cryptography. */
function isForDevice(content: string, address: string): boolean {
  try {
    const { devices } = JSON.parse(content) as { devices?: Record<string, unknown> };
    return devices !== undefined && Object.hasOwn(devices, address);
  } catch {
    return false;
  }
}

function remember(name: string, text: string | undefined): void {
  texts.value = new Map([...texts.peek(), [name, text] as const].slice(-TEXTS_MAX));
}

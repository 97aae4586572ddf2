/**
 * Who is chatting: the client, its chat and what this tab remembers for them. Made once per visit by `app.tsx`; the
 * components get it as a prop. Never draws.
 */
import { Api, Chat, ChatApi, type ChatStorage, Client, type Conversation, webStorage } from "@barrage/client";
import { signal } from "@preact/signals";
import { type PageIdentity, signOut } from "../shared/identity";
import { randomId } from "../shared/ids";
import { CHAT_PREFIX, messagesOf } from "../shared/kept";
import { readInTab, readStored, removeInTab, removeStored, writeInTab, writeStored } from "../shared/storage";
import { claimsOf } from "../shared/token";
import { loadAgreements, sealing } from "./sealed";
import { explain } from "./strings";

const DEVICE_KEY = "barrage.chat.device";
const VISIBLE_KEY = "barrage.chat.visible";

export interface Session {
  client: Client;
  chat: Chat;
  device: string;
  /** The device that encrypts: one for all tabs of this browser. Absent where nothing lasts, as keys have to. */
  sealDevice: string | undefined;
  hasToken: boolean;
}

export async function startSession(who: PageIdentity): Promise<Session> {
  // What is kept is kept by person: a browser may be used by one after the other.
  const user = who.identity?.user_id ?? claimsOf(who.token ?? "")?.sub ?? "token";
  loadAgreements(user);
  const { device, lasting, sealDevice } = await thisDevice(user);
  const client = new Client({ url: location.origin, deviceId: device, ...who });
  const browser = { getItem: readStored, setItem: writeStored, removeItem: removeStored };
  const tab = { getItem: readInTab, setItem: writeInTab, removeItem: removeInTab };
  const storage = webStorage(`${CHAT_PREFIX}${user}.${device}`, lasting ? browser : tab);
  const chat = new Chat(client, new ChatApi(new Api(who)), { storage, sealing, cache: await cacheOf(user, lasting) });
  const session = { client, chat, device, sealDevice, hasToken: who.token !== undefined };
  chat.on("conversations", () => watch(session));
  for (const event of ["conversations", "conversation", "presence", "live"] as const) chat.on(event, happened);
  for (const event of ["state", "identified"] as const) client.on(event, happened);
  client.connect();
  return session;
}

/** The messages of earlier visits. Passing tabs read them too, and leave writing to the lasting one. */
async function cacheOf(user: string, lasting: boolean): Promise<ChatStorage> {
  const messages = await messagesOf(user);
  return lasting ? messages : { load: () => messages.load(), save: () => undefined };
}

/** Signs out and leaves nothing of the conversations here. */
export async function leave({ chat, client }: Session): Promise<void> {
  client.close();
  await Promise.allSettled([chat.forget(), signOut()]);
}

/** One named in the address; or this browser's own, for the first tab of it; every other tab is a passing device. */
async function thisDevice(user: string): Promise<{ device: string; lasting: boolean; sealDevice: string | undefined }> {
  const named = new URLSearchParams(location.search).get("device_id");
  if (named) return { device: named, lasting: true, sealDevice: named };
  const key = `${DEVICE_KEY}.${user}`;
  const lasting = await held(key);
  const [read, write] = lasting ? [readStored, writeStored] : [readInTab, writeInTab];
  const device = read(key) ?? `web-${randomId().slice(0, 8)}`;
  write(key, device);
  return { device, lasting, sealDevice: persisted(key) };
}

/** What the browser itself keeps under this name. */
function persisted(key: string): string | undefined {
  try {
    return localStorage.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Whether this tab got the lock of that name; it keeps it as long as it is open. Without HTTPS there are no locks. */
function held(name: string): Promise<boolean> {
  const locks = navigator.locks as LockManager | undefined;
  if (!locks) return Promise.resolve(false);
  return new Promise((resolve) => {
    void locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise(() => undefined);
    });
  });
}

let watched = "";

/** Whether the people in the list are there; to be called when there may be others in it. */
export function watch({ chat }: Session): void {
  const people = chat.conversations.filter(({ kind }) => kind === "direct").map(({ peer }) => peer).slice(0, 200);
  if (people.join(" ") === watched) return;
  watched = people.join(" ");
  chat.watchPresence(people);
}

/** Counts what happened, so that whoever draws the chat's state draws it again. */
const changes = signal(0);

/** To be called while drawing anything that the chat, a conversation or the client may change by itself. */
export function follow(): void {
  void changes.value;
}

function happened(): void {
  changes.value = changes.peek() + 1;
}

// ---- which conversation is open ------------------------------------------------------------------

/** Its key, from the address's fragment; "" for none. */
export const open = signal(keyFromAddress());

addEventListener("hashchange", () => (open.value = keyFromAddress()));

export function show(key: string): void {
  location.hash = encodeURIComponent(key);
}

/** The object of a key such as `direct:bob`; undefined for anything else. */
export function conversationOf(chat: Chat, key: string): Conversation | undefined {
  const [kind, ...rest] = key.split(":");
  const peer = rest.join(":");
  if (peer === "") return undefined;
  return kind === "direct" ? chat.direct(peer) : kind === "group" ? chat.find(key) : undefined;
}

function keyFromAddress(): string {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

// ---- blocks, and whether others see us -------------------------------------------------------------

export const blocked = signal<ReadonlySet<string>>(new Set());

export async function loadBlocked({ chat }: Session): Promise<void> {
  blocked.value = new Set(await chat.api.blocks());
}

export async function setBlocked({ chat }: Session, userId: string, on: boolean): Promise<void> {
  await (on ? chat.api.block(userId) : chat.api.unblock(userId));
  const next = new Set(blocked.value);
  if (on) next.add(userId);
  else next.delete(userId);
  blocked.value = next;
}

export const visible = signal(readStored(VISIBLE_KEY) !== "no");

export async function setVisible({ chat }: Session, on: boolean): Promise<void> {
  await chat.api.setVisible(on);
  writeStored(VISIBLE_KEY, on ? "yes" : "no");
  visible.value = on;
}

// ---- what went wrong -------------------------------------------------------------------------------

export const problem = signal("");
let clearing = 0;

/** Says it for a while at the edge of the page. */
export function complain(text: string): void {
  problem.value = text;
  window.clearTimeout(clearing);
  clearing = window.setTimeout(() => (problem.value = ""), 7_000);
}

/** Runs an action; tells whether it worked, and says why not. */
export async function attempt(action: () => Promise<unknown>): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    complain(explain(error));
    return false;
  }
}

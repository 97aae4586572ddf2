/**
 * Who is chatting: the client, its chat and what this tab remembers for them. Made once per visit by `app.tsx`; the
 * components get it as a prop. Never draws.
 */
import { Api, Chat, ChatApi, Client, type Conversation, webStorage } from "@barrage/client";
import { signal } from "@preact/signals";
import type { PageIdentity } from "../shared/identity";
import { explain } from "./strings";

const DEVICE_KEY = "barrage.chat.device";
const VISIBLE_KEY = "barrage.chat.visible";

export interface Session {
  client: Client;
  chat: Chat;
  device: string;
  /** Whether the device will be there again on the next visit. */
  lasting: boolean;
  hasToken: boolean;
}

export async function startSession(who: PageIdentity): Promise<Session> {
  const user = who.identity?.user_id ?? "token";
  const { device, lasting } = await thisDevice(user);
  const client = new Client({ url: location.origin, deviceId: device, ...who });
  const storage = webStorage(`barrage.chat.${user}.${device}`, lasting ? localStorage : sessionStorage);
  const chat = new Chat(client, new ChatApi(new Api(who)), { storage });
  const session = { client, chat, device, lasting, hasToken: who.token !== undefined };
  chat.on("conversations", () => watch(session));
  for (const event of ["conversations", "conversation", "presence", "live"] as const) chat.on(event, happened);
  for (const event of ["state", "identified"] as const) client.on(event, happened);
  client.connect();
  return session;
}

/** One named in the address; or this browser's own, for the first tab of it; every other tab is a passing device. */
async function thisDevice(user: string): Promise<{ device: string; lasting: boolean }> {
  const named = new URLSearchParams(location.search).get("device_id");
  if (named) return { device: named, lasting: true };
  const key = `${DEVICE_KEY}.${user}`;
  const lasting = await held(key);
  const storage = lasting ? localStorage : sessionStorage;
  const device = storage.getItem(key) ?? `web-${crypto.randomUUID().slice(0, 8)}`;
  storage.setItem(key, device);
  return { device, lasting };
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

export const visible = signal(localStorage.getItem(VISIBLE_KEY) !== "no");

export async function setVisible({ chat }: Session, on: boolean): Promise<void> {
  await chat.api.setVisible(on);
  localStorage.setItem(VISIBLE_KEY, on ? "yes" : "no");
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

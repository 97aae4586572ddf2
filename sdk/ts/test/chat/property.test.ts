/**
 * Whatever is cut, lost or repeated on the way: everybody ends up with every message once, in the order it was stored,
 * as it was edited last and with its reactions.
 * Random schedules over a manual clock; a failing seed is in the test's name.
 */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Chat, ChatApi, Client, type ChatStorage, memoryStorage } from "../../src/index.js";
import { random, World } from "./world.js";

const PEOPLE = ["ann", "bob", "cleo"];
const ROUNDS = 60;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Device {
  user: string;
  client: Client;
  chat: Chat;
  storage: ChatStorage;
  told: string[];
  said: string[];
}

function device(world: World, user: string, dice: () => number, storage = memoryStorage()): Device {
  const client = new Client({ url: "http://world", identity: { user_id: user }, transport: world.connect, retry: () => Math.floor(dice() * 500), requestTimeoutMs: 2_000 });
  const chat = new Chat(client, new ChatApi(world.http(user)), { storage });
  const self: Device = { user, client, chat, storage, told: [], said: [] };
  chat.on("message", ({ message }) => self.told.push(message.id));
  client.connect();
  return self;
}

/** The page is closed and opened again: what it had not sent is in its storage. */
async function reload(world: World, old: Device, dice: () => number): Promise<Device> {
  old.chat.close();
  old.client.close();
  await vi.advanceTimersByTimeAsync(1);
  return { ...device(world, old.user, dice, old.storage), said: old.said };
}

test.each(Array.from({ length: 60 }, (_, seed) => seed + 1))("random cuts, losses and repeats, seed %i", async (seed) => {
  const dice = random(seed);
  const world = new World();
  const devices = ["ann", "ann", "bob", "cleo"].map((user) => device(world, user, dice));
  world.fate = () => dice() > 0.04;
  world.losesPush = () => dice() < 0.1;

  for (let round = 0; round < ROUNDS; round++) {
    const index = Math.floor(dice() * devices.length);
    const one = devices[index] as Device;
    const other = PEOPLE.filter((name) => name !== one.user)[Math.floor(dice() * 2)] as string;
    const conversation = one.chat.direct(other);
    const what = dice();
    if (what < 0.6) one.said.push(conversation.send(`${one.user} ${round}`));
    else if (what < 0.8) conversation.markRead();
    else if (what < 0.84) {
      const own = conversation.messages.findLast(({ id, state }) => id !== undefined && (state === "delivered" || state === "read"));
      if (own?.own && own.id !== undefined) void one.chat.recall(conversation, own.id).catch(() => undefined);
    } else if (what < 0.88) {
      const own = conversation.messages.findLast(({ id, own, state }) => own && id !== undefined && state !== "recalled");
      if (own?.id !== undefined) void one.chat.edit(conversation, own.id, `${own.content}!`).catch(() => undefined);
    } else if (what < 0.93) {
      const any = conversation.messages.at(-1 - Math.floor(dice() * 3));
      const emoji = ["👍", "😂"][Math.floor(dice() * 2)] as string;
      if (any?.id !== undefined) void one.chat.react(conversation, any.id, emoji, dice() < 0.7).catch(() => undefined);
    } else if (what < 0.95) world.cutAll();
    else if (what < 0.98) devices[index] = await reload(world, one, dice);
    await vi.advanceTimersByTimeAsync(Math.floor(dice() * 400));
  }
  world.fate = () => true;
  world.losesPush = () => false;
  await vi.advanceTimersByTimeAsync(400_000);

  const said = devices.flatMap((one) => one.said);
  expect(world.stored.map(({ client_msg_id }) => client_msg_id).sort()).toEqual([...said].sort());
  for (const one of devices) {
    expect(one.chat.outbox.entries).toEqual([]);
    expect(new Set(one.told).size).toBe(one.told.length);
    for (const other of PEOPLE.filter((name) => name !== one.user)) {
      const conversation = one.chat.direct(other);
      const stored = world.between(one.user, other);
      while (conversation.hasOlder && conversation.conversationId !== undefined) await conversation.loadOlder(10);
      expect(conversation.messages.map(({ id }) => id), `${one.user} with ${other}`).toEqual(stored.map(({ id }) => id));
      expect(conversation.messages.map(({ content, state }) => [content, state === "recalled"])).toEqual(stored.map(({ content, status }) => [content, status === "recalled"]));
      expect(conversation.messages.map(({ reactions = [] }) => reactions)).toEqual(stored.map((message) => world.shown(message, one.user)["reactions"] ?? []));
      const counted = (await new ChatApi(world.http(one.user)).conversations()).conversations.find(({ with_user }) => with_user === other);
      expect(conversation.unread, `unread of ${one.user} with ${other}`).toBe(counted?.unread_count ?? 0);
    }
  }
  const order = new Map(world.stored.map(({ client_msg_id }, index) => [client_msg_id, index]));
  for (const one of devices) {
    for (const other of PEOPLE) {
      const mine = one.said.filter((id) => world.between(one.user, other).some(({ client_msg_id }) => client_msg_id === id)).map((id) => order.get(id) ?? 0);
      expect(mine, `what ${one.user} said to ${other} keeps its order`).toEqual([...mine].sort((a, b) => a - b));
    }
  }
  for (const one of devices) one.client.close();
});

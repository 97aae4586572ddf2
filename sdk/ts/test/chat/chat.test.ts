import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { type Api, BarrageError, Chat, ChatApi, type ChatStorage, Client, memoryStorage, OUTBOX_MAX, type Sealing, webSocketTransport, webStorage } from "../../src/index.js";
import { type Peer, TestServer } from "../server.js";

type Body = Record<string, unknown>;

let server: TestServer;
let client: Client;
let chat: Chat;
let asked: string[];
let http: Record<string, unknown>;

beforeEach(async () => {
  server = new TestServer();
  await server.ready();
  asked = [];
  http = { "GET /conversations": { conversations: [] } };
});

afterEach(() => {
  chat.close();
  client.close();
  server.close();
});

/** Answers from the table above; what is not in it is not found. */
const api = {
  absolute: (url: string) => url,
  call: (method: string, path: string, { body }: { body?: unknown } = {}) => {
    asked.push(`${method} ${path}${body === undefined ? "" : ` ${JSON.stringify(body)}`}`);
    const answer = http[`${method} ${path}`];
    return answer === undefined ? Promise.reject(new BarrageError("not_found", path)) : Promise.resolve(structuredClone(answer));
  },
} as unknown as Pick<Api, "call" | "absolute">;

function make(storage: ChatStorage = memoryStorage(), sealing?: Sealing, cache?: ChatStorage, user_id = "u"): void {
  const transport = webSocketTransport(WebSocket as unknown as typeof globalThis.WebSocket);
  client = new Client({ url: server.url, identity: { user_id }, retry: () => 5, requestTimeoutMs: 2_000, transport });
  chat = new Chat(client, new ChatApi(api), { storage, ...(sealing ? { sealing } : {}), ...(cache ? { cache } : {}) });
  client.connect();
}

/** Lets a connection in and answers its catching up with these messages and changes. */
async function goesLive(peer: Peer, messages: Body[] = [], changes: Body[] = []): Promise<void> {
  const live = new Promise<void>((resolve) => chat.on("live", resolve));
  peer.greet();
  for (let first = true; ; first = false) {
    const sync = await peer.hears("sync_messages");
    const opening = first && sync.since_change === undefined;
    const body = opening ? { messages: [], changes: [] } : { messages, changes };
    peer.say({ type: "sync_response", ref: sync.ref, latest_id: messages.at(-1)?.id ?? sync.since_id ?? "0", latest_change: "c1", more: false, ...body });
    if (!opening) return live;
  }
}

async function start(): Promise<Peer> {
  make();
  const peer = await server.connection();
  await goesLive(peer);
  return peer;
}

function message(id: string, from_user: string, content = `text ${id}`, more: Body = {}): Body {
  const to_user = from_user === "u" ? "bob" : "u";
  return { id, client_msg_id: `c${id}`, conversation_id: "u|bob", from_user, to_user, content, msg_type: "text", status: "delivered", created_at: `2026-01-01T00:00:00.${id.padStart(3, "0")}Z`, ...more };
}

function push({ id, ...rest }: Body): Body {
  return { ...rest, type: "new_message", server_msg_id: id };
}

function until(holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (!holds()) return;
      for (const off of offs) off();
      resolve();
    };
    const offs = [chat.on("conversation", check), chat.on("conversations", check), chat.on("presence", check)];
    check();
  });
}

const texts = (): string[] => chat.direct("bob").messages.map(({ content, state }) => `${content} (${state})`);

describe("sending", () => {
  it("shows a message at once, and again when the server has it", async () => {
    const peer = await start();
    const id = chat.direct("bob").send("hi");
    expect(texts()).toEqual(["hi (sending)"]);
    const sent = await peer.hears("send_message");
    expect(sent).toMatchObject({ client_msg_id: id, to_user: "bob", content: "hi", msg_type: "text" });
    peer.say({ type: "message_ack", ref: sent.ref, client_msg_id: id, server_msg_id: "7", status: "delivered", conversation_id: "u|bob", created_at: "2026-01-01T00:00:00.000Z" });
    peer.say(push(message("7", "u", "hi", { client_msg_id: id })));
    peer.say(push(message("8", "bob", "hello")));
    await until(() => texts().length === 2);
    expect(texts()).toEqual(["hi (delivered)", "hello (delivered)"]);
  });

  it("repeats what was not acknowledged on the next connection, in order and with the same id", async () => {
    const first = await start();
    const [a, b] = [chat.direct("bob").send("one"), chat.direct("bob").send("two")];
    expect(await first.hears("send_message")).toMatchObject({ client_msg_id: a });
    first.socket.terminate();
    const second = await server.connection();
    second.greet();
    const again = await second.hears("send_message");
    expect(again).toMatchObject({ client_msg_id: a, content: "one" });
    await second.hears("sync_messages");
    second.say({ type: "message_ack", ref: again.ref, client_msg_id: a, server_msg_id: "1", status: "delivered", conversation_id: "u|bob" });
    expect(await second.hears("send_message")).toMatchObject({ client_msg_id: b, content: "two" });
  });

  it("keeps what was not sent over a visit", async () => {
    const storage = memoryStorage();
    make(storage);
    const id = chat.direct("bob").send("for later");
    chat.close();
    client.close();
    make(storage);
    expect(texts()).toEqual(["for later (sending)"]);
    const peers = [await server.connection()];
    peers[0]?.greet();
    expect(await peers[0]?.hears("send_message").catch(() => undefined) ?? (await (await server.connection()).hears("send_message"))).toMatchObject({ client_msg_id: id });
  });

  it("fails what is refused for good, lets the next one pass, and tries again on demand", async () => {
    const peer = await start();
    const bob = chat.direct("bob");
    const [a] = [bob.send("rude"), bob.send("kind")];
    const first = await peer.hears("send_message");
    peer.say({ type: "error", ref: first.ref, client_msg_id: a, code: "content_blocked", message: "not here" });
    expect(await peer.hears("send_message")).toMatchObject({ content: "kind" });
    expect(bob.messages[0]).toMatchObject({ state: "failed", error: { code: "content_blocked" } });
    chat.outbox.remove(a);
    expect(texts()).toEqual(["kind (sending)"]);
  });

  it("waits as long as a limit asks, then goes on in order", async () => {
    const peer = await start();
    const a = chat.direct("bob").send("one");
    chat.direct("bob").send("two");
    const first = await peer.hears("send_message");
    peer.say({ type: "error", ref: first.ref, code: "rate_limited", message: "slow down", retry_after_ms: 5 });
    expect(await peer.hears("send_message")).toMatchObject({ client_msg_id: a });
  });

  it("goes over HTTP when it is too long for the socket", async () => {
    http["POST /messages"] = { server_msg_id: "9", status: "delivered", conversation_id: "u|bob", created_at: "2026-01-01T00:00:00.000Z" };
    await start();
    const id = chat.direct("bob").send("🙂".repeat(4_000));
    await until(() => chat.direct("bob").messages[0]?.state === "delivered");
    expect(asked.at(-1)).toContain(`POST /messages {"client_msg_id":"${id}"`);
  });

  it("is bounded", () => {
    make();
    for (let i = 0; i < OUTBOX_MAX; i++) chat.direct("bob").send("x");
    expect(() => chat.direct("bob").send("one more")).toThrow(expect.objectContaining({ code: "outbox_full" }) as Error);
  });
});

describe("sealing", () => {
  it("encrypts when it is sent, once, and sends the same again after a lost connection", async () => {
    const sealed: string[] = [];
    const done: string[] = [];
    make(memoryStorage(), {
      seal: (address, draft) => {
        sealed.push(draft);
        return Promise.resolve(`sealed ${draft} for ${JSON.stringify(address)}`);
      },
      sent: (draft) => void done.push(draft),
    });
    const first = await server.connection();
    await goesLive(first);
    chat.direct("bob").sendSealed("draft:1");
    expect(chat.direct("bob").messages).toMatchObject([{ content: "", draft: "draft:1", msg_type: "encrypted", state: "sending" }]);
    const sent = await first.hears("send_message");
    expect(sent).toMatchObject({ content: 'sealed draft:1 for {"to_user":"bob"}', msg_type: "encrypted" });
    first.socket.terminate();
    const second = await server.connection();
    second.greet();
    const again = await second.hears("send_message");
    expect(again).toMatchObject({ content: sent.content, client_msg_id: sent.client_msg_id });
    second.say({ type: "message_ack", ref: again.ref, client_msg_id: again.client_msg_id, server_msg_id: "7", conversation_id: "u|bob", status: "delivered", created_at: "2026-01-01T00:00:00.000Z" });
    await until(() => chat.direct("bob").messages.every(({ state }) => state === "delivered"));
    expect([sealed, done]).toEqual([["draft:1"], ["draft:1"]]);
  });

  it("waits while encryption is not possible, fails when it never will be, and never goes out in plain", async () => {
    let tries = 0;
    make(memoryStorage(), {
      seal: (_, draft) => {
        const code = draft === "later" && ++tries > 1 ? undefined : draft === "later" ? "unavailable" : "unreachable";
        return code === undefined ? Promise.resolve("sealed") : Promise.reject(new BarrageError(code, code, 5));
      },
      sent: () => undefined,
    });
    const peer = await server.connection();
    await goesLive(peer);
    chat.direct("bob").sendSealed("never");
    chat.direct("bob").sendSealed("later");
    expect(await peer.hears("send_message")).toMatchObject({ content: "sealed" });
    expect(tries).toBe(2);
    expect(chat.direct("bob").messages[0]).toMatchObject({ state: "failed", error: { code: "unreachable" }, content: "" });
  });
});

describe("storage", () => {
  it("that is denied or full leaves the visit in memory", () => {
    const denied = (): never => {
      throw new Error("SecurityError");
    };
    const storage = webStorage("k", { getItem: denied, setItem: denied });
    expect(storage.load()).toBeNull();
    storage.save("x");
  });
});

describe("catching up", () => {
  it("asks page by page from where it was, and holds pushes back until it is done", async () => {
    const first = await start();
    first.say(push(message("10", "bob")));
    await until(() => texts().length === 1);
    first.socket.terminate();

    const told: string[] = [];
    chat.on("message", ({ message: { id } }) => told.push(id));
    const second = await server.connection();
    second.greet();
    const page = await second.hears("sync_messages");
    expect(page).toMatchObject({ since_id: "0", since_change: "c1" });
    second.say(push(message("13", "bob")));
    second.say({ type: "sync_response", ref: page.ref, messages: [message("10", "bob"), message("11", "u")], latest_id: "11", changes: [], latest_change: "c2", more: true });
    const next = await second.hears("sync_messages");
    expect(next).toMatchObject({ since_id: "11", since_change: "c2" });
    second.say({ type: "sync_response", ref: next.ref, messages: [message("12", "bob")], latest_id: "12", changes: [{ message_id: "10", conversation_id: "u|bob", status: "recalled", by_user: "bob", at: "2026-01-01T00:00:01.000Z" }], latest_change: "c3", more: false });
    await until(() => texts().length === 4);
    expect(told).toEqual(["11", "12", "13"]);
    expect(texts()).toEqual([" (recalled)", "text 11 (delivered)", "text 12 (delivered)", "text 13 (delivered)"]);
  });

  it("starts after what the list shows", async () => {
    http["GET /conversations"] = { conversations: [{ conversation_id: "u|bob", kind: "direct", with_user: "bob", name: "Bob", unread_count: 3, last_message: message("40", "bob"), peer_read_id: "12" }] };
    make();
    const peer = await server.connection();
    peer.greet();
    const opening = await peer.hears("sync_messages");
    expect(opening.since_id).toBeUndefined();
    peer.say({ type: "sync_response", ref: opening.ref, messages: [], latest_id: "0", changes: [], latest_change: "c9", more: false });
    expect(await peer.hears("sync_messages")).toMatchObject({ since_id: "40", since_change: "c9" });
    expect(chat.direct("bob")).toMatchObject({ name: "Bob", unread: 3, lastMessage: { content: "text 40" } });
  });
});

describe("reading", () => {
  it("counts what is unread, on every device of the user", async () => {
    const peer = await start();
    for (const id of ["1", "2", "3"]) peer.say(push(message(id, "bob")));
    await until(() => texts().length === 3);
    expect(chat.unread).toBe(3);
    peer.say({ type: "message_read", message_id: "2", conversation_id: "u|bob", read_by: "u", read_at: "2026-01-01T00:00:00.000Z" });
    await until(() => chat.unread === 1);
    chat.direct("bob").markRead();
    expect(chat.unread).toBe(0);
    expect(await peer.hears("mark_as_read")).toMatchObject({ message_id: "3" });
  });

  it("shows how far the other has read", async () => {
    const peer = await start();
    for (const id of ["1", "2"]) peer.say(push(message(id, "u")));
    peer.say({ type: "message_read", message_id: "1", conversation_id: "u|bob", read_by: "bob", read_at: "2026-01-01T00:00:00.000Z" });
    await until(() => texts()[0] === "text 1 (read)");
    expect(texts()[1]).toBe("text 2 (delivered)");
  });

  it("counts a group's readers, each from when they joined", async () => {
    const joined_at = "2026-01-01T00:00:00.000Z";
    http["GET /groups/g/members"] = { members: [
      { user_id: "u", role: "owner", joined_at }, { user_id: "bob", role: "member", joined_at, read_id: "1" },
      { user_id: "late", role: "member", joined_at: "2026-01-01T00:00:01.000Z", read_id: "9" },
    ] };
    const peer = await start();
    for (const id of ["1", "2"]) peer.say(push(message(id, "u", id, { to_user: undefined, group_id: "g", conversation_id: "g!" })));
    const group = chat.group("g");
    await until(() => group.messages.length === 2);
    await group.loadMembers();
    expect(group.messages.map(({ read_count }) => read_count)).toEqual([1, 0]);
    peer.say({ type: "message_read", message_id: "2", group_id: "g", conversation_id: "g!", read_by: "bob", read_at: joined_at });
    await until(() => group.messages[1]?.read_count === 1);
  });
});

describe("the rest", () => {
  it("recalls, and says why not", async () => {
    const peer = await start();
    peer.say(push(message("1", "u")));
    await until(() => texts().length === 1);
    const late = chat.recall(chat.direct("bob"), "1");
    const first = await peer.hears("recall_message");
    peer.say({ type: "error", ref: first.ref, code: "too_late", message: "two minutes are over" });
    await expect(late).rejects.toMatchObject({ code: "too_late" });
    const done = chat.recall(chat.direct("bob"), "1");
    peer.say({ type: "recall_ack", ref: (await peer.hears("recall_message")).ref, message_id: "1" });
    await done;
    expect(texts()).toEqual([" (recalled)"]);
  });

  it("tells who is typing until they have spoken, and does not repeat itself", async () => {
    const peer = await start();
    peer.say({ type: "typing", from_user: "bob", to_user: "u", typing: true });
    await until(() => chat.direct("bob").typing[0] === "bob");
    peer.say(push(message("1", "bob")));
    await until(() => chat.direct("bob").typing.length === 0);
    for (let i = 0; i < 3; i++) chat.direct("bob").tellTyping();
    expect(await peer.hears("typing")).toEqual({ type: "typing", typing: true, to_user: "bob" });
    chat.direct("bob").tellTyping(false);
    expect(await peer.hears("typing")).toMatchObject({ typing: false });
    expect(peer.unheard).toEqual([]);
  });

  it("watches the same people on each connection", async () => {
    const first = await start();
    chat.watchPresence(["bob", "bob"]);
    const asking = await first.hears("watch_presence");
    expect(asking.user_ids).toEqual(["bob"]);
    first.say({ type: "presence_list", ref: asking.ref, users: [{ user_id: "bob", status: "online" }] });
    await until(() => chat.presence.get("bob")?.status === "online");
    first.say({ type: "presence", user_id: "bob", status: "offline", last_seen: "2026-01-01T00:00:00.000Z" });
    await until(() => chat.presence.get("bob")?.status === "offline");
    first.socket.terminate();
    const second = await server.connection();
    second.greet();
    await second.hears("watch_presence");
  });

  it("forgets a group one was removed from", async () => {
    const peer = await start();
    http["GET /conversations"] = { conversations: [{ conversation_id: "g!", kind: "group", group_id: "g", name: "Choir", unread_count: 0, last_message: null, role: "member", member_count: 2 }] };
    peer.say({ type: "group_changed", group_id: "g", conversation_id: "g!", change: "created", by_user: "bob", name: "Choir" });
    await until(() => chat.find("group:g")?.memberCount === 2);
    peer.say({ type: "group_changed", group_id: "g", conversation_id: "g!", change: "member_removed", by_user: "bob", user_ids: ["u"] });
    await until(() => chat.find("group:g") === undefined);
  });

  it("loads older messages until there are no more", async () => {
    const peer = await start();
    peer.say(push(message("50", "bob")));
    await until(() => texts().length === 1);
    http["GET /conversations/u%7Cbob/messages"] = { messages: [message("48", "bob"), message("49", "u")], more: false };
    await chat.direct("bob").loadOlder();
    expect(chat.direct("bob").messages.map(({ id }) => id)).toEqual(["48", "49", "50"]);
    expect(chat.direct("bob").hasOlder).toBe(false);
  });
});

describe("without the network", () => {
  const message = (id: string, content: string): Body => ({
    id, client_msg_id: `c${id}`, conversation_id: "k", from_user: "bob", from_name: "Bob", to_user: "u", content, msg_type: "text", status: "delivered", created_at: `2026-01-01T00:00:${id}.000Z`,
  });

  async function visit(): Promise<ChatStorage> {
    const cache = memoryStorage();
    http["GET /conversations"] = { conversations: [{ conversation_id: "k", kind: "direct", with_user: "bob", name: "Bob", unread_count: 0, last_message: null }] };
    make(memoryStorage(), undefined, cache);
    await goesLive(await server.connection(), [message("10", "one"), message("11", "two")]);
    chat.close();
    client.close();
    return cache;
  }

  it("opens with what the last visit knew, and goes on from there", async () => {
    const cache = await visit();
    server.close();
    server = new TestServer();
    await server.ready();
    make(memoryStorage(), undefined, cache);
    expect(chat.conversations.map(({ name, unread }) => `${name} ${unread}`)).toEqual(["Bob 2"]);
    expect(chat.direct("bob").messages.map(({ content, own }) => `${content} ${own}`)).toEqual(["one false", "two false"]);
    const peer = await server.connection();
    const live = new Promise<void>((resolve) => chat.on("live", resolve));
    peer.greet();
    const sync = await peer.hears("sync_messages");
    expect(sync).toMatchObject({ since_id: "11", since_change: "c1" });
    peer.say({ type: "sync_response", ref: sync.ref, messages: [message("12", "three")], changes: [], latest_id: "12", latest_change: "c1", more: false });
    await live;
    expect(chat.direct("bob").messages.map(({ content }) => content)).toEqual(["one", "two", "three"]);
  });

  it("keeps nothing of what was recalled, and nothing at all once it is told to forget", async () => {
    const cache = memoryStorage();
    const storage = memoryStorage();
    http["GET /conversations"] = { conversations: [{ conversation_id: "k", kind: "direct", with_user: "bob", name: "Bob", unread_count: 0, last_message: null }] };
    make(storage, undefined, cache);
    const peer = await server.connection();
    await goesLive(peer, [message("10", "one"), message("11", "a secret")]);
    await expect.poll(() => cache.load(), { timeout: 5_000 }).toContain("a secret");
    peer.say({ type: "message_recalled", message_id: "11", conversation_id: "k", recalled_by: "bob", recalled_at: "2026-01-01T00:01:00.000Z" });
    await expect.poll(() => cache.load(), { timeout: 5_000 }).not.toContain("a secret");
    expect(cache.load()).toContain("one");
    chat.direct("bob").send("never sent");
    await chat.forget();
    expect([cache.load(), storage.load()]).toEqual([null, null]);
  });

  it("shows nothing of it to somebody else", async () => {
    const cache = await visit();
    make(memoryStorage(), undefined, cache);
    const peer = await server.connection();
    peer.say({ type: "connected", user_id: "eve", device_id: "d", connection_id: "c", node_id: "n", heartbeat_s: 30, server_time_ms: Date.now() });
    await new Promise<void>((resolve) => client.on("identified", () => resolve()));
    expect(chat.conversations).toEqual([]);
  });
});

/** The same transcript over each transport, against the real binary. `BARRAGE_BIN` names it. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect as dial, type AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import {
  Api, Chat, ChatApi, Client, type ClientOptions, type Comment, type CommentBatch, type CommentDraft, CommentOutbox, type CommentPosted, type Connect, eventStreamTransport, type Gap, longPollTransport,
  memoryStorage, type RoomEvent, segmentTransport, webSocketTransport,
} from "../src/index.js";
import { protoTransport } from "../src/proto/index.js";
import { startServer } from "../../../web/e2e/server.mjs";
import { record } from "./record.js";

interface Running {
  url: string;
  kill(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

const Socket = WebSocket as unknown as typeof globalThis.WebSocket;
const transports: [string, () => Connect][] = [
  ["websocket", () => webSocketTransport(Socket)],
  ["protobuf", () => protoTransport(Socket)],
  ["event-stream", eventStreamTransport],
  ["long-poll", longPollTransport],
  ["segments", segmentTransport],
];

let server: Running;
const clients: { close(): void }[] = [];
let rooms = 0;
let people = 0;

beforeAll(async () => void (server = (await startServer()) as Running), 90_000);
afterAll(() => server.stop());
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

function user(user_id: string, options: Partial<ClientOptions> = {}): Client {
  const client = new Client({ url: server.url, identity: { user_id, username: user_id.toUpperCase(), level: "vip" }, retry: () => 20, ...options });
  clients.push(client);
  client.connect();
  return client;
}

const name = (who: string): string => `${who}-${++people}`;

const api = (user_id: string): Api => new Api({ url: server.url, identity: { user_id, username: user_id, level: "vip" } });

/** Somebody says something: each time somebody else, for whom no limit has begun. */
function say(roomId: string, draft: CommentDraft): Promise<CommentPosted> {
  return api(`somebody-${++people}`).postComment(roomId, draft);
}

/** Collects what a room says and waits until it has said enough. */
function listen(client: Client, roomId: string): { comments: Comment[]; batches: CommentBatch[]; until(count: number): Promise<void> } {
  const heard = { comments: [] as Comment[], batches: [] as CommentBatch[] };
  const waiting: { count: number; done: () => void }[] = [];
  client.room(roomId).on("comments", (batch) => {
    heard.batches.push(batch);
    heard.comments.push(...batch.comments);
    for (const { count, done } of waiting) if (heard.comments.length >= count) done();
  });
  return { ...heard, until: (count) => (heard.comments.length >= count ? Promise.resolve() : new Promise((done) => waiting.push({ count, done }))) };
}

const contents = ({ comments }: { comments: Comment[] }): string[] => comments.map(({ content }) => content);

describe.each(transports)("over %s", (label, make) => {
  const room = (): string => `room-${label}-${++rooms}`;

  it("gives history, then what is said, and answers a comment and a like", async () => {
    const r = room();
    const first = await say(r, { content: "before", style: { mode: "top", color: "#12ab34", size: "large" } });
    const ann = user(name("ann"), { transport: make() });
    const heard = listen(ann, r);
    const joined = await ann.room(r).join({ history: 10 });
    expect(joined).toMatchObject({ type: "room_joined", room_id: r });
    await heard.until(1);
    expect(heard.batches[0]).toMatchObject({ source: "history", comments: [{ id: first.id, content: "before", level: "vip", style: { mode: "top", color: "#12AB34", size: "large" } }] });
    expect(heard.comments[0]?.created_at).toBe(first.created_at);

    const ack = await ann.room(r).comment({ content: "你好" });
    expect(ack).toMatchObject({ status: "accepted" });
    await heard.until(2);
    expect(heard.comments[1]).toMatchObject({ id: ack.id, content: "你好", username: ann.identity?.user_id?.toUpperCase() });
    expect(await ann.like(ack.id)).toMatchObject({ comment_id: ack.id, like_count: 1 });
    await expect(ann.like(ack.id)).rejects.toMatchObject({ code: "already_liked" });
    await expect(ann.room(r).comment({ content: " " })).rejects.toMatchObject({ code: "content_empty" });
  });

  it("takes a comment onto a recording, which is not live", async () => {
    const r = room();
    const session_id = await record(server.url, r, [{ offset_ms: 60_000, content: "the end" }]);
    const ann = user(name("ann"), { transport: make() });
    const heard = listen(ann, r);
    await ann.room(r).join();
    const ack = await ann.room(r).comment({ content: "here!", session_id, offset_ms: 1_234 });
    await say(r, { content: "live" });
    await heard.until(1);
    expect(contents(heard)).toEqual(["live"]);
    await expect.poll(async () => (await api("bob").replay(r, { session_id })).comments.map(({ id, offset_ms }) => [id, offset_ms])).toContainEqual([ack.id, 1_234]);
  });

  it("comes back after a lost connection without repeats and without gaps", async () => {
    const r = room();
    const proxy = await Proxy.to(server.url);
    const ann = user(name("ann"), { url: proxy.url, transport: make() });
    const heard = listen(ann, r);
    await ann.room(r).join({ history: 50 });
    await say(r, { content: "one" });
    await heard.until(1);
    proxy.cut();
    for (const content of ["two", "three", "four"]) await say(r, { content });
    proxy.mend();
    await heard.until(4);
    await say(r, { content: "five" });
    await heard.until(5);
    expect(contents(heard)).toEqual(["one", "two", "three", "four", "five"]);
    proxy.close();
  });

  // Segments bring everything, and their reader does not notice a short outage.
  it.skipIf(label === "segments")("says so when coming back does not bring everything", async () => {
    const r = room();
    const proxy = await Proxy.to(server.url);
    const ann = user(name("ann"), { url: proxy.url, transport: make() });
    const heard = listen(ann, r);
    await ann.room(r).join({ history: 2 });
    await say(r, { content: "0" });
    await heard.until(1);
    const gap = new Promise<Gap>((resolve) => ann.room(r).on("gap", resolve));
    proxy.cut();
    for (let i = 1; i <= 5; i++) await say(r, { content: String(i) });
    proxy.mend();
    await heard.until(3);
    expect(contents(heard)).toEqual(["0", "4", "5"]);
    expect(await gap).toMatchObject({ omitted: 3, afterId: heard.comments[0]?.id, beforeId: heard.comments[1]?.id });
    proxy.close();
  });

  it("refuses who may not read, with the server's word", async () => {
    const r = room();
    const admin = new Api({ url: server.url });
    await admin.admin.saveRoom(r, { private: true, owner_id: "somebody" });
    await expect(user(name("ann"), { transport: make() }).room(r).join()).rejects.toMatchObject({ code: "forbidden" });
  });

  it("carries private chat, caught up and live, each message once", async () => {
    const [a, b] = [name("a"), name("b")];
    const chatOf = (user_id: string, transport: Connect): Chat => {
      const chat = new Chat(user(user_id, { transport }), new ChatApi(api(user_id)));
      clients.unshift(chat);
      return chat;
    };
    const live = (chat: Chat): Promise<void> => new Promise((resolve) => chat.on("live", () => resolve()));
    const alice = chatOf(a, webSocketTransport(Socket));
    await live(alice);
    alice.direct(b).send("missed");
    await new Promise<void>((resolve) => alice.on("conversation", ({ messages }) => messages[0]?.state === "delivered" && resolve()));
    const bob = chatOf(b, make());
    await live(bob);
    await bob.direct(a).loadOlder();
    expect(bob.direct(a).messages.map(({ content }) => content)).toEqual(["missed"]);
    expect(bob.direct(a).unread).toBe(1);
    const next = new Promise((resolve) => bob.on("message", ({ message }) => resolve(message.content)));
    alice.direct(b).send("live");
    expect(await next).toBe("live");
    const answered = new Promise((resolve) => alice.on("message", ({ message }) => resolve(message.content)));
    bob.direct(a).send("heard");
    expect(await answered).toBe("heard");
    await new Promise<void>((resolve) => {
      const done = (): boolean => bob.direct(a).messages.length === 3 && bob.direct(a).messages.every(({ state }) => state !== "sending");
      if (done()) return resolve();
      bob.on("conversation", () => done() && resolve());
    });
    expect(bob.direct(a).messages.map(({ content, state }) => `${content} ${state}`)).toEqual(["missed delivered", "live delivered", "heard delivered"]);
  });
});

describe.each(transports.filter(([label]) => label !== "long-poll"))("events over %s", (_label, make) => {
  it("arrive once, with what they say", async () => {
    const r = `events-${++rooms}`;
    const ann = user(name("ann"), { transport: make() });
    const told: RoomEvent[] = [];
    const both = new Promise<void>((resolve) => ann.room(r).on("event", (event) => {
      told.push(event);
      if (told.some(({ kind }) => kind === "gift") && told.some(({ kind }) => kind === "comment_deleted")) resolve();
    }));
    const heard = listen(ann, r);
    await ann.room(r).join({ history: 0 });
    const { id } = await say(r, { content: "gone soon" });
    await heard.until(1);
    const admin = new Api({ url: server.url }).admin;
    await admin.gift(r, { gift: "rocket", user_id: "bob", username: "Bob", count: 2, value: 10 });
    await admin.deleteComment(id);
    await both;
    expect(told.find(({ kind }) => kind === "gift")).toMatchObject({ room_id: r, gift: "rocket", username: "Bob", count: 2, value: 10 });
    expect(told.find(({ kind }) => kind === "comment_deleted")).toMatchObject({ comment_id: id });
  });
});

describe("choosing a transport", () => {
  it("takes HTTP where no WebSocket comes through, and the WebSocket once it does", async () => {
    const r = `ladder-${++rooms}`;
    const proxy = await Proxy.to(server.url);
    proxy.sockets = false;
    const ann = user(name("ann"), { url: proxy.url, transport: [webSocketTransport(Socket), eventStreamTransport(), longPollTransport()] });
    await ann.room(r).join();
    expect(ann.transport).toBe("event-stream");
    proxy.close();
  });

  it("polls where streams are collected", async () => {
    const r = `collected-${++rooms}`;
    const proxy = await Proxy.to(server.url);
    proxy.sockets = false;
    proxy.streams = false;
    const ann = user(name("ann"), { url: proxy.url, requestTimeoutMs: 30_000, transport: [webSocketTransport(Socket), eventStreamTransport(), longPollTransport()] });
    const heard = listen(ann, r);
    await ann.room(r).join();
    expect(ann.transport).toBe("long-poll");
    await say(r, { content: "polled" });
    await heard.until(1);
    proxy.close();
  }, 60_000);
});

describe("a node that is full", () => {
  it("is read by segments, spoken to over HTTP, and by a socket again once it has room, without a repeat or a gap", async () => {
    process.env.BARRAGE__SOCKETS__OPEN_MAX = "2";
    const full = (await startServer()) as Running;
    delete process.env.BARRAGE__SOCKETS__OPEN_MAX;
    try {
      const r = `full-${++rooms}`;
      const there = ["x", "y"].map((who) => user(name(who), { url: full.url, transport: webSocketTransport(Socket) }));
      await Promise.all(there.map((client) => client.room(r).join()));
      const ann = user(name("ann"), { url: full.url, transport: [webSocketTransport(Socket), eventStreamTransport(), longPollTransport(), segmentTransport()] });
      const heard = listen(ann, r);
      const gaps: Gap[] = [];
      ann.room(r).on("gap", (gap) => gaps.push(gap));
      await ann.room(r).join();
      let said = 0;
      const talk = async (count: number): Promise<void> => {
        for (const end = said + count; said < end; said++) {
          const who = new Api({ url: full.url, identity: { user_id: `somebody-${++people}`, username: "S", level: "vip" } });
          await who.postComment(r, { content: String(said) });
        }
        await heard.until(said);
      };
      await talk(5);
      await expect.poll(() => ann.transport, { timeout: 30_000 }).toBe("segments");
      await talk(5);
      expect(await ann.room(r).comment({ content: String(said) })).toMatchObject({ status: "accepted" });
      await heard.until(++said);
      for (const client of there) client.close();
      await expect.poll(async () => (await talk(1), ann.transport), { timeout: 90_000, interval: 500 }).toBe("websocket");
      await talk(5);
      expect(contents(heard)).toEqual(Array.from({ length: said }, (_, n) => String(n)));
      expect(gaps).toEqual([]);
    } finally {
      await full.stop();
    }
  }, 180_000);
});

describe("an outbox", () => {
  it("sends what was said while the server was away, once, also after the page was closed", async () => {
    const r = `outbox-${++rooms}`;
    const storage = memoryStorage();
    const proxy = await Proxy.to(server.url);
    proxy.cut();
    const ann = name("ann");
    const away = user(ann, { url: proxy.url, transport: webSocketTransport(Socket) });
    const first = new CommentOutbox(away, { storage });
    first.add(r, { content: "said offline" });
    first.add(r, { content: "and this" });
    expect(first.entries.length).toBe(2);
    first.close();
    away.close();

    const bob = user("bob", { transport: webSocketTransport(Socket) });
    const heard = listen(bob, r);
    await bob.room(r).join();
    proxy.mend();
    const back = user(ann, { url: proxy.url, transport: webSocketTransport(Socket) });
    const outbox = new CommentOutbox(back, { storage });
    const again = new CommentOutbox(back, { storage });
    await heard.until(2);
    await say(r, { content: "last" });
    await heard.until(3);
    expect(contents(heard)).toEqual(["said offline", "and this", "last"]);
    await expect.poll(() => outbox.entries.length + again.entries.length).toBe(0);
    proxy.close();
  });
});

/** Between a client and the server: it can cut, keep sockets out, and collect streams, as networks do. */
class Proxy {
  sockets = true;
  streams = true;
  #up = true;

  private constructor(
    readonly url: string,
    private readonly server: Server,
  ) {}

  static async to(target: string): Promise<Proxy> {
    const { hostname, port } = new URL(target);
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new Proxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, server);
    server.on("request", (request, response) => {
      if (!proxy.#up) return request.destroy();
      const collects = !proxy.streams && request.headers.accept === "text/event-stream";
      const ended = new AbortController();
      response.on("close", () => ended.abort());
      const body = request.method === "GET" ? null : (request as unknown as BodyInit);
      const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !["host", "connection", "transfer-encoding"].includes(name))) as Record<string, string>;
      fetch(new URL(request.url ?? "/", target), { method: request.method ?? "GET", headers, body, signal: ended.signal, ...(body ? { duplex: "half" } : {}) } as RequestInit).then(async (answer) => {
        if (collects) return;
        response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "" });
        response.flushHeaders();
        for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) response.write(chunk);
        response.end();
      }).catch(() => response.destroy());
    });
    server.on("upgrade", (request, socket) => {
      if (!proxy.#up || !proxy.sockets) return socket.destroy();
      const behind = dial(Number(port), hostname, () => {
        behind.write(`${request.method} ${request.url} HTTP/1.1\r\n${Object.entries(request.headers).map(([name, value]) => `${name}: ${String(value)}\r\n`).join("")}\r\n`);
        behind.pipe(socket).pipe(behind);
      });
      for (const end of [behind, socket]) end.on("error", () => (behind.destroy(), socket.destroy()));
      socket.on("close", () => behind.destroy());
      behind.on("close", () => socket.destroy());
      proxy.#open.add(socket as { destroy(): void });
    });
    return proxy;
  }

  readonly #open = new Set<{ destroy(): void }>();

  cut(): void {
    this.#up = false;
    for (const socket of this.#open) socket.destroy();
    this.server.closeAllConnections();
  }

  mend(): void {
    this.#up = true;
  }

  close(): void {
    this.cut();
    this.server.close();
  }
}

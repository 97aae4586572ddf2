import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { Client, type ClientOptions, type ClientState, type CommentBatch, type RoomEvent, webSocketTransport } from "../src/index.js";
import { comment, type Peer, TestServer } from "./server.js";

let server: TestServer;
let client: Client;
let states: string[];

beforeEach(async () => {
  server = new TestServer();
  await server.ready();
});

afterEach(() => {
  client.close();
  server.close();
});

function make(options: Partial<ClientOptions> = {}): Client {
  client = new Client({
    url: server.url,
    identity: { user_id: "u", username: "U", level: "vip" },
    retry: () => 5,
    requestTimeoutMs: 2_000,
    transport: webSocketTransport(WebSocket as unknown as typeof globalThis.WebSocket),
    ...options,
  });
  states = [];
  client.on("state", ({ name }) => states.push(name));
  return client;
}

async function connect(options: Partial<ClientOptions> = {}): Promise<Peer> {
  make(options).connect();
  const peer = await server.connection();
  peer.greet();
  await becomes("connected");
  return peer;
}

function becomes(name: ClientState["name"]): Promise<ClientState> {
  if (client.state.name === name) return Promise.resolve(client.state);
  return new Promise((resolve) => {
    const off = client.on("state", (state) => {
      if (state.name !== name) return;
      off();
      resolve(state);
    });
  });
}

function nextBatch(room = client.room("r")): Promise<CommentBatch> {
  return new Promise((resolve) => {
    const off = room.on("comments", (batch) => {
      off();
      resolve(batch);
    });
  });
}

describe("connecting", () => {
  it("sends the identity in the query and is connected when greeted", async () => {
    const peer = await connect();
    expect(Object.fromEntries(peer.query)).toEqual({ user_id: "u", username: "U", level: "vip" });
    expect(states).toEqual(["connecting", "connected"]);
  });

  it("prefers a token, and asks for a fresh one at each attempt", async () => {
    let asked = 0;
    const first = await connect({ token: () => Promise.resolve(`t${++asked}`) });
    expect(Object.fromEntries(first.query)).toEqual({ token: "t1" });
    first.socket.close(1011);
    expect((await server.connection()).query.get("token")).toBe("t2");
  });

  it("reads without identity as soon as the socket is open", async () => {
    make({ identity: undefined }).connect();
    await server.connection();
    await becomes("connected");
  });

  it.each([4001, 4003, 4009, 4010])("does not come back after %i", async (code) => {
    const peer = await connect();
    peer.socket.close(code, "because");
    expect(await becomes("closed")).toEqual({ name: "closed", code, reason: "because" });
  });

  it("gives up when the identity is refused at the door", async () => {
    make().connect();
    (await server.connection()).say({ type: "error", code: "unauthorized", message: "bad token" });
    expect(await becomes("closed")).toMatchObject({ code: 4001 });
  });

  it("waits as long as a draining server asks", async () => {
    const peer = await connect({ retry: () => 60_000 });
    peer.socket.close(1012, "7");
    expect(await becomes("waiting")).toMatchObject({ retryInMs: 7, code: 1012 });
    await server.connection();
  });

  it("counts failures for the retry policy", async () => {
    const failures: number[] = [];
    const peer = await connect({ retry: (n) => (failures.push(n), 1) });
    peer.socket.close(1011);
    (await server.connection()).socket.close(1011);
    await server.connection();
    expect(failures).toEqual([1, 2]);
  });

  it("notices a connection that went silent", async () => {
    make().connect();
    const peer = await server.connection();
    peer.socket.removeAllListeners("message"); // answers no heartbeat
    peer.greet(0.02);
    expect(await becomes("waiting")).toMatchObject({ reason: "no heartbeat" });
  });

  it("ignores what it does not know", async () => {
    const peer = await connect();
    peer.say({ type: "from_the_future", x: 1 });
    peer.socket.send("not json");
    peer.socket.send("[1]");
    peer.say({ type: "comments", room_id: "another", comments: [comment()] });
    const pong = client.request({ type: "like", comment_id: "1" }, false);
    const { ref } = await peer.hears("like");
    peer.say({ type: "like_ack", ref, comment_id: "1", like_count: 3, extra: true });
    expect(await pong).toMatchObject({ like_count: 3 });
  });
});

describe("rooms", () => {
  it("joins with its options and hands over history, then live batches", async () => {
    const peer = await connect();
    const batch = nextBatch();
    const joined = client.room("r").join({ max_per_s: 20, only_user_ids: ["a"], history: 10 });
    expect(await peer.admits([comment("1"), comment("2")], 4)).toMatchObject({
      room_id: "r", max_per_s: 20, only_user_ids: ["a"], history: 10,
    });
    expect(await joined).toMatchObject({ state: "live", viewers: 1 });
    expect(await batch).toMatchObject({ source: "history", omitted: 4, comments: [{ id: "1" }, { id: "2" }] });
    const live = nextBatch();
    peer.say({ type: "comments", room_id: "r", comments: [comment("2"), comment("3")], omitted: 7 });
    expect(await live).toMatchObject({ source: "live", omitted: 7, comments: [{ id: "3" }] });
  });

  it("joined before the connection exists, joins when it does", async () => {
    make();
    const joined = client.room("r").join();
    client.connect();
    const peer = await server.connection();
    peer.greet();
    await peer.admits();
    await joined;
  });

  it("resumes after the last comment seen and drops repeats", async () => {
    const first = await connect();
    void client.room("r").join({ history: 5 });
    const history = nextBatch();
    await first.admits([comment("10")]);
    await history;
    const live = nextBatch();
    first.say({ type: "comments", room_id: "r", comments: [comment("11")] });
    await live;
    first.socket.terminate();

    const second = await server.connection();
    const resumed = nextBatch();
    second.greet();
    expect(await second.admits([comment("11"), comment("12")], 30)).toMatchObject({ since_id: "11", history: 5 });
    expect(await resumed).toMatchObject({ source: "resumed", omitted: 30, comments: [{ id: "12" }] });
  });

  it("a room left is not joined again", async () => {
    const first = await connect();
    void client.room("r").join();
    await first.admits();
    const left = client.room("r").leave();
    const { ref } = await first.hears("leave_room");
    first.say({ type: "room_left", ref, room_id: "r" });
    await left;
    first.socket.terminate();
    const second = await server.connection();
    second.greet();
    await becomes("connected");
    void client.like("1").catch(() => undefined);
    await second.hears("like"); // and no join before it
  });

  it("tells a refusal", async () => {
    const peer = await connect();
    const joined = client.room("r").join();
    const { ref } = await peer.hears("join_room");
    peer.say({ type: "error", ref, code: "forbidden", message: "private" });
    await expect(joined).rejects.toMatchObject({ code: "forbidden" });
    expect(client.room("r").wanted).toBe(false);
  });
});

describe("requests", () => {
  it("answers with the server's error, code and delay", async () => {
    const peer = await connect();
    const sent = client.room("r").comment({ content: "x" });
    const { ref } = await peer.hears("comment");
    peer.say({ type: "error", ref, code: "rate_limited", message: "slow down", retry_after_ms: 900 });
    await expect(sent).rejects.toMatchObject({ code: "rate_limited", retryAfterMs: 900 });
  });

  it("matches answers that come in another order", async () => {
    const peer = await connect();
    const a = client.like("1");
    const b = client.like("2");
    const [first, second] = [await peer.hears("like"), await peer.hears("like")];
    peer.say({ type: "like_ack", ref: second.ref, comment_id: "2", like_count: 2 });
    peer.say({ type: "like_ack", ref: first.ref, comment_id: "1", like_count: 1 });
    expect([(await a).like_count, (await b).like_count]).toEqual([1, 2]);
  });

  it("sends a comment again on the next connection, with the same client_msg_id", async () => {
    const first = await connect();
    const sent = client.room("r").comment({ content: "x" });
    const before = await first.hears("comment");
    first.socket.terminate();
    const second = await server.connection();
    second.greet();
    const after = await second.hears("comment");
    expect(after).toEqual(before);
    second.say({ type: "comment_ack", ref: after.ref, id: "5", status: "accepted" });
    expect(await sent).toMatchObject({ id: "5" });
  });

  it("sends once what is asked for at the moment of connecting", async () => {
    make();
    client.on("state", ({ name }) => name === "connected" && void client.room("r").comment({ content: "at once" }).catch(() => undefined));
    client.connect();
    const peer = await server.connection();
    peer.greet();
    await peer.hears("comment");
    const liked = client.like("1");
    const { ref } = await peer.hears("like");
    peer.say({ type: "like_ack", ref, comment_id: "1", like_count: 1 });
    await liked;
    expect(peer.unheard).toEqual([]);
  });

  it("does not send a like twice", async () => {
    const first = await connect();
    const liked = client.like("1");
    await first.hears("like");
    first.socket.terminate();
    await expect(liked).rejects.toMatchObject({ code: "disconnected" });
    const second = await server.connection();
    second.greet();
    await becomes("connected");
    expect(second.unheard).toEqual([]);
  });

  it("times out", async () => {
    await connect({ requestTimeoutMs: 20 });
    await expect(client.like("1")).rejects.toMatchObject({ code: "timeout" });
  });

  it("closing rejects what is open", async () => {
    const peer = await connect();
    const liked = client.like("1");
    const joined = client.room("r").join();
    await peer.hears("like");
    client.close();
    await expect(liked).rejects.toMatchObject({ code: "closed" });
    await expect(joined).rejects.toMatchObject({ code: "closed" });
    expect(await peer.closed).toBe(1000);
  });
});

describe("events", () => {
  it("acknowledges critical ones each time and tells them once", async () => {
    const peer = await connect();
    void client.room("r").join();
    await peer.admits();
    const told: RoomEvent[] = [];
    client.room("r").on("event", (event) => told.push(event));
    const event = { type: "event", event_id: "e1", kind: "announcement", room_id: "r", critical: true, content: "hi" };
    peer.say(event);
    expect(await peer.hears("ack")).toMatchObject({ event_id: "e1" });
    peer.say(event);
    expect(await peer.hears("ack")).toMatchObject({ event_id: "e1" });
    expect(told).toHaveLength(1);
  });

  it("leaves ordinary ones unacknowledged", async () => {
    const peer = await connect();
    const told = new Promise((resolve) => client.on("event", resolve));
    peer.say({ type: "event", event_id: "e2", kind: "from_the_future", room_id: "r" });
    await told;
    expect(peer.unheard).toEqual([]);
  });

  it("a listener that throws does not stop the connection", async () => {
    const peer = await connect();
    const outside = vi.spyOn(globalThis, "queueMicrotask").mockImplementation(() => undefined);
    client.on("event", () => {
      throw new Error("listener");
    });
    const told = new Promise((resolve) => client.on("event", resolve));
    peer.say({ type: "event", event_id: "e3", kind: "notice" });
    await told;
    expect(outside.mock.calls.at(-1)?.[0]).toThrow("listener");
    outside.mockRestore();
    expect(client.connected).toBe(true);
  });
});

/** Live segments against a small origin of our own, whose segments are short. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { Client, type Comment, type RoomEvent, segmentTransport, webSocketTransport } from "../src/index.js";
import { comment } from "./server.js";

const SEGMENT_MS = 60;

/** A server of one room: a log of comments and events, cut into segments by when they came. */
class Origin {
  readonly #log: { atMs: number; comment?: Comment; event?: Record<string, unknown> }[] = [];
  readonly requests: string[] = [];
  readonly #http: Server;
  readonly #joined = new Set<WebSocket>();
  readonly sockets: WebSocketServer;
  prefer: string | undefined;
  /** Numbers below this are not known here, as after a restart. */
  first = 0;
  acceptsSockets = true;

  constructor() {
    this.#http = createServer((request, response) => void this.#answer(request, response));
    this.sockets = new WebSocketServer({ noServer: true });
    this.#http.on("upgrade", (request, socket, head) => {
      if (!this.acceptsSockets) return socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
      this.sockets.handleUpgrade(request, socket, head, (open) => this.#serve(open));
    });
  }

  async start(): Promise<void> {
    this.#http.listen(0, "127.0.0.1");
    await once(this.#http, "listening");
  }

  stop(): void {
    for (const socket of this.sockets.clients) socket.terminate();
    this.#http.closeAllConnections();
    this.#http.close();
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  publish(id: string): void {
    const said = comment(id, `content ${id}`) as unknown as Comment;
    this.#log.push({ atMs: Date.now(), comment: said });
    for (const socket of this.#joined) socket.send(JSON.stringify({ type: "comments", room_id: "r", comments: [said] }));
  }

  tell(event_id: string): void {
    this.#log.push({ atMs: Date.now(), event: { type: "event", event_id, kind: "announcement", room_id: "r", content: "hear" } });
  }

  #after(id: string | undefined): Comment[] {
    const comments = this.#log.flatMap((entry) => entry.comment ?? []);
    return id === undefined ? comments : comments.slice(comments.findIndex((known) => known.id === id) + 1);
  }

  #serve(socket: WebSocket): void {
    const say = (message: unknown): void => socket.send(JSON.stringify(message));
    say({ type: "connected", user_id: "u", device_id: "d", connection_id: "c", node_id: "n", heartbeat_s: 30, server_time_ms: Date.now(), prefer: this.prefer });
    socket.on("close", () => this.#joined.delete(socket));
    socket.on("message", (data: Buffer) => {
      const { type, ref, since_id } = JSON.parse(data.toString()) as { type: string; ref?: string; since_id?: string };
      if (type === "heartbeat") say({ type: "heartbeat_ack", server_time_ms: Date.now() });
      if (type === "join_room") this.#joined.add(socket);
      if (type === "join_room") say({ type: "room_joined", ref, room_id: "r", state: "live", viewers: 1, history: this.#after(since_id) });
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://x");
    this.requests.push(`${request.method} ${url.pathname}`);
    const json = (status: number, body: unknown): void => void response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const [, , , , , part, seq] = url.pathname.split("/");
    if (url.pathname === "/api/v1/server") return json(200, { dev: true, anonymous_read: true, version: "0", prefer: this.prefer });
    if (request.method === "POST") return json(201, { id: "77", status: "accepted" });
    if (part === undefined) return json(200, { room_id: "r", state: "live", viewers: 0 });
    if (part === "comments") {
      const comments = this.#after(url.searchParams.get("since_id") ?? undefined);
      return json(200, { comments, latest_id: comments.at(-1)?.id ?? "0" });
    }
    if (seq === undefined) {
      const now = Date.now();
      return json(200, { segment_ms: SEGMENT_MS, seq: Math.floor(now / SEGMENT_MS), server_time_ms: now, url_template: "/api/v1/rooms/r/live/{seq}" });
    }
    const number = Number(seq);
    if (number < this.first || number > Date.now() / SEGMENT_MS + 1) return json(404, { error: { code: "not_found", message: "no" } });
    const [from_ms, to_ms] = [number * SEGMENT_MS, (number + 1) * SEGMENT_MS];
    if (to_ms > Date.now()) await new Promise((resolve) => setTimeout(resolve, to_ms - Date.now() + 1));
    const entries = this.#log.filter(({ atMs }) => atMs >= from_ms && atMs < to_ms);
    json(200, {
      room_id: "r", seq: number, from_ms, to_ms, omitted: 0, prefer: this.prefer,
      comments: entries.flatMap((entry) => entry.comment ?? []), events: entries.flatMap((entry) => entry.event ?? []),
    });
  }
}

let origin: Origin;
let client: Client | undefined;

beforeEach(async () => {
  origin = new Origin();
  await origin.start();
});

afterEach(() => {
  client?.close();
  origin.stop();
});

const sockets = webSocketTransport(WebSocket as unknown as typeof globalThis.WebSocket);

function reader(transport: ConstructorParameters<typeof Client>[0]["transport"], options = {}): { ids: string[]; events: RoomEvent[]; gaps: number[]; until(id: string): Promise<void> } {
  client = new Client({ url: origin.url, identity: { user_id: "u" }, retry: () => 5, transport, ...options });
  const [ids, events, gaps]: [string[], RoomEvent[], number[]] = [[], [], []];
  const waiting: { id: string; done: () => void }[] = [];
  client.room("r").on("comments", ({ comments }) => {
    ids.push(...comments.map(({ id }) => id));
    for (const { id, done } of waiting) if (ids.includes(id)) done();
  });
  client.room("r").on("gap", ({ omitted }) => gaps.push(omitted));
  client.on("event", (event) => events.push(event));
  client.connect();
  return { ids, events, gaps, until: (id) => (ids.includes(id) ? Promise.resolve() : new Promise((done) => waiting.push({ id, done }))) };
}

function becomes(label: string): Promise<void> {
  return new Promise((resolve) => {
    const look = setInterval(() => {
      if (client?.transport !== label || client.state.name !== "connected") return;
      clearInterval(look);
      resolve();
    }, 5);
  });
}

/** Publishes 1, 2, 3 … until told to stop; the last one's id. */
function talk(): { stop(): string } {
  let last = 0;
  const timer = setInterval(() => origin.publish(String(++last)), 7);
  return {
    stop() {
      clearInterval(timer);
      origin.publish(String(++last));
      return String(last);
    },
  };
}

const upTo = (last: string): string[] => Array.from({ length: Number(last) }, (_, n) => String(n + 1));

describe("live segments", () => {
  it("gives everything once and in order, and each event", async () => {
    const heard = reader(segmentTransport());
    await client?.room("r").join({ history: 0 });
    const talking = talk();
    origin.tell("e1");
    await heard.until("30");
    origin.tell("e2");
    const last = talking.stop();
    await heard.until(last);
    expect(heard.ids).toEqual(upTo(last));
    await expect.poll(() => heard.events.map(({ event_id }) => event_id)).toEqual(["e1", "e2"]);
    expect(client?.transport).toBe("segments");
    expect(client?.clock.errorMs).toBeDefined();
  });

  it("asks for each segment once, and says things over HTTP", async () => {
    const heard = reader(segmentTransport());
    await client?.room("r").join();
    const talking = talk();
    await heard.until("20");
    talking.stop();
    const asked = origin.requests.filter((request) => /\/live\/\d+$/.test(request));
    expect(new Set(asked).size).toBe(asked.length);
    await expect(client?.room("r").comment({ content: "hi" })).resolves.toMatchObject({ id: "77", status: "accepted" });
    expect(origin.requests).toContain("POST /api/v1/rooms/r/comments");
  });

  it("finds its place again when a node does not know its segment, and misses nothing", async () => {
    const heard = reader(segmentTransport());
    await client?.room("r").join({ history: 0 });
    const talking = talk();
    await heard.until("10");
    origin.first = Math.floor(Date.now() / SEGMENT_MS) + 3;
    await heard.until("60");
    const last = talking.stop();
    await heard.until(last);
    expect(heard.ids).toEqual(upTo(last));
  });

  it("thins out what a viewer does not want", async () => {
    const heard = reader(segmentTransport());
    await client?.room("r").join({ history: 0, only_user_ids: ["nobody"] });
    origin.publish("1");
    origin.tell("e1");
    await expect.poll(() => heard.events.length).toBe(1);
    expect(heard.ids).toEqual([]);
  });
});

describe("moving to segments and back", () => {
  it("goes when the server says so and comes back when it has room, without a repeat or a gap", async () => {
    const heard = reader([sockets, segmentTransport()]);
    await becomes("websocket");
    await client?.room("r").join();
    const talking = talk();
    await heard.until("5");
    // The server fills up: it says so to who comes next, here after a restart.
    origin.prefer = "segments";
    for (const socket of origin.sockets.clients) socket.close(1012, "1");
    await becomes("segments");
    await heard.until(String(heard.ids.length + 20));
    expect(origin.sockets.clients.size).toBe(0);
    origin.prefer = undefined;
    await becomes("websocket");
    await heard.until(String(heard.ids.length + 20));
    const last = talking.stop();
    await heard.until(last);
    expect(heard.ids).toEqual(upTo(last));
    expect(heard.gaps).toEqual([]);
  }, 60_000);

  it("goes when sockets are refused, and comes back when they are not", async () => {
    origin.acceptsSockets = false;
    const heard = reader([sockets, segmentTransport()]);
    await becomes("segments");
    await client?.room("r").join();
    const talking = talk();
    await heard.until("20");
    const last = talking.stop();
    await heard.until(last);
    expect(heard.ids).toEqual(upTo(last));
  });
});

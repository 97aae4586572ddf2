/** A small real WebSocket server that a test speaks through line by line, like a transcript. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";

type Message = Record<string, unknown>;

/** A queue whose reader waits: no test here sleeps. */
class Inbox<T> {
  #items: T[] = [];
  #readers: ((item: T) => void)[] = [];

  put(item: T): void {
    const reader = this.#readers.shift();
    if (reader) reader(item);
    else this.#items.push(item);
  }

  take(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#readers.push(resolve)) : Promise.resolve(item);
  }

  /** What has arrived and nobody took. */
  get waiting(): T[] {
    return [...this.#items];
  }
}

export class Peer {
  readonly #inbox = new Inbox<Message>();
  readonly closed: Promise<number>;

  constructor(
    readonly socket: WebSocket,
    readonly query: URLSearchParams,
  ) {
    socket.on("message", (data) => this.#heard(JSON.parse(String(data)) as Message));
    this.closed = once(socket, "close").then(([code]) => code as number);
  }

  #heard(message: Message): void {
    if (message.type === "heartbeat") this.say({ type: "heartbeat_ack", server_time_ms: Date.now() });
    else this.#inbox.put(message);
  }

  /** The next message, which must be of this type. */
  async hears(type: string): Promise<Message> {
    const message = await this.#inbox.take();
    if (message.type !== type) throw new Error(`expected ${type}, heard ${JSON.stringify(message)}`);
    return message;
  }

  get unheard(): Message[] {
    return this.#inbox.waiting;
  }

  say(message: Message): void {
    this.socket.send(JSON.stringify(message));
  }

  greet(heartbeat_s = 30): void {
    this.say({ type: "connected", user_id: "u", device_id: "d", connection_id: "c", node_id: "n", heartbeat_s, server_time_ms: Date.now() });
  }

  async admits(history: unknown[] = [], omitted?: number): Promise<Message> {
    const join = await this.hears("join_room");
    this.say({ type: "room_joined", ref: join.ref, room_id: join.room_id, state: "live", viewers: 1, history, omitted });
    return join;
  }
}

export class TestServer {
  readonly #peers = new Inbox<Peer>();
  readonly #server: WebSocketServer;

  constructor() {
    this.#server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    this.#server.on("connection", (socket: WebSocket, request: IncomingMessage) => {
      this.#peers.put(new Peer(socket, new URL(request.url ?? "/", "http://x").searchParams));
    });
  }

  /** Resolves when it listens. */
  async ready(): Promise<void> {
    if (!this.#server.address()) await once(this.#server, "listening");
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  connection(): Promise<Peer> {
    return this.#peers.take();
  }

  close(): void {
    for (const socket of this.#server.clients) socket.terminate();
    this.#server.close();
  }
}

let nextId = 1;

export function comment(id = String(nextId++), content = "hello"): Message {
  return {
    id, room_id: "r", user_id: "a", username: "A", level: "normal", content,
    created_at: "2026-01-01T00:00:00.000Z", offset_ms: 0, like_count: 0,
  };
}

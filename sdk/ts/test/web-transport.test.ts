import { describe, expect, it, vi } from "vitest";
import { LostBatches } from "../src/lost-batches.js";
import { raced, type RaceMemory } from "../src/raced.js";
import { type Connect, labelled, type Transport, type TransportHandlers } from "../src/transport.js";
import { framed, MessageReader, webTransport } from "../src/web-transport.js";

const text = new TextDecoder();
const bytes = new TextEncoder();

describe("messages on a stream", () => {
  it("survive however they are cut", () => {
    const messages = ["", "a", "弹幕".repeat(40), "x".repeat(20_000)];
    const stream = Uint8Array.from(messages.flatMap((message) => [...framed(message)]));
    for (const size of [1, 7, 4_096]) {
      const read: string[] = [];
      const reader = new MessageReader((message) => read.push(message));
      for (let at = 0; at < stream.length; at += size) reader.read(stream.subarray(at, at + size));
      expect(read).toEqual(messages);
    }
  });

  it("are refused when their length is impossible", () => {
    expect(() => new MessageReader(() => undefined).read(new Uint8Array(8).fill(0xff))).toThrow("impossible length");
  });
});

describe("batches by datagram", () => {
  const batch = (seq: number): Uint8Array => Uint8Array.of(0, 0, seq >> 8, seq & 0xff, ...bytes.encode(JSON.stringify({ room_id: "r", seq })));

  it("count what is missing, and neither what is late nor what comes twice", () => {
    vi.useFakeTimers();
    const told: Record<string, unknown>[] = [];
    const lost = new LostBatches((message) => told.push(JSON.parse(message) as Record<string, unknown>), () => Date.now());
    for (const seq of [0, 3, 3, 1, 6]) lost.received(batch(seq));
    expect(told.map(({ seq }) => seq)).toEqual([0, 3, 1, 6]);
    vi.advanceTimersByTime(1_000);
    expect(told.slice(4)).toEqual([{ type: "comments", room_id: "r", comments: [], omitted: 3 }]);
    lost.received(batch(2));
    expect(told).toHaveLength(5);
    lost.stop();
    vi.useRealTimers();
  });
});

/** A transport that a test opens and closes. */
class Runner implements Transport {
  readonly sent: string[] = [];
  closed = false;
  constructor(readonly handlers: TransportHandlers) {}
  send(message: string): void {
    this.sent.push(message);
  }
  close(): void {
    this.closed = true;
  }
}

class Race {
  readonly started: string[] = [];
  readonly runners = new Map<string, Runner>();
  readonly said: unknown[] = [];
  readonly kept = new Map<string, string>();
  readonly connect: Connect;
  readonly handlers: TransportHandlers = {
    opened: () => this.said.push("opened"),
    received: (message) => this.said.push(message),
    closed: (code) => this.said.push(code),
  };

  constructor() {
    const memory: RaceMemory = { getItem: (key) => this.kept.get(key) ?? null, setItem: (key, value) => void this.kept.set(key, value) };
    this.connect = raced(this.#entrant("webtransport"), this.#entrant("websocket"), memory);
  }

  #entrant(name: string): Connect {
    return labelled(name, (_, handlers) => {
      this.started.push(name);
      const runner = new Runner(handlers);
      this.runners.set(name, runner);
      return runner;
    });
  }

  run(): Transport {
    return this.connect("wss://host/ws", this.handlers);
  }

  runner(name: string): Runner {
    return this.runners.get(name) as Runner;
  }
}

describe("a race of two transports", () => {
  it("gives the first one a head start", () => {
    vi.useFakeTimers();
    const race = new Race();
    const transport = race.run();
    vi.advanceTimersByTime(299);
    race.runner("webtransport").handlers.opened();
    vi.advanceTimersByTime(1_000);
    transport.send("hello");
    race.runner("webtransport").handlers.closed(1012, "9");
    expect([race.started, race.said, race.runner("webtransport").sent]).toEqual([["webtransport"], ["opened", 1012], ["hello"]]);
    expect(race.connect.label).toBe("webtransport");
    vi.useRealTimers();
  });

  it("lets the second one win where nothing answers, and remembers it for an hour", () => {
    vi.useFakeTimers();
    const race = new Race();
    race.run();
    vi.advanceTimersByTime(300);
    race.runner("websocket").handlers.opened();
    expect(race.runner("webtransport").closed).toBe(true);
    // The loser's session began on the server after all, and replaced the winner's: no reason to give up.
    race.runner("webtransport").handlers.received("from the loser");
    race.runner("websocket").handlers.closed(4009, "replaced");
    expect(race.said).toEqual(["opened", 1006]);
    race.run();
    vi.advanceTimersByTime(1_000);
    expect([race.started, race.connect.label]).toEqual([["webtransport", "websocket", "websocket"], "websocket"]);
    vi.advanceTimersByTime(3_600_000);
    race.run();
    expect(race.started.at(-1)).toBe("webtransport");
    vi.useRealTimers();
  });

  it("does not wait for one that fails, and fails when both have", () => {
    vi.useFakeTimers();
    const race = new Race();
    race.run();
    race.runner("webtransport").handlers.closed(1006, "refused");
    expect(race.started).toEqual(["webtransport", "websocket"]);
    race.runner("websocket").handlers.closed(1006, "away");
    expect([race.said, race.kept.size]).toEqual([[1006], 0]);
    vi.useRealTimers();
  });
});

/** As much of a browser's session as the transport uses. */
class FakeSession {
  static last: FakeSession;
  readonly ready = Promise.resolve();
  readonly closed: Promise<{ closeCode?: number; reason?: string }>;
  end!: (how: { closeCode?: number; reason?: string }) => void;
  readonly written: Uint8Array[] = [];
  say!: (message: string) => void;
  readonly datagrams = { readable: new ReadableStream<Uint8Array>() };
  readonly incomingUnidirectionalStreams = new ReadableStream<ReadableStream<Uint8Array>>();

  constructor(
    readonly url: string,
    readonly options: WebTransportOptions,
  ) {
    FakeSession.last = this;
    this.closed = new Promise((resolve) => (this.end = resolve));
  }

  createBidirectionalStream(): Promise<unknown> {
    const readable = new ReadableStream<Uint8Array>({ start: (to) => void (this.say = (message) => to.enqueue(framed(message))) });
    const writable = new WritableStream<Uint8Array>({ write: (part) => void this.written.push(part) });
    return Promise.resolve({ readable, writable });
  }

  close(): void {
    this.end({ closeCode: 0, reason: "" });
  }
}

describe("a session over WebTransport", () => {
  it("asks for the socket's query at /wt, says a first word, and hears why it ends", async () => {
    const connect = webTransport({ port: 8443, certificateHashes: ["00ff"], datagrams: true }, FakeSession as unknown as typeof WebTransport);
    const received: unknown[] = [];
    const ended = new Promise<unknown[]>((resolve) => {
      const transport = connect("wss://host/ws?token=t", {
        opened: () => transport.send("out"),
        received: (message) => {
          received.push(message);
          FakeSession.last.end({ closeCode: 4003, reason: "why" });
        },
        closed: (code, reason) => resolve([code, reason]),
      });
    });
    await vi.waitFor(() => expect(FakeSession.last.written).toHaveLength(2));
    expect(FakeSession.last.url).toBe("https://host:8443/wt?token=t&datagrams=true");
    expect(FakeSession.last.options.serverCertificateHashes).toEqual([{ algorithm: "sha-256", value: Uint8Array.of(0, 255) }]);
    expect(FakeSession.last.written.map((part) => text.decode(part.subarray(1)))).toEqual(['{"type":"heartbeat"}', "out"]);
    FakeSession.last.say("in");
    expect([await ended, received]).toEqual([[4003, "why"], ["in"]]);
  });
});

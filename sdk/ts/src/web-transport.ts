/**
 * WebTransport: the socket's messages over QUIC, for networks that lose packets and clients that change networks. Messages go
 * over one bidirectional stream, each behind its length; batches come beside it when the client asks for datagrams. Race it
 * against WebSockets with `raced`: where UDP is blocked nothing else tells so.
 */
import { LostBatches } from "./lost-batches.js";
import { type Connect, labelled, type Transport, type TransportHandlers } from "./transport.js";

export interface WebTransportOptions {
  /** The UDP port, when it is not the port of the server's address. */
  port?: number;
  /** SHA-256 hashes, in hexadecimal, of certificates that are believed without an authority: of development servers. */
  certificateHashes?: readonly string[];
  /** Batches by datagram: a lost one delays nothing and is counted as omitted. Default: everything over the stream. */
  datagrams?: boolean;
}

const NORMAL = 1000;
const ABNORMAL = 1006;
/** The longest message of a server that is believed. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const HEARTBEAT = '{"type":"heartbeat"}';

/** Whether this platform has WebTransport. */
export function hasWebTransport(): boolean {
  return typeof globalThis.WebTransport === "function";
}

/** Opens WebTransport sessions with the given constructor (the platform's own by default). */
export function webTransport(options: WebTransportOptions = {}, Session: typeof WebTransport = globalThis.WebTransport): Connect {
  return labelled("webtransport", (url, handlers) => {
    try {
      return new StreamTransport(new Session(addressOf(url, options), sessionOptions(options)), handlers);
    } catch (error) {
      // A platform that refuses the address or the hashes is one without WebTransport.
      queueMicrotask(() => handlers.closed(ABNORMAL, String(error)));
      return { send: () => undefined, close: () => undefined };
    }
  });
}

/** `wss://host/ws?query` as `https://host/wt?query`. */
function addressOf(url: string, { port, datagrams }: WebTransportOptions): string {
  const address = new URL(url);
  address.protocol = "https:";
  address.pathname = "/wt";
  if (port !== undefined) address.port = String(port);
  if (datagrams) address.searchParams.set("datagrams", "true");
  return address.href;
}

function sessionOptions({ certificateHashes = [] }: WebTransportOptions): globalThis.WebTransportOptions {
  if (certificateHashes.length === 0) return {};
  return { serverCertificateHashes: certificateHashes.map((hash) => ({ algorithm: "sha-256", value: bytesOf(hash) })) };
}

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

class StreamTransport implements Transport {
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #over = false;
  readonly #lost = new LostBatches((message) => this.#received(message));

  constructor(
    private readonly session: WebTransport,
    private readonly handlers: TransportHandlers,
  ) {
    session.closed.then(
      ({ closeCode = 0, reason = "" }) => this.#end(closeCode === 0 ? NORMAL : closeCode, reason),
      (error: unknown) => this.#end(ABNORMAL, String(error)),
    );
    this.#open().catch((error: unknown) => this.#fail(error));
  }

  send(text: string): void {
    if (this.#over || !this.#writer) return;
    this.#writer.write(framed(text)).catch((error: unknown) => this.#fail(error));
  }

  close(reason = ""): void {
    this.#hangUp(reason);
    this.#end(NORMAL, reason);
  }

  async #open(): Promise<void> {
    await this.session.ready;
    const stream = await this.session.createBidirectionalStream();
    this.#writer = stream.writable.getWriter() as WritableStreamDefaultWriter<Uint8Array>;
    // The server learns of the stream from its first bytes.
    await this.#writer.write(framed(HEARTBEAT));
    if (this.#over) return;
    this.handlers.opened();
    this.#readBatches().catch((error: unknown) => this.#fail(error));
    await readAll(stream.readable as ReadableStream<Uint8Array>, new MessageReader((text) => this.#received(text)));
    // The end of the session, which follows, says why.
  }

  /** Both kinds carry a number and a message; neither comes unless the client asked for datagrams. */
  async #readBatches(): Promise<void> {
    const datagrams = readEach(this.session.datagrams.readable as ReadableStream<Uint8Array>, (batch) => this.#lost.received(batch));
    const streams = readEach(this.session.incomingUnidirectionalStreams as ReadableStream<ReadableStream<Uint8Array>>, (stream) => {
      // A stream that is reset was too late: its number is missing.
      whole(stream).then((batch) => this.#lost.received(batch), () => undefined);
    });
    await Promise.all([datagrams, streams]);
  }

  #received(text: string): void {
    if (!this.#over) this.handlers.received(text);
  }

  #fail(error: unknown): void {
    // The session's own end says more, and comes at once if there is one.
    setTimeout(() => {
      this.#hangUp("");
      this.#end(ABNORMAL, String(error));
    }, 0);
  }

  #hangUp(reason: string): void {
    try {
      this.session.close({ closeCode: 0, reason });
    } catch {
      // It is closed already, or never came to be.
    }
  }

  #end(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#lost.stop();
    this.handlers.closed(code, reason);
  }
}

async function readEach<T>(from: ReadableStream<T>, take: (item: T) => void): Promise<void> {
  const reader = from.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    take(value);
  }
}

const readAll = (from: ReadableStream<Uint8Array>, to: MessageReader): Promise<void> => readEach(from, (bytes) => to.read(bytes));

async function whole(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  await readEach(stream, (part) => parts.push(part));
  return joined(parts);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A text behind its length, a varint of RFC 9000 §16. */
export function framed(text: string): Uint8Array {
  const body = new TextEncoder().encode(text);
  return joined([varint(body.length), body]);
}

function varint(value: number): Uint8Array {
  if (value < 0x40) return Uint8Array.of(value);
  if (value < 0x4000) return Uint8Array.of((value >> 8) | 0x40, value & 0xff);
  return Uint8Array.of((value >>> 24) | 0x80, (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff);
}

/** Finds the messages in a stream, however it is cut. */
export class MessageReader {
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(private readonly message: (text: string) => void) {}

  read(bytes: Uint8Array): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : joined([this.#bytes, bytes]);
    for (;;) {
      const [first] = this.#bytes;
      if (first === undefined) return;
      const start = 1 << (first >> 6);
      if (this.#bytes.length < start) return;
      const length = this.#bytes.subarray(1, start).reduce((value, byte) => value * 256 + byte, first & 0x3f);
      if (length > MESSAGE_BYTES_MAX) throw new Error("the server sends a message of impossible length");
      if (this.#bytes.length < start + length) return;
      const message = this.#bytes.subarray(start, start + length);
      this.#bytes = this.#bytes.subarray(start + length);
      this.message(new TextDecoder().decode(message));
    }
  }
}

/**
 * Reads Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html) from a response's body, so that a
 * stream can carry an `Authorization` header and works where there is no `EventSource`, as in Node.
 */

export interface StreamEvent {
  /** Empty when the block had no data, such as the one that only says `retry`. */
  data: string;
  id: string | undefined;
}

/** A block that never ends must not fill the memory. */
const BLOCK_MAX = 4 * 1024 * 1024;

export class EventStream {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #text = "";
  #asked: Promise<StreamEvent | undefined> | undefined;

  constructor(
    body: ReadableStream<Uint8Array>,
    /** Longer silence than this ends the stream. */
    private readonly silenceMs: number,
  ) {
    this.#reader = body.getReader();
  }

  /** The next event; undefined at the end. Asking again before it came gives the same one. Rejects after `withinMs`. */
  async next(withinMs?: number): Promise<StreamEvent | undefined> {
    this.#asked ??= this.#read().finally(() => (this.#asked = undefined));
    if (withinMs === undefined) return this.#asked;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error("too late")), withinMs)));
    try {
      return await Promise.race([this.#asked, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #read(): Promise<StreamEvent | undefined> {
    for (;;) {
      const end = /\r?\n\r?\n/.exec(this.#text);
      if (end) {
        const block = this.#text.slice(0, end.index);
        this.#text = this.#text.slice(end.index + end[0].length);
        const event = parseBlock(block);
        if (event) return event;
        continue;
      }
      const chunk = await this.#chunk();
      if (chunk === undefined || this.#text.length + chunk.length > BLOCK_MAX) {
        void this.#reader.cancel().catch(() => undefined);
        return undefined;
      }
      this.#text += chunk;
    }
  }

  async #chunk(): Promise<string | undefined> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const silent = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), this.silenceMs)));
    try {
      const read = await Promise.race([this.#reader.read(), silent]);
      return read && !read.done ? this.#decoder.decode(read.value, { stream: true }) : undefined;
    } catch {
      return undefined; // aborted, or the network went
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Undefined for a comment, which is only a sign of life. */
function parseBlock(block: string): StreamEvent | undefined {
  const data: string[] = [];
  let id: string | undefined;
  let fields = 0;
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (line === "" || colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    fields++;
    if (name === "data") data.push(value);
    else if (name === "id") id = value;
  }
  return fields > 0 ? { data: data.join("\n"), id } : undefined;
}

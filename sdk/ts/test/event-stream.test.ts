import { describe, expect, it } from "vitest";
import { EventStream } from "../src/event-stream.js";

function stream(chunks: string[], silenceMs = 1_000, ends = true): EventStream {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
      if (ends) controller.close();
    },
  });
  return new EventStream(body, silenceMs);
}

describe("an event stream", () => {
  it("reads events cut anywhere, and passes over signs of life", async () => {
    const events = stream(["retry: 3000\n\n: keep-al", "ive\n\nid: 7\nevent: comments\nda", "ta: {\"a\":\ndata: 1}\r\n\r\n"]);
    expect(await events.next()).toEqual({ data: "", id: undefined });
    expect(await events.next()).toEqual({ data: '{"a":\n1}', id: "7" });
    expect(await events.next()).toBeUndefined();
  });

  it("gives the same event to whoever asks again", async () => {
    const events = stream(["data: 1\n\n", "data: 2\n\n"]);
    const [first, again] = await Promise.all([events.next(), events.next()]);
    expect([first, again, await events.next()].map((event) => event?.data)).toEqual(["1", "1", "2"]);
  });

  it("ends after silence, and does not wait longer than asked", async () => {
    const events = stream([], 40, false);
    await expect(events.next(5)).rejects.toThrow("too late");
    expect(await events.next()).toBeUndefined();
  });
});

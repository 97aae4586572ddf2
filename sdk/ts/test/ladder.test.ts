import { describe, expect, it } from "vitest";
import { TransportLadder } from "../src/ladder.js";
import { type Connect, labelled, UNUSABLE } from "../src/transport.js";

const [socket, stream, poll] = ["socket", "stream", "poll"].map((name) => labelled(name, () => ({ send: () => undefined, close: () => undefined }))) as [Connect, Connect, Connect];
const ladder = (): TransportLadder => new TransportLadder([socket, stream, poll]);

describe("the ladder of transports", () => {
  it("goes down one by one where nothing connects, and begins anew", () => {
    const down = ladder();
    const taken = [0, 1, 2, 3].map(() => {
      const { label } = down.current;
      down.ended(undefined, 1006);
      return label;
    });
    expect(taken).toEqual(["socket", "stream", "poll", "socket"]);
  });

  it("stays with what has worked while the server is away for a while", () => {
    const down = ladder();
    down.ended(2_000, 1006);
    for (let i = 0; i < 5; i++) down.ended(undefined, 1006);
    expect(down.current).toBe(socket);
    down.ended(undefined, 1006);
    expect(down.current).toBe(stream);
    // It is looked for again soon.
    expect([down.nextProbeMs(), down.nextProbeMs()]).toEqual([2_000, 60_000]);
  });

  it("leaves one that only ever connects for a moment", () => {
    const down = ladder();
    for (let i = 0; i < 3; i++) down.ended(500, 1006);
    expect(down.current).toBe(stream);
  });

  it("leaves one at once that cannot work here", () => {
    const down = ladder();
    down.ended(undefined, 1006);
    down.ended(20, UNUSABLE);
    expect(down.current).toBe(poll);
    expect(down.better).toBe(socket);
    expect([down.nextProbeMs(), down.nextProbeMs(), down.nextProbeMs()]).toEqual([30_000, 60_000, 120_000]);
    down.climb();
    expect([down.current, down.better]).toEqual([socket, undefined]);
  });
});

import { describe, expect, it } from "vitest";
import { orderedDelay } from "../src/retry.js";
import { fullJitter, ServerClock } from "../src/index.js";
import { SeenIds } from "../src/seen.js";
import { parseMessage } from "../src/types.js";

describe("full jitter", () => {
  it("has a ceiling that doubles from 1 s to 30 s", () => {
    const wait = fullJitter({ random: () => 1 });
    expect([1, 2, 3, 4, 5, 6, 7, 1_000].map(wait)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  it("spreads over the whole range below it", () => {
    const waits = Array.from({ length: 2_000 }, () => fullJitter()(4));
    expect(Math.min(...waits)).toBeLessThan(400);
    expect(Math.max(...waits)).toBeGreaterThan(7_600);
  });

  it("obeys only a number of milliseconds, within reason", () => {
    expect(orderedDelay("1500")).toBe(1_500);
    expect(orderedDelay("999999999")).toBe(60_000);
    for (const reason of ["", "soon", "-5", "1.5", "1e9"]) expect(orderedDelay(reason)).toBeUndefined();
  });
});

describe("server clock", () => {
  it("believes the shortest round trip", () => {
    let t = 0;
    const clock = new ServerClock(() => t);
    clock.observe(0, 400, 1_000_000); // wrong by up to 200
    clock.observe(500, 520, 1_000_310); // 510 here is 1,000,310 there
    clock.observe(600, 900, 1_000_900);
    t = 1_510;
    expect(clock.now()).toBe(1_001_310);
    expect(clock.until(1_001_400)).toBe(90);
    expect(clock.errorMs).toBe(10);
  });

  it("follows a drifting server because old samples are forgotten", () => {
    const clock = new ServerClock(() => 0);
    clock.observe(0, 1, 100);
    for (let i = 0; i < 8; i++) clock.observe(0, 10, 5_005);
    expect(clock.now()).toBe(5_000);
  });

  it("is this computer's own before the first sample", () => {
    const before = Date.now();
    const now = new ServerClock().now();
    expect(now).toBeGreaterThan(before - 50);
    expect(now).toBeLessThan(Date.now() + 50);
  });
});

describe("seen ids", () => {
  it("remembers the last N and no more", () => {
    const seen = new SeenIds(2);
    expect(["a", "b", "a", "c", "a"].map((id) => seen.add(id))).toEqual([true, true, false, true, true]);
    expect(seen.size).toBe(2);
  });
});

describe("parsing", () => {
  it("takes objects with a type and nothing else", () => {
    expect(parseMessage('{"type":"x","y":1}')).toEqual({ type: "x", y: 1 });
    for (const text of ["", "null", "1", "[]", "{}", '{"type":1}', "{"]) expect(parseMessage(text)).toBeUndefined();
  });
});

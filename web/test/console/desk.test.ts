// The desk's pure parts: the queue's rows under other moderators' hands, figures, a fair sample, ids by time.
import { describe, expect, test } from "vitest";
import type { Review } from "@barrage/client";
import { merge } from "../../src/console/changes";
import { decisionS, figuresOf, percentile, ruleOf } from "../../src/console/desk/figures";
import { claimed, marked, merged, nextOpen, type Row, stepped, swept } from "../../src/console/desk/queue";
import { sampled } from "../../src/console/desk/sample";
import { idAt } from "../../src/console/snowflake";

const review = (id: string, more: Partial<Review> = {}): Review => ({
  id, room_id: "hall", user_id: "u", content: id, created_at: "2026-01-01T00:00:00.000Z", status: "pending", ...more,
});
const listed = (...ids: string[]) => ids.map((id) => review(id));
const none: ReadonlySet<string> = new Set();
const order = (rows: readonly Row[]) => rows.map(({ review: { id } }) => id).join("");
const states = (rows: readonly Row[]) => rows.map(({ mark }) => mark?.state ?? "open");

describe("the queue", () => {
  const abc = merged([], listed("a", "b", "c"), none);

  test("keeps places: what others decide stays until it is swept, and new ones come at the end", () => {
    const now = merged(abc, listed("b", "c", "d"), none);
    expect(order(now)).toBe("abcd");
    expect(states(now)).toEqual(["elsewhere", "open", "open", "open"]);
    const left = swept(now, none, undefined);
    expect(order(left.rows)).toBe("bcd");
    // An answer that was on its way does not bring it back.
    expect(order(merged(left.rows, listed("a", "b", "c", "d"), left.gone))).toBe("bcd");
  });

  test("does not sweep the row in hand, nor what can still be taken back", () => {
    const waiting = marked(merged(abc, listed("b", "c"), none), ["b"], { state: "waiting", decision: "reject" });
    expect(order(swept(waiting, none, "a").rows)).toBe("abc");
    const done = marked(waiting, ["b"], { state: "done", decision: "reject" });
    expect(order(swept(done, none, "a").rows)).toBe("ac");
  });

  test("a decision made here outlives a list that does not know of it, and goes when it is taken back", () => {
    const waiting = marked(abc, ["b"], { state: "waiting", decision: "approve" });
    expect(states(merged(waiting, listed("a", "b", "c"), none))).toEqual(["open", "waiting", "open"]);
    expect(states(merged(waiting, listed("a", "c"), none))).toEqual(["open", "waiting", "open"]);
    expect(states(marked(waiting, ["b"], undefined))).toEqual(["open", "open", "open"]);
  });

  test("what somebody gave back is open again", () => {
    const gone = merged(abc, listed("a", "c"), none);
    expect(states(merged(gone, listed("a", "b", "c"), none))).toEqual(["open", "open", "open"]);
  });

  test("goes on with what nobody else has, and with the others' only when nothing else is left", () => {
    const taken = claimed(abc, "b", "ben");
    expect(nextOpen(taken, "a", "ann")).toBe("c");
    expect(nextOpen(taken, "a", "ben")).toBe("b");
    expect(nextOpen(marked(taken, ["a", "c"], { state: "done", decision: "reject" }), "c", "ann")).toBe("b");
    expect(nextOpen(marked(abc, ["a", "b", "c"], { state: "done", decision: "reject" }), "c", "ann")).toBeUndefined();
    expect(nextOpen(abc, "c", "ann")).toBe("b");
  });

  test("steps stay within the list", () => {
    expect([stepped(abc, "a", 1), stepped(abc, "a", -1), stepped(abc, "b", 99), stepped(abc, undefined, 1), stepped([], "a", 1)]).toEqual(["b", "a", "c", "a", undefined]);
  });
});

describe("figures", () => {
  const decided = (id: string, status: Review["status"], seconds: number, by: string, more: Partial<Review>): Review =>
    review(id, { status, decided_by: by, decided_at: new Date(Date.parse("2026-01-01T00:00:00Z") + seconds * 1000).toISOString(), ...more });

  test("count by rule and by moderator, and call an approved comment a false alarm", () => {
    const figures = figuresOf([
      decided("1", "approved", 10, "ann", { word: "bad" }),
      decided("2", "rejected", 20, "ann", { word: "worse" }),
      decided("3", "rejected", 30, "ben", { reason: "first_time" }),
      decided("4", "rejected", 600, "ben", { reason: "the hook did not answer: timeout" }),
      review("5", { reason: "first_time" }),
    ]);
    expect(figures).toMatchObject({ held: 5, pending: 1, approved: 1, rejected: 3, falseAlarms: 0.25, p50S: 20, p95S: 600 });
    expect(figures.byRule).toEqual([
      { rule: "words", held: 2, approved: 1, rejected: 1, falseAlarms: 0.5 },
      { rule: "first_time", held: 2, approved: 0, rejected: 1, falseAlarms: 0 },
      { rule: "the hook did not answer", held: 1, approved: 0, rejected: 1, falseAlarms: 0 },
    ]);
    expect(figures.byModerator).toEqual([
      { who: "ann", decided: 2, p50S: 10, p95S: 20 },
      { who: "ben", decided: 2, p50S: 30, p95S: 600 },
    ]);
    expect(figuresOf([])).toMatchObject({ held: 0, falseAlarms: 0, p50S: null, p95S: null });
  });

  test("survive clocks that step and reasons that say nothing", () => {
    expect(decisionS({ created_at: "2026-01-01T00:00:10Z", decided_at: "2026-01-01T00:00:00Z" })).toBe(0);
    expect(decisionS({ created_at: "2026-01-01T00:00:10Z" })).toBeUndefined();
    expect([ruleOf({}), ruleOf({ reason: ": " }), ruleOf({ reason: "hook" })]).toEqual(["other", "other", "hook"]);
    expect([percentile([], 0.5), percentile([1], 0.95), percentile([3, 1, 2], 0.5)]).toEqual([undefined, 1, 2]);
  });
});

test("a sample is of the size asked for, in order, and fair", () => {
  expect(sampled([1, 2], 5)).toEqual([1, 2]);
  const counts = new Array<number>(20).fill(0);
  for (let turn = 0; turn < 4000; turn++) {
    const drawn = sampled([...counts.keys()], 5);
    expect(drawn).toEqual([...drawn].sort((a, b) => a - b));
    for (const n of drawn) counts[n] = (counts[n] ?? 0) + 1;
  }
  for (const count of counts) expect(count).toBeGreaterThan(800);
});

test("ids of moments grow with time and are those of the server's layout", () => {
  expect(idAt(Date.UTC(2024, 0, 1) + 5)).toBe(String(5n << 22n));
  expect(BigInt(idAt(2)) < BigInt(idAt(Date.now()))).toBe(true);
  expect(idAt(0)).toBe(String(1n << 22n));
});

test("a merge patch says what is gone with null, inside of objects too", () => {
  const before = { links: "none", similar: 0.8, thresholds: { spam: { verdict: "hold", score: 0.7 }, insult: { verdict: "deny", score: 0.9 } } };
  const after = { similar: 0.8, unique_s: 60, thresholds: { spam: { verdict: "hold", score: 0.5 } } };
  expect(merge<Record<string, unknown>>(before, after)).toEqual({ links: null, unique_s: 60, thresholds: { spam: { score: 0.5 }, insult: null } });
  expect(merge(before, before)).toEqual({});
});

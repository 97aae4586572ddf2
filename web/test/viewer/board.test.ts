// The board of a recording follows its time, forwards and back.
import { describe, expect, test } from "vitest";
import type { RecordedEvent } from "@barrage/client";
import { Combos } from "../../src/shared/combos";
import { RecordedBoard } from "../../src/viewer/recorded-board";

const event = (offset_ms: number, question: string): RecordedEvent => ({
  type: "event", kind: "poll", event_id: String(offset_ms), poll_id: "1", question, options: [], state: "open", ends_at: "2026-01-01T00:00:00Z", offset_ms,
});

describe("the board of a recording", () => {
  test("shows each event once at its time, and begins anew after a jump back", () => {
    const told: string[] = [];
    const board = new RecordedBoard({ clear: () => told.push("clear"), show: (shown) => told.push(String(shown.offset_ms)) });
    board.load([event(3000, "c"), event(1000, "a"), event(2000, "b")]);
    for (const at of [0, 1000, 1500, 2500, 2500, 1200, 9000]) board.at(at);
    expect(told).toEqual(["clear", "1000", "2000", "clear", "1000", "2000", "3000"]);
    board.load([]);
    board.at(9000);
    expect(told.slice(7)).toEqual(["clear"]);
  });
});

test("a gift goes on in the line of the same gift of the same user, and of nobody else", () => {
  const combos = new Combos<string>();
  combos.shown({ user_id: "a", gift: "rocket" }, { line: "line 1", name: "A", count: 2 });
  expect(combos.line({ user_id: "a", gift: "rocket" })).toMatchObject({ line: "line 1", name: "A", count: 2 });
  expect(combos.line({ user_id: "a", gift: "rose" })).toBeUndefined();
  expect(combos.line({ user_id: "b", gift: "rocket" })).toBeUndefined();
});

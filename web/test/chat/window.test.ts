// The part of a long history that is drawn.
import { expect, test } from "vitest";
import { earlier, later, sliceOf, STEP, WINDOW } from "../../src/chat/window";

const keys = Array.from({ length: 1_000 }, (_, n) => `m${n}`);

test("ends with the newest message and never holds more than its size", () => {
  expect(sliceOf(keys, undefined)).toEqual({ from: 1_000 - WINDOW, to: 1_000 });
  expect(sliceOf(keys.slice(0, 7), undefined)).toEqual({ from: 0, to: 7 });
  expect(sliceOf(keys, "gone")).toEqual(sliceOf(keys, undefined));
});

test("goes up to the first message and down to the last again", () => {
  let end: string | undefined;
  let steps = 0;
  for (; sliceOf(keys, end).from > 0; steps++) end = earlier(keys, sliceOf(keys, end));
  expect(sliceOf(keys, end)).toEqual({ from: 0, to: WINDOW });
  expect(steps).toBe(Math.ceil((1_000 - WINDOW) / STEP));
  expect(earlier(keys, sliceOf(keys, end))).toBeUndefined();
  while (end !== undefined) end = later(keys, sliceOf(keys, end));
  expect(sliceOf(keys, end).to).toBe(1_000);
});

test("a short history near its beginning is drawn whole", () => {
  const few = keys.slice(0, 10);
  expect(sliceOf(few, "m3")).toEqual({ from: 0, to: 10 });
});

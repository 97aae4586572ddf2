import { describe, expect, it } from "vitest";
import { Waiting } from "../src/waiting";

describe("waiting", () => {
  const item = (name: string, priority = 0, patienceMs = 100) => ({ name, priority, patienceMs });
  const served = (waiting: Waiting<ReturnType<typeof item>>, limit = 100): string[] => {
    const names: string[] = [];
    waiting.serve(limit, ({ name }) => names.push(name) > 0);
    return names;
  };

  it("serves by priority, then the newest first", () => {
    const waiting = new Waiting<ReturnType<typeof item>>(10);
    for (const one of [item("a"), item("owner", 2), item("b"), item("own", 3), item("c")]) waiting.offer(one, 0);
    expect(served(waiting)).toEqual(["own", "owner", "c", "b", "a"]);
    expect(waiting.size).toBe(0);
  });

  it("keeps what is not taken, and looks at no more than the limit", () => {
    const waiting = new Waiting<ReturnType<typeof item>>(10);
    for (const name of ["a", "b", "c"]) waiting.offer(item(name), 0);
    const looked: string[] = [];
    waiting.serve(2, ({ name }) => looked.push(name) === 1);
    expect(looked).toEqual(["c", "b"]);
    expect(served(waiting)).toEqual(["b", "a"]);
  });

  it("counts what it drops, by reason", () => {
    const waiting = new Waiting<ReturnType<typeof item>>(3);
    for (const name of ["a", "b", "c", "d"]) waiting.offer(item(name, name === "a" ? 1 : 0), 0);
    expect(waiting.dropped).toEqual({ late: 0, crowded: 1, cleared: 0 });
    waiting.remove(({ name }) => name === "d");
    waiting.expire(101);
    expect(waiting.dropped).toEqual({ late: 2, crowded: 1, cleared: 1 });
  });
});

describe("merging", () => {
  interface Said { text: string; count: number; priority: number; patienceMs: number }
  const said = (text: string, priority = 0): Said => ({ text, count: 1, priority, patienceMs: 100 });
  const merging = { key: ({ text }: Said) => text, merge: (into: Said, { count }: Said) => void (into.count += count) };

  it("makes one of equal ones that wait, and of no others", () => {
    const waiting = new Waiting<Said>(10, merging);
    for (const text of ["a", "b", "a", "a"]) waiting.offer(said(text), 0, true);
    waiting.offer(said("a"), 0, false);
    expect([waiting.size, waiting.merged]).toEqual([3, 2]);
    const served: string[] = [];
    waiting.serve(10, ({ text, count }) => served.push(`${text}×${count}`) > 0);
    expect(served).toEqual(["a×1", "b×1", "a×3"]);
  });

  it("begins anew once one has left", () => {
    const waiting = new Waiting<Said>(10, merging);
    waiting.offer(said("a"), 0, true);
    waiting.serve(1, () => true);
    waiting.offer(said("a"), 0, true);
    waiting.expire(200);
    waiting.offer(said("a"), 300, true);
    expect([waiting.size, waiting.merged]).toEqual([1, 0]);
  });
});

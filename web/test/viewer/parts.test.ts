import type { Comment } from "@barrage/client";
import { describe, expect, it } from "vitest";
import { isWanted, mayFly, toStageItem } from "../../src/viewer/choose";
import { defaults, parseSettings } from "../../src/viewer/settings";
import { Waiting } from "../../src/viewer/stage/waiting";
import { Timeline } from "../../src/viewer/timeline";

const comment = (part: Partial<Comment> = {}): Comment => ({
  id: "1", room_id: "r", user_id: "u", username: "U", level: "normal", content: "hello",
  created_at: "2026-01-01T00:00:00.000Z", offset_ms: 0, like_count: 0, ...part,
});

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

describe("choosing", () => {
  const settings = defaults("en");

  it("blocks words in any case, and users", () => {
    const blocking = { ...settings, blockedWords: ["SPOILER"], blockedUsers: ["x"] };
    expect(isWanted(comment({ content: "a Spoiler!" }), blocking, undefined)).toBe(false);
    expect(isWanted(comment({ user_id: "x" }), blocking, undefined)).toBe(false);
    expect(isWanted(comment(), blocking, undefined)).toBe(true);
    expect(isWanted(comment(), settings, "someone")).toBe(false);
  });

  it("hides kinds", () => {
    expect(mayFly(comment({ style: { mode: "top" } }), { ...settings, hideTop: true })).toBe(false);
    expect(mayFly(comment(), { ...settings, hideScroll: true })).toBe(false);
    expect(mayFly(comment({ style: { color: "#ff0000" } }), { ...settings, hideColoured: true })).toBe(false);
    expect(mayFly(comment({ style: { color: "#ffffff" } }), { ...settings, hideColoured: true })).toBe(true);
  });

  it("makes one line, a count, and never trusts a colour", () => {
    const item = toStageItem(comment({ content: " a\n\tb ", count: 3, style: { color: "red;}" } }), "me");
    expect(item).toMatchObject({ text: "a b ×3", color: "#FFFFFF", mode: "scroll", look: "plain" });
  });

  it("puts own before staff before mentions before vip before the rest", () => {
    const of = (part: Partial<Comment>) => toStageItem(comment(part), "me").priority;
    const order = [of({ user_id: "me" }), of({ level: "owner" }), of({ mentions: ["me"] }), of({ level: "vip" }), of({})];
    expect(order).toEqual([...order].sort((a, b) => b - a));
    expect(new Set(order).size).toBe(5);
  });
});

describe("settings", () => {
  it("reads each stored field by itself and falls back to the default", () => {
    const stored = JSON.stringify({ on: false, opacity: 7, speed: "fast", blockedWords: ["a", 1], language: "fr", budget: 20, extra: 1 });
    expect(parseSettings(stored, "zh")).toEqual({ ...defaults("zh"), on: false, blockedWords: ["a"], budget: 20 });
  });

  it.each(["", "{", "null", "7", "[]"])("survives %j", (text) => {
    expect(parseSettings(text, "en")).toEqual(defaults("en"));
  });
});

describe("timeline", () => {
  /** A recording with a comment each second, answered in pages of ten. */
  function recording(): { timeline: Timeline; asked: string[] } {
    const asked: string[] = [];
    const timeline = new Timeline(({ from_ms, to_ms, cursor }) => {
      asked.push(`${from_ms}-${to_ms}${cursor ? `@${cursor}` : ""}`);
      const all = Array.from({ length: (to_ms - from_ms) / 1_000 }, (_, i) => comment({ id: String(from_ms + i * 1_000), offset_ms: from_ms + i * 1_000 }));
      const start = Number(cursor ?? 0);
      const next = start + 10 < all.length ? { next_cursor: String(start + 10) } : {};
      return Promise.resolve({ comments: all.slice(start, start + 10), ...next });
    });
    return { timeline, asked };
  }

  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it("hands out each comment when its time comes, window after window", async () => {
    const { timeline, asked } = recording();
    timeline.seek(0);
    await settle();
    const seen: string[] = [];
    for (let t = 0; t <= 70_000; t += 500) {
      const due = timeline.advance(t);
      for (const { offset_ms } of due) expect(t - offset_ms).toBeLessThan(500);
      seen.push(...due.map(({ id }) => id));
      await settle();
    }
    expect(seen).toEqual(Array.from({ length: 71 }, (_, i) => String(i * 1_000)));
    expect(asked.slice(0, 3)).toEqual(["0-30000", "0-30000@10", "0-30000@20"]);
  });

  it("after a jump starts there, and forgets an answer that comes late", async () => {
    const { timeline } = recording();
    timeline.seek(0);
    timeline.seek(100_000); // before the first answer is in
    await settle();
    expect(timeline.advance(100_000).map(({ id }) => id)).toEqual(["100000"]);
    expect(timeline.advance(90_000)).toEqual([]); // a jump back by itself
    await settle();
    expect(timeline.advance(90_500).map(({ id }) => id)).toEqual(["90000"]);
  });

  it("does not hand out what the viewer just posted", async () => {
    const { timeline } = recording();
    timeline.seek(0);
    await settle();
    timeline.posted("2000");
    timeline.advance(1_000);
    expect(timeline.advance(3_000).map(({ id }) => id)).toEqual(["3000"]);
  });

  it("tells a failure", async () => {
    const failed: unknown[] = [];
    const timeline = new Timeline(() => Promise.reject(new Error("away")), (error) => failed.push(error));
    timeline.seek(0);
    await settle();
    timeline.advance(100);
    expect(failed).toHaveLength(1); // and is not hammered
  });
});

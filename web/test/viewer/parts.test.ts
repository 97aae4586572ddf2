import { type Comment, Timeline } from "@barrage/client";
import { toStageItem } from "@barrage/players";
import { describe, expect, it } from "vitest";
import { isWanted, mayFly } from "../../src/viewer/choose";
import { heatOf } from "../../src/viewer/recording";
import { defaults, parseSettings, SettingsStore } from "../../src/viewer/settings";
import { onEnter } from "../../src/viewer/ui/enter";

const comment = (part: Partial<Comment> = {}): Comment => ({
  id: "1", room_id: "r", user_id: "u", username: "U", level: "normal", content: "hello",
  created_at: "2026-01-01T00:00:00.000Z", offset_ms: 0, like_count: 0, ...part,
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

  it("tidies one line, counts, and never trusts a colour", () => {
    const item = toStageItem(comment({ content: " a \t b ", count: 3, style: { color: "red;}" } }), "me");
    expect(item).toMatchObject({ text: "a b", count: 3, color: "#FFFFFF", mode: "scroll", look: "plain" });
  });

  it("keeps the lines of art and the spaces that shape it", () => {
    const item = toStageItem(comment({ content: "\n  /\\\u3000 /\\  \r\n (  o.o ) \n" }), "me");
    expect(item.text).toBe("  /\\\u3000 /\\\n (  o.o )");
  });

  it("blocks by regular expression, and takes one that cannot be compiled for a word", () => {
    const blocking = (word: string) => ({ ...settings, blockedWords: [word] });
    expect(isWanted(comment({ content: "66666" }), blocking("/^6+$/"), undefined)).toBe(false);
    expect(isWanted(comment({ content: "666 ok" }), blocking("/^6+$/"), undefined)).toBe(true);
    expect(isWanted(comment({ content: "HAHA" }), blocking("/ha{1}/i"), undefined)).toBe(false);
    expect(isWanted(comment({ content: "hello" }), blocking("/(/"), undefined)).toBe(true);
    expect(isWanted(comment({ content: "what is /(/ for" }), blocking("/(/"), undefined)).toBe(false);
  });

  it("makes what speaks to the viewer stand out", () => {
    expect(toStageItem(comment({ mentions: ["me"], level: "owner" }), "me").look).toBe("mention");
    expect(toStageItem(comment({ mentions: ["me"], user_id: "me" }), "me").look).toBe("own");
  });

  it("places a positioned comment or leaves it out, and shows its list to nobody", () => {
    const placed = comment({ kind: "imported", content: '["0.5","0.2","1-0.5",4,"a/nb",90,0,"336","219",500,0]' });
    const item = toStageItem(placed, "me");
    expect(item.text).toBe("a\nb");
    expect(item.path).toMatchObject({ x: 0.5, y: 0.2, alphaFrom: 1, alphaTo: 0.5, lastsMs: 4_000, toX: 0.5, toY: 0.5, moveMs: 500 });
    expect(isWanted(placed, settings, undefined)).toBe(true);
    expect(isWanted({ ...placed, kind: "comment" }, settings, undefined)).toBe(false);
    expect(isWanted(comment({ kind: "imported", content: '["0.5","0.2","1-1"' }), settings, undefined)).toBe(false);
    expect(isWanted(comment({ kind: "imported", content: "[0.5] stars" }), settings, undefined)).toBe(true);
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

describe("settings of two tabs", () => {
  const shared = () => {
    const kept = new Map<string, string>();
    return { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, text: string) => void kept.set(key, text) };
  };

  it("do not undo each other", () => {
    const storage = shared();
    const [one, two] = [new SettingsStore(storage, "en"), new SettingsStore(storage, "en")];
    one.change({ blockedWords: ["spoiler"] });
    two.change({ opacity: 0.5 });
    expect(new SettingsStore(storage, "en").value).toMatchObject({ blockedWords: ["spoiler"], opacity: 0.5 });
  });

  it("keep a list that did not change", () => {
    const store = new SettingsStore(shared(), "en");
    store.change({ blockedWords: ["a"] });
    const before = store.value.blockedWords;
    store.change({ speed: 2 });
    expect(store.value.blockedWords).toBe(before);
  });
});

describe("heat of a recording", () => {
  it("is highest where most was said, and nothing without comments", () => {
    const heat = heatOf([1_000, 5_000, 5_100, 5_200, 9_999], 10_000, 10);
    expect(heat).toHaveLength(10);
    expect(heat.indexOf(1)).toBe(5);
    expect(Math.max(...heatOf([], 10_000, 10))).toBe(0);
  });
});

describe("Enter", () => {
  const field = () => {
    const target = new EventTarget();
    let entered = 0;
    onEnter(target as HTMLInputElement, () => entered++);
    const key = (part: object) => target.dispatchEvent(Object.assign(new Event("keydown", { cancelable: true }), { key: "Enter", keyCode: 13, isComposing: false, ...part }));
    return { target, key, count: () => entered };
  };

  it("sends, but not while a word is composed, in either order of events", () => {
    const { target, key, count } = field();
    expect(key({})).toBe(false); // the form is not submitted by the key itself
    expect(count()).toBe(1);
    key({ isComposing: true });
    target.dispatchEvent(new Event("compositionend"));
    key({ keyCode: 229 });
    key({}); // Safari: at once after the end of the composition
    expect(count()).toBe(1);
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

/** A recording read as segments, from a server of this file: which requests it makes, and what it does when there are none. */
import { beforeEach, describe, expect, it } from "vitest";
import { type Api, BarrageError, type Comment, type ReplayQuery, Timeline } from "../src/index.js";
import { Recording, type SegmentManifest } from "../src/recording.js";

const MINUTE = 60_000;
const SIX = 6 * MINUTE;

let comments: Comment[];
let asked: string[];
let manifest: SegmentManifest | undefined;
/** Segments by address; a replaced one is not there any more. */
let stored: Map<string, Comment[]>;

const comment = (id: string, offset_ms: number, user_id = "u"): Comment => ({
  id, room_id: "r", session_id: "s", user_id, username: user_id, level: "normal", content: `c${id}`, created_at: "2026-01-01T00:00:00.000Z", offset_ms, like_count: 0,
});

const gone = (): Promise<never> => Promise.reject(new BarrageError("not_found", "there is no such segment any more", undefined, 404));

const api = {
  read: (url: string, { cache }: { cache?: string }) => {
    const isManifest = url.endsWith("/segments");
    asked.push(isManifest ? `manifest ${cache}` : url);
    const answer = isManifest ? manifest : stored.has(url) ? { comments: stored.get(url) } : undefined;
    return answer ? Promise.resolve(Response.json(answer, { headers: { "cache-control": "public, max-age=5" } })) : gone();
  },
  replay: (_room: string, { from_ms = 0, to_ms = Infinity, by_user, limit, cursor }: ReplayQuery) => {
    asked.push(`replay ${from_ms}-${to_ms}${cursor ? ` ${cursor}` : ""}`);
    const found = comments.filter((one) => one.offset_ms >= from_ms && one.offset_ms < to_ms && (by_user ?? one.user_id) === one.user_id);
    const at = Number(cursor ?? 0);
    const end = at + (limit ?? 1_000);
    return Promise.resolve({ comments: found.slice(at, end), ...(end < found.length ? { next_cursor: String(end) } : {}) });
  },
} as unknown as Api;

/** What the server has, in segments of the n-th revision. */
function publish(revision: number, complete = true): void {
  stored = new Map();
  for (const one of comments) {
    const url = `/${Math.floor(one.offset_ms / SIX)}/${revision}`;
    stored.set(url, [...(stored.get(url) ?? []), one]);
  }
  const segments = [...stored.entries()].map(([url, list]) => {
    const n = Number(url.split("/")[1]);
    return { n, from_ms: n * SIX, to_ms: (n + 1) * SIX, count: list.length, url };
  });
  manifest = { session_id: "s", segment_ms: SIX, complete, segments, is_public: true };
}

beforeEach(() => {
  asked = [];
  comments = [comment("1", 1_000, "ann"), comment("2", 5 * MINUTE), comment("3", 6 * MINUTE - 1), comment("4", 6 * MINUTE), comment("5", 19 * MINUTE)];
  publish(1);
});

const idsOf = (list: readonly Comment[]): string => list.map(({ id }) => id).join(" ");

describe("a recording", () => {
  it("is watched with one request for six minutes", async () => {
    const recording = new Recording(api, "r", "s");
    const timeline = new Timeline(recording.window);
    const due: Comment[] = [];
    timeline.seek(0);
    for (let ms = 0; ms <= 7 * MINUTE; ms += 1_000) {
      await new Promise((next) => setImmediate(next));
      due.push(...timeline.advance(ms));
    }
    expect(idsOf(due)).toBe("1 2 3 4");
    expect(asked).toEqual(["manifest default", "/0/1", "/1/1"]);
  });

  it("gives the parts that are asked for, over the edge of a segment, of one user, and none where nobody spoke", async () => {
    const { window } = new Recording(api, "r", "s");
    expect(idsOf((await window({ from_ms: 5 * MINUTE, to_ms: 7 * MINUTE })).comments)).toBe("2 3 4");
    expect(idsOf((await window({ from_ms: 0, to_ms: SIX, by_user: "ann" })).comments)).toBe("1");
    expect(await window({ from_ms: 13 * MINUTE, to_ms: 14 * MINUTE })).toEqual({ comments: [] });
    expect(asked).toEqual(["manifest default", "/0/1", "/1/1"]);
  });

  it("reads a replaced segment at its new address, and nothing that was deleted", async () => {
    const recording = new Recording(api, "r", "s");
    expect(idsOf((await recording.window({ from_ms: 0, to_ms: SIX })).comments)).toBe("1 2 3");
    comments = comments.filter(({ id }) => id !== "4");
    publish(2);
    expect(idsOf((await recording.window({ from_ms: 19 * MINUTE, to_ms: 20 * MINUTE })).comments)).toBe("5");
    expect(asked).toEqual(["manifest default", "/0/1", "/3/1", "manifest no-cache", "/3/2"]);
    recording.remove(["2"]);
    expect(idsOf((await recording.window({ from_ms: 0, to_ms: SIX })).comments)).toBe("1 3");
  });

  it("comes from the API where there are no segments, and does not ask for them again", async () => {
    manifest = undefined;
    const { window } = new Recording(api, "r", "s");
    for (const from_ms of [0, 30_000]) await window({ from_ms, to_ms: from_ms + 30_000 });
    expect(asked).toEqual(["manifest default", "replay 0-30000", "replay 30000-60000"]);
  });

  it("comes from the API where a segment cannot be read", async () => {
    stored.clear();
    const { window } = new Recording(api, "r", "s");
    expect(idsOf((await window({ from_ms: 0, to_ms: 2_000 })).comments)).toBe("1");
    expect(asked.at(-1)).toBe("replay 0-2000");
  });

  it("comes from the API at the end of a session that is still running", async () => {
    publish(1, false);
    const { window } = new Recording(api, "r", "s");
    expect(idsOf((await window({ from_ms: 5 * MINUTE, to_ms: SIX })).comments)).toBe("2 3");
    expect(idsOf((await window({ from_ms: 19 * MINUTE, to_ms: 20 * MINUTE })).comments)).toBe("5");
    expect(asked).toEqual(["manifest default", "/0/1", `replay ${19 * MINUTE}-${20 * MINUTE}`]);
  });

  it("is listed whole, from segments or pages or both", async () => {
    const all = async (): Promise<string> => {
      const found: Comment[] = [];
      for await (const piece of new Recording(api, "r", "s").all()) found.push(...piece);
      return idsOf(found);
    };
    expect(await all()).toBe("1 2 3 4 5");
    expect(asked).toEqual(["manifest default", "/0/1", "/1/1", "/3/1"]);
    publish(1, false);
    expect(await all()).toBe("1 2 3 4 5");
    stored.delete("/1/1");
    publish(2);
    stored.delete("/1/2");
    expect(await all()).toBe("1 2 3 4 5");
    manifest = undefined;
    expect(await all()).toBe("1 2 3 4 5");
  });
});

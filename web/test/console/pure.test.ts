// The console's pure parts: metrics, word lists, the order of rooms, what a key may moderate, both languages complete.
import type { RoomInfo } from "@barrage/client";
import { describe, expect, test } from "vitest";
import { changes } from "../../src/console/changes";
import { byLabel, parseMetrics, total } from "../../src/console/metrics";
import { sortRooms } from "../../src/console/room-order";
import { isToken, scopeOf } from "../../src/console/scope";
import { en } from "../../src/console/strings-en";
import { zh } from "../../src/console/strings-zh";
import { parseWords } from "../../src/console/word-list";

describe("metrics", () => {
  const samples = parseMetrics(
    [
      "# HELP barrage_comments Comments by outcome.",
      "# TYPE barrage_comments counter",
      'barrage_comments_total{outcome="accepted"} 40',
      'barrage_comments_total{outcome="accepted",node="b"} 2',
      'barrage_comments_total{outcome="rate_limited"} 7',
      'barrage_comments_total{outcome="muted"} 0',
      'odd{text="a \\"b\\", c} \\n"} 1.5e3',
      "barrage_connections 12 1700000000",
      "barrage_broken{ nonsense",
      "# EOF",
    ].join("\n"),
  );

  test("are summed over their labels", () => {
    expect(total(samples, "barrage_comments_total")).toBe(49);
    expect(total(samples, "barrage_connections")).toBe(12);
    expect(total(samples, "barrage_unknown")).toBeNull();
  });

  test("are split by one label, largest first, without zeros", () => {
    expect(byLabel(samples, "barrage_comments_total", "outcome")).toEqual([
      ["accepted", 42],
      ["rate_limited", 7],
    ]);
  });

  test("may have quotes, commas and braces in a label", () => {
    expect(samples.find((sample) => sample.name === "odd")).toEqual({
      name: "odd",
      labels: { text: 'a "b", c} \n' },
      value: 1500,
    });
  });
});

test("a pasted list loses blank lines, spaces around words, and repeats", () => {
  expect(parseWords("  广告 \r\n\nbad word\n广告\n \n")).toEqual(["广告", "bad word"]);
});

test("only what was changed is saved", () => {
  const before = { name: "A", slow_mode_s: 0, limits: { user_per_s: 1 } as Record<string, number>, video_url: null as string | null };
  expect(changes(before, { ...before })).toEqual({});
  expect(changes(before, { ...before, slow_mode_s: 5, limits: {}, video_url: "/v.mp4" })).toEqual({
    slow_mode_s: 5,
    limits: {},
    video_url: "/v.mp4",
  });
  expect(changes({ ...before, video_url: "/v.mp4" }, before)).toEqual({ video_url: null });
});

test("live rooms come first, then the most watched", () => {
  const room = (room_id: string, state: RoomInfo["state"], viewers: number) =>
    ({ room_id, name: "", state, viewers, accepts_comments: true }) as RoomInfo;
  const rooms = [room("b", "idle", 9), room("a", "idle", 9), room("c", "live", 1), room("d", "live", 5), room("e", "starting", 0)];
  expect(sortRooms(rooms).map((one) => one.room_id)).toEqual(["d", "c", "e", "a", "b"]);
});

describe("what a key may moderate", () => {
  const token = (claims: object) =>
    `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;

  test("the admin key and level admin: everything", () => {
    expect(scopeOf("a-long-admin-key").everything).toBe(true);
    expect(scopeOf(token({ sub: "root", level: "admin" }))).toEqual({ everything: true, rooms: [], userId: "root" });
  });

  test("a moderator: the rooms of the token", () => {
    expect(scopeOf(token({ sub: "小明", level: "moderator", rooms: ["hall", 7] }))).toEqual({
      everything: false,
      rooms: ["hall"],
      userId: "小明",
    });
  });

  test("only a JWT counts as a token", () => {
    expect(isToken(token({ sub: "x" }))).toBe(true);
    for (const key of ["", "secret", "a.b.c", "10.0.0.1"]) expect(isToken(key)).toBe(false);
  });
});

test("both languages fill the same places", () => {
  const places = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
  for (const key of Object.keys(en) as (keyof typeof en)[]) {
    expect(places(zh[key]), key).toEqual(places(en[key]));
  }
});

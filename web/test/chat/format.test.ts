// The messenger's pure parts: how times, sizes, links and ids are shown, and that both languages are complete.
import { describe, expect, test } from "vitest";
import { dayName, fileSize, hueOf, initial, isId, listTime, parseIds, pieces } from "../../src/chat/format";

const NOW = new Date(2026, 5, 10, 15, 0).getTime();
const at = (day: number, hour = 9): string => new Date(2026, 5, day, hour, 5).toISOString();
const words = { today: "Today", yesterday: "Yesterday" };

describe("times", () => {
  test("are a clock today, a weekday this week, a date before", () => {
    expect([at(10), at(8), at(1)].map((iso) => listTime(iso, "en", NOW))).toEqual(["09:05", "Mon", "6/1/26"]);
    expect(listTime("nonsense", "en", NOW)).toBe("");
  });

  test("days are named as people do, by the calendar and not by 24 hours", () => {
    expect(dayName(at(10, 0), "en", words, NOW)).toBe("Today");
    expect(dayName(at(9, 23), "en", words, NOW)).toBe("Yesterday");
    expect(dayName(at(8), "en", words, NOW)).toBe("Monday, June 8");
    expect(dayName(at(8), "zh-CN", words, NOW)).toBe("6月8日星期一");
    expect(dayName("2024-02-03T12:00:00.000Z", "en", words, NOW)).toBe("Saturday, February 3, 2024");
  });
});

describe("links", () => {
  test("are web addresses and nothing else", () => {
    expect(pieces("see https://a.example/x?y=1, or (http://b.example/) now")).toEqual([
      { text: "see " }, { text: "https://a.example/x?y=1", href: "https://a.example/x?y=1" }, { text: ", or (" },
      { text: "http://b.example/", href: "http://b.example/" }, { text: ") now" },
    ]);
    expect(pieces("看https://例子.example/路，好")).toEqual([{ text: "看" }, { text: "https://例子.example/路", href: "https://例子.example/路" }, { text: "，好" }]);
  });

  test("no other scheme, no markup", () => {
    for (const text of ["javascript:alert(1)", "<img src=x onerror=alert(1)>", "data:text/html,x", "http://", "ftp://a.example"]) {
      expect(pieces(text)).toEqual([{ text }]);
    }
  });

  test("lose not a character of the text", () => {
    for (const text of ["", "https://a.example", "a https://a.example.", "https://a https://b", "\n https://x.example\n"]) {
      expect(pieces(text).map((piece) => piece.text).join("")).toBe(text);
    }
  });
});

test("sizes are in binary units", () => {
  expect([0, 999, 1024, 1536, 20_000, 5 * 2 ** 20, 3 * 2 ** 30, 2 ** 50].map(fileSize)).toEqual(["0 B", "999 B", "1.0 KiB", "1.5 KiB", "20 KiB", "5.0 MiB", "3.0 GiB", "1048576 GiB"]);
});

test("a name has a letter and an id a colour", () => {
  expect([initial("ann"), initial(" 小明"), initial("🦊 fox"), initial("")]).toEqual(["A", "小", "🦊", "?"]);
  expect(hueOf("ann")).toBe(hueOf("ann"));
});

test("ids are separated by what people type between them", () => {
  expect(parseIds(" ann, bob；cleo\nann 丁")).toEqual(["ann", "bob", "cleo", "丁"]);
  expect(["ann", "a:b@c.d-e_f", "丁", "", "a b", "x".repeat(65)].map(isId)).toEqual([true, true, false, false, false, false]);
});

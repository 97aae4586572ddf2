import { describe, expect, test } from "vitest";
import { matches, snippet, wordsOf } from "../../src/chat/search-text";

const shown = (text: string, query: string): string => snippet(text, wordsOf(query)).map(({ text, hit }) => (hit ? `[${text}]` : text)).join("");

describe("a search", () => {
  test("wants every word, in any case and inside words", () => {
    expect(wordsOf("  Tea tea\tPOT ")).toEqual(["tea", "pot"]);
    expect(matches("The TEApot", wordsOf("tea pot"))).toBe(true);
    expect(matches("今天的弹幕来了", wordsOf("弹幕"))).toBe(true);
    expect(matches("tea", wordsOf("tea pot"))).toBe(false);
    expect(matches("anything", wordsOf(" "))).toBe(false);
  });

  test("marks what it found, on one line around the first hit", () => {
    expect(shown("a cup of\n tea, TEA", "tea")).toBe("a cup of [tea], [TEA]");
    expect(shown(`${"x ".repeat(60)}needle`, "needle")).toMatch(/^….{20,30}\[needle\]$/);
    expect(shown("abcd", "bc abc")).toBe("[abc]d");
    expect(shown("y".repeat(300), "q")).toBe(`${"y".repeat(120)}…`);
  });

  test("cuts no character in half, and marks nothing where lower case has another length", () => {
    for (const { text } of snippet(`${"😀".repeat(50)}needle${"😀".repeat(80)}`, ["needle"])) expect(() => encodeURIComponent(text)).not.toThrow();
    expect(shown("İstanbul", "stan")).toBe("İstanbul");
  });
});

import { describe, expect, it } from "vitest";
import { isRightToLeft, layOut, outlineOf } from "../src/text";

/** Every character is as wide as the letters are high. */
const measure = (line: string, px: number): number => [...line].length * px;
const lay = (text: string, widthMax = 1_000, heightMax = 400) => layOut({ text, px: 20, widthMax, heightMax }, measure);

describe("long text", () => {
  it("that fits is left alone", () => {
    expect(lay("a".repeat(50))).toEqual({ px: 20, lines: ["a".repeat(50)], width: 1_000 });
  });

  it("shrinks a little before it wraps", () => {
    const { px, lines, width } = lay("a".repeat(60));
    expect(lines).toHaveLength(1);
    expect(px).toBeCloseTo(16.67, 1);
    expect(width).toBeLessThanOrEqual(1_000.001);
  });

  it("wraps at spaces, and no line is wider than the stage", () => {
    const { px, lines, width } = lay("words and more words ".repeat(8).trim());
    expect(px).toBe(14);
    expect(lines.length).toBeGreaterThan(1);
    expect(width).toBeLessThanOrEqual(1_000);
    for (const line of lines) expect(line).toMatch(/^\S.*\S$/);
    expect(lines.join(" ")).toBe("words and more words ".repeat(8).trim());
  });

  it("wraps Chinese between any two characters, and ends what has no room with an ellipsis", () => {
    const { lines, width } = lay("弹".repeat(400), 500);
    expect(lines).toHaveLength(4);
    expect(width).toBeLessThanOrEqual(500);
    expect(lines.at(-1)).toMatch(/弹…$/);
  });

  it("of many lines shrinks to the height", () => {
    const { px, lines } = lay(Array.from({ length: 30 }, () => "ab").join("\n"));
    expect(lines).toHaveLength(30);
    expect(px * 1.24 * 30).toBeLessThanOrEqual(400.001);
  });
});

describe("direction", () => {
  it.each([
    ["שלום world", true],
    ["123 مرحبا", true],
    ["hello שלום", false],
    ["弹幕", false],
    ["666", false],
  ])("of %s", (text, rightToLeft) => expect(isRightToLeft(text)).toBe(rightToLeft));
});

describe("outline", () => {
  it.each([
    ["#FFFFFF", "dark"],
    ["#FE4D4D", "dark"],
    ["#000000", "light"],
    ["#0000FF", "light"],
    ["#8B0000", "light"],
    ["#4B0082", "light"],
    ["#006400", "light"],
  ])("of %s is %s", (color, outline) => expect(outlineOf(color)).toBe(outline));
});

import { describe, expect, it } from "vitest";
import { overlayDefaults, overlayQuery, parseOverlay } from "../../src/overlay/options";

describe("the address of an overlay", () => {
  it("reads each value by itself and falls back to the default", () => {
    const options = parseOverlay(new URLSearchParams("mode=spin&size=9&opacity=0.5&hide=top,nothing,gifts&only=a, b,&max=20&fade_s=x&align=right"));
    expect(options).toEqual({ ...overlayDefaults(), opacity: 0.5, hide: new Set(["top", "gifts"]), only: ["a", "b"], max: 20, align: "right" });
  });

  it("comes back as it was written", () => {
    const options = { ...overlayDefaults(), mode: "list" as const, size: 1.5, fadeS: 20, hide: new Set(["names" as const]), words: ["a", "b c"], token: "t" };
    expect(parseOverlay(overlayQuery(options))).toEqual(options);
    expect(overlayQuery(overlayDefaults()).toString()).toBe("mode=fly");
  });
});

/** Reads what npm's `danmaku` calls `style`: properties of an element, or of a canvas. Only values that CSS knows get through. */
import type { StageItem } from "./messages.js";

export type CommentLook = Partial<CSSStyleDeclaration> | Partial<CanvasRenderingContext2D>;

const WHITE = "#FFFFFF";
const PX_MIN = 8;
const PX_MAX = 120;

type Read = Partial<Record<"color" | "fillStyle" | "strokeStyle" | "font" | "fontSize" | "opacity" | "globalAlpha", unknown>>;

/** Colour, size, outline and opacity of one comment. */
export function lookOf(style: CommentLook): Pick<StageItem, "color" | "px" | "outline" | "alpha"> {
  const { color, fillStyle, strokeStyle, font, fontSize, opacity, globalAlpha } = style as Read;
  const px = pixelsOf(fontSize ?? font);
  const outline = typeof strokeStyle === "string" ? hexOf(strokeStyle) : undefined;
  const alpha = Number(opacity ?? globalAlpha ?? 1);
  return {
    color: hexOf(color ?? fillStyle) ?? WHITE,
    ...(px === undefined ? {} : { px }),
    ...(outline === undefined ? {} : { outline }),
    ...(alpha >= 0 && alpha < 1 ? { alpha } : {}),
  };
}

/** The size in `20px` or `bold 20px/1.2 serif`; pixels are the only unit read. */
export function pixelsOf(text: unknown): number | undefined {
  const [, digits] = /(?:^|\s)(\d+(?:\.\d+)?)px/.exec(String(text ?? "")) ?? [];
  return digits === undefined ? undefined : Math.min(PX_MAX, Math.max(PX_MIN, Number(digits)));
}

let scratch: CanvasRenderingContext2D | null | undefined;

/** `#RRGGBB` of any CSS colour; undefined for what is none. */
export function hexOf(color: unknown): string | undefined {
  if (typeof color !== "string") return undefined;
  if (/^#[0-9a-f]{6}$/i.test(color)) return color.toUpperCase();
  scratch ??= document.createElement("canvas").getContext("2d");
  if (!scratch) return undefined;
  // A value that does not parse leaves the one before.
  scratch.fillStyle = "#010203";
  scratch.fillStyle = color;
  const first = scratch.fillStyle;
  scratch.fillStyle = "#030201";
  scratch.fillStyle = color;
  if (scratch.fillStyle !== first || !/^#[0-9a-f]{6}$/.test(first)) return undefined;
  return first.toUpperCase();
}

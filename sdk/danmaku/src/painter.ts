/**
 * What the engine needs of something that draws: a canvas, in a worker or on the page, or elements of the page.
 * A painter knows no lanes, no clock and no waiting comments.
 */
import type { Mask, StageItem, StageSize } from "./messages.js";
import type { Layout } from "./text.js";

/** Letters of one size, in CSS pixels. */
export interface Face {
  fontPx: number;
  family: string;
  /** The stage, which standing comments must fit into. */
  width: number;
  height: number;
  /** Device pixels per CSS pixel. */
  ratio: number;
}

/** A comment laid out, not drawn yet. */
export interface Measured {
  layout: Layout;
  width: number;
  height: number;
}

export interface Spot {
  x: number;
  y: number;
  /** 0–1. */
  alpha: number;
  /** Radians. */
  rotate: number;
  /** Pixels a millisecond to the right, as long as nothing else is said. Undefined: it moves in another way. */
  vx: number | undefined;
}

export interface Painter<S> {
  /** Lines and size of a comment in CSS pixels. Called again and again for what waits. */
  measure(item: StageItem, face: Face): Measured;
  /** Makes what `draw` draws; to be given back with `release`. */
  take(item: StageItem, measured: Measured, face: Face): S;
  release(sprite: S): void;
  resize(size: StageSize): void;
  mask(mask: Mask | null): void;
  /** A frame: `begin`, each comment from the lowest to the topmost, `end`. */
  begin(): void;
  draw(sprite: S, spot: Spot): void;
  end(): void;
}

export const FAMILY = '"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", system-ui, sans-serif';
/** Wider comments are cut: no screen shows more, and a canvas has limits. */
export const WIDTH_MAX = 4_000;

const SCALE = { small: 0.75, normal: 1, large: 1.4 } as const;
/** A comment that stands for many grows with the logarithm of their number, up to this. */
const COUNT_SCALE_MAX = 1.8;

/** Size of a comment's letters in CSS pixels. */
export function lettersOf({ size, px, count = 1 }: StageItem, { fontPx }: Face): number {
  const grown = Math.min(COUNT_SCALE_MAX, 1 + 0.18 * Math.log(Math.max(1, count)));
  return (px ?? fontPx * SCALE[size]) * grown;
}

/** What is written: the text, with its number behind it when it stands for several. */
export function writtenText({ text, count = 1 }: Pick<StageItem, "text" | "count">): string {
  return count > 1 ? `${text} ×${count}` : text;
}

/** Whether it stands, so that it must fit into the stage. */
export function isStanding({ mode, path }: StageItem): boolean {
  return (mode === "top" || mode === "bottom") && path === undefined;
}

export const TINTS = {
  own: { fill: "rgba(10, 14, 22, 0.35)", stroke: undefined },
  staff: { fill: "rgba(52, 78, 160, 0.55)", stroke: "rgba(160, 190, 255, 0.8)" },
  mention: { fill: "rgba(150, 84, 0, 0.6)", stroke: "rgba(255, 200, 110, 0.95)" },
} as const;

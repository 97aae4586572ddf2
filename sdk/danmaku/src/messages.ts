/** What the page and the engine say to each other, through `postMessage` or directly. */
import type { Candidate, DropReason } from "./waiting.js";
import type { Mode } from "./lanes.js";

/** The way of a comment that keeps to no lane. Places are shares of the picture, times stage milliseconds. */
export interface Path {
  x: number;
  y: number;
  toX: number;
  toY: number;
  /** It stands for `delayMs`, then moves for `moveMs`. */
  delayMs: number;
  moveMs: number;
  lastsMs: number;
  /** 0–1, at its start and at its end. */
  alphaFrom: number;
  alphaTo: number;
  /** Radians. */
  rotate: number;
}

/** One comment, ready to be drawn. */
export interface StageItem extends Candidate {
  id: string;
  userId: string;
  /** Several lines are drawn as several lines. */
  text: string;
  /** For how many equal comments it stands; it is drawn larger, by the logarithm of it, with "×count" behind. */
  count?: number;
  /** Those that were merged into this one while it waited. */
  mergedIds?: string[];
  /** `#RRGGBB`. */
  color: string;
  /** Letters of this size in CSS pixels instead of the usual. */
  px?: number;
  /** A colour for the outline instead of the one that contrasts. */
  outline?: string;
  /** 0–1. */
  alpha?: number;
  mode: Mode;
  size: "small" | "normal" | "large";
  /** Own comments are framed, those of the people who run the room and those that mention the viewer stand on a tint. */
  look: "plain" | "own" | "staff" | "mention";
  /** Instead of a lane. */
  path?: Path;
  /** A ready picture instead of text. The engine closes it. */
  picture?: Picture;
}

/** What a comment's own `render` drew. Elements exist on the page alone, bitmaps also in the worker. */
export interface Picture {
  source: ImageBitmap | HTMLElement;
  /** CSS pixels. */
  width: number;
  height: number;
}

export interface StageSize {
  /** CSS pixels. */
  width: number;
  height: number;
  /** Device pixels per CSS pixel. */
  ratio: number;
}

export interface StageConfig {
  /** Share of the height that comments may use. */
  area: number;
  /** Size of letters; 1 is the usual. */
  scale: number;
  /** 0–1. */
  opacity: number;
  /** How fast the stage's clock runs; 0 stands still. */
  rate: number;
  /** CSS pixels at the upper and lower edge that stay free of comments. Default 0. */
  safeTop?: number;
  safeBottom?: number;
  /** The stage's width a comment crosses in a second, in CSS pixels. Default: by the width of the stage. */
  speed?: number;
  /** How long top and bottom comments stand. Default 4,000. */
  standingMs?: number;
  /** Equal comments that wait become one with a count. Default false. */
  merge?: boolean;
  /** Letters of the comments, as in CSS `font-family`. */
  family?: string;
}

/** Where comments may be seen; elsewhere they are cut away, such as over a face. */
export type Mask =
  /** SVG path data in CSS pixels of the stage; comments show inside it (even-odd rule). */
  | { path: string }
  /** Stretched over the stage; comments show where it is opaque. */
  | { image: ImageBitmap };

/** What the engine does without answering. */
export type StageCommand =
  | { type: "size"; size: StageSize }
  | { type: "config"; config: StageConfig }
  | { type: "add"; items: StageItem[] }
  | { type: "remove"; ids: string[] }
  /** This one stands still until another, or none, is held. */
  | { type: "hold"; id: string | null }
  /** Until the next one; null for none. */
  | { type: "mask"; mask: Mask | null }
  | { type: "clear" };

export type ToStage =
  | { type: "start"; canvas: OffscreenCanvas; size: StageSize; config: StageConfig }
  | { type: "hit"; x: number; y: number; ask: number }
  | StageCommand;

export interface Hit {
  id: string;
  /** Box on the stage, CSS pixels. */
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface StageReport {
  /** Comments that reached the screen since the last report. */
  drawn: { id: string; text: string }[];
  /** Totals since the page was opened. */
  shown: number;
  dropped: Record<DropReason, number>;
  /** Comments that became part of an equal one. */
  merged: number;
  flying: number;
  /** Milliseconds between the engine's own frames since the last report. */
  frames: number[];
}

export type FromStage = { type: "ready" } | { type: "report"; report: StageReport } | { type: "hit"; ask: number; hit: Hit | null };

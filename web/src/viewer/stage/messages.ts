/** What the page and the engine say to each other, through `postMessage` or directly. */
import type { Candidate, DropReason } from "./waiting";
import type { Mode } from "./lanes";

/** One comment, ready to be drawn. */
export interface StageItem extends Candidate {
  id: string;
  userId: string;
  text: string;
  /** `#RRGGBB`. */
  color: string;
  mode: Mode;
  size: "small" | "normal" | "large";
  /** Own comments are framed, those of the people who run the room stand on a tint. */
  look: "plain" | "own" | "staff";
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
}

/** What the engine does without answering. */
export type StageCommand =
  | { type: "size"; size: StageSize }
  | { type: "config"; config: StageConfig }
  | { type: "add"; items: StageItem[] }
  | { type: "remove"; ids: string[] }
  | { type: "remove_user"; userId: string }
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
  flying: number;
  /** Milliseconds between the engine's own frames since the last report. */
  frames: number[];
}

export type FromStage = { type: "report"; report: StageReport } | { type: "hit"; ask: number; hit: Hit | null };

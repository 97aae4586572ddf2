/**
 * Comments that name their own place and way (mode 7 of recorded comments): a JSON list as their text. Read here or not
 * shown at all; the list itself is never shown to anybody. Pure.
 */
import type { Path } from "@barrage/danmaku";

export interface Positioned {
  text: string;
  path: Path;
}

/** Places above 1 are pixels of the player these comments were made for; up to 1 they are shares of the picture. */
const AUTHORING_WIDTH = 672;
const AUTHORING_HEIGHT = 438;
const LASTS_DEFAULT_S = 4.5;
const LASTS_MAX_S = 60;
const TEXT_MAX = 1_000;

/** Whether this text is a list that was never meant to be read. */
export function isPositioned(content: string): boolean {
  return /^\s*\[\s*"?-?[\d.]+"?\s*,/.test(content);
}

/** What such a text says, or undefined when it makes no sense. */
export function readPositioned(content: string): Positioned | undefined {
  let fields: unknown;
  try {
    fields = JSON.parse(content);
  } catch {
    return undefined;
  }
  if (!Array.isArray(fields) || fields.length < 5 || typeof fields[4] !== "string") return undefined;
  const text = fields[4].replaceAll("/n", "\n").slice(0, TEXT_MAX);
  const [x, y] = [place(fields[0], AUTHORING_WIDTH), place(fields[1], AUTHORING_HEIGHT)];
  if (text.trim() === "" || x === undefined || y === undefined) return undefined;
  const [alphaFrom, alphaTo] = alphas(fields[2]);
  const lastsMs = Math.min(LASTS_MAX_S, Math.max(0.1, number(fields[3]) ?? LASTS_DEFAULT_S)) * 1_000;
  return {
    text,
    path: {
      x, y, alphaFrom, alphaTo, lastsMs,
      toX: place(fields[7], AUTHORING_WIDTH) ?? x,
      toY: place(fields[8], AUTHORING_HEIGHT) ?? y,
      moveMs: Math.max(0, number(fields[9]) ?? lastsMs),
      delayMs: Math.max(0, number(fields[10]) ?? 0),
      rotate: ((number(fields[5]) ?? 0) * Math.PI) / 180,
    },
  };
}

function number(field: unknown): number | undefined {
  if (field === "" || (typeof field !== "string" && typeof field !== "number")) return undefined;
  const value = Number(field);
  return Number.isFinite(value) ? value : undefined;
}

/** A share of the picture. */
function place(field: unknown, pixels: number): number | undefined {
  const value = number(field);
  return value === undefined || Math.abs(value) <= 1 ? value : value / pixels;
}

/** `"0.2-1"` fades in. */
function alphas(field: unknown): [number, number] {
  const [from, to] = String(field).split("-").map(Number);
  const share = (value: number | undefined): number => (value !== undefined && value >= 0 && value <= 1 ? value : 1);
  return [share(from), share(to ?? from)];
}

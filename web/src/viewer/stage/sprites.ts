/**
 * Comments drawn once and then only copied. Runs in the worker or, without one, on the page. Identical comments share a
 * sprite; those not in use are kept up to a budget of pixels, the longest unused going first.
 */
import type { StageItem } from "./messages";

/** Letters, outline and padding of one size of text, in CSS pixels. */
export interface Face {
  fontPx: number;
  /** Device pixels per CSS pixel. */
  ratio: number;
}

export interface Sprite {
  key: string;
  bitmap: CanvasImageSource;
  /** CSS pixels. */
  width: number;
  height: number;
  users: number;
  pixels: number;
  close(): void;
}

const FAMILY = '"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", system-ui, sans-serif';
/** 8 million device pixels are 32 MB. */
const IDLE_PIXELS_MAX = 8_000_000;
/** Wider comments are cut: no screen shows more, and a canvas has limits. */
const WIDTH_MAX = 4_000;

const SCALE = { small: 0.75, normal: 1, large: 1.4 } as const;

export class Sprites {
  readonly #cache = new Map<string, Sprite>();
  readonly #measure: OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D;
  #idlePixels = 0;

  constructor(private readonly createCanvas: (width: number, height: number) => OffscreenCanvas | HTMLCanvasElement) {
    this.#measure = context(createCanvas(1, 1));
  }

  /** Size of the finished sprite in CSS pixels, before it is drawn. */
  size(item: StageItem, face: Face): { width: number; height: number } {
    const px = face.fontPx * SCALE[item.size];
    this.#measure.font = font(px);
    const text = Math.min(WIDTH_MAX, this.#measure.measureText(item.text).width);
    return { width: Math.ceil(text + px * 0.6), height: Math.ceil(px * 1.24) };
  }

  /** The sprite of a comment; to be given back with `release`. */
  take(item: StageItem, face: Face): Sprite {
    const key = `${face.ratio}|${face.fontPx}|${item.size}|${item.color}|${item.look}|${item.text}`;
    const sprite = this.#cache.get(key) ?? this.#draw(key, item, face);
    if (sprite.users++ === 0) this.#idlePixels -= sprite.pixels;
    // Moved to the end: the first in the map is the longest unused.
    this.#cache.delete(key);
    this.#cache.set(key, sprite);
    return sprite;
  }

  release(sprite: Sprite): void {
    if (--sprite.users > 0) return;
    this.#idlePixels += sprite.pixels;
    for (const [key, old] of this.#cache) {
      if (this.#idlePixels <= IDLE_PIXELS_MAX) return;
      if (old.users > 0) continue;
      this.#cache.delete(key);
      this.#idlePixels -= old.pixels;
      old.close();
    }
  }

  #draw(key: string, item: StageItem, face: Face): Sprite {
    const { width, height } = this.size(item, face);
    const canvas = this.createCanvas(Math.ceil(width * face.ratio), Math.ceil(height * face.ratio));
    const ctx = context(canvas);
    ctx.scale(face.ratio, face.ratio);
    paint(ctx, item, face.fontPx * SCALE[item.size], width, height);
    const pixels = canvas.width * canvas.height;
    const bitmap = "transferToImageBitmap" in canvas ? canvas.transferToImageBitmap() : canvas;
    const close = (): void => {
      if ("close" in bitmap) bitmap.close();
    };
    this.#idlePixels += pixels;
    return { key, bitmap, width, height, users: 0, pixels, close };
  }
}

function paint(ctx: OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D, item: StageItem, px: number, width: number, height: number): void {
  if (item.look !== "plain") {
    ctx.beginPath();
    ctx.roundRect(1, 1, width - 2, height - 2, height / 2);
    ctx.fillStyle = item.look === "own" ? "rgba(10, 14, 22, 0.35)" : "rgba(52, 78, 160, 0.55)";
    ctx.fill();
    ctx.lineWidth = 1.5;
    ctx.strokeStyle = item.look === "own" ? item.color : "rgba(160, 190, 255, 0.8)";
    ctx.stroke();
  }
  ctx.font = font(px);
  ctx.textBaseline = "middle";
  ctx.lineJoin = "round";
  ctx.lineWidth = Math.max(2, px / 9);
  ctx.strokeStyle = isDark(item.color) ? "rgba(255, 255, 255, 0.75)" : "rgba(0, 0, 0, 0.72)";
  ctx.strokeText(item.text, px * 0.3, height / 2 + px * 0.04);
  ctx.fillStyle = item.color;
  ctx.fillText(item.text, px * 0.3, height / 2 + px * 0.04);
}

function font(px: number): string {
  return `600 ${px}px ${FAMILY}`;
}

function isDark(color: string): boolean {
  const rgb = Number.parseInt(color.slice(1), 16);
  return 0.299 * (rgb >> 16) + 0.587 * ((rgb >> 8) & 255) + 0.114 * (rgb & 255) < 60;
}

function context(canvas: OffscreenCanvas | HTMLCanvasElement): OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D {
  const ctx = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D | null;
  if (!ctx) throw new Error("no 2d canvas");
  return ctx;
}

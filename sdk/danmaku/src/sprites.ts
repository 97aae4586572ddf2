/**
 * Comments drawn once and then only copied. Runs in the worker or, without one, on the page. Identical comments share a
 * sprite; those not in use are kept up to a budget of pixels, the longest unused going first.
 */
import type { StageItem } from "./messages.js";
import { type Face, isStanding, lettersOf, type Measured, TINTS, WIDTH_MAX, writtenText } from "./painter.js";
import { isRightToLeft, layOut, LINE_HEIGHT, outlineOf } from "./text.js";

export interface Sprite {
  key: string;
  bitmap: CanvasImageSource;
  /** CSS pixels. */
  width: number;
  height: number;
  users: number;
  pixels: number;
  /** Its bitmap has a size of its own and is stretched. */
  stretched: boolean;
  close(): void;
}

/** 8 million device pixels are 32 MB. */
const IDLE_PIXELS_MAX = 8_000_000;

export class Sprites {
  readonly #cache = new Map<string, Sprite>();
  readonly #measure: OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D;
  /** What waits for a lane is asked for its size again and again. */
  readonly #measured = new WeakMap<StageItem, { key: string; measured: Measured }>();
  #idlePixels = 0;

  constructor(private readonly createCanvas: (width: number, height: number) => OffscreenCanvas | HTMLCanvasElement) {
    this.#measure = context(createCanvas(1, 1));
  }

  /** Lines and size of the finished sprite in CSS pixels, before it is drawn. */
  measure(item: StageItem, face: Face): Measured {
    const key = `${face.fontPx}|${face.width}|${face.height}|${face.family}|${item.count ?? 1}`;
    const known = this.#measured.get(item);
    if (known?.key === key) return known.measured;
    const measured = this.#layOut(item, face);
    this.#measured.set(item, { key, measured });
    return measured;
  }

  #layOut(item: StageItem, face: Face): Measured {
    const px = lettersOf(item, face);
    if (item.picture) return { layout: { px, lines: [], width: item.picture.width }, width: item.picture.width, height: item.picture.height };
    const request = { text: writtenText(item), px, widthMax: isStanding(item) ? face.width - px : Infinity, heightMax: face.height * 0.95 };
    const layout = layOut(request, (line, size) => this.#widthOf(line, size, face.family));
    const width = Math.min(WIDTH_MAX, layout.width);
    return { layout, width: Math.ceil(width + layout.px * 0.6), height: Math.ceil(layout.lines.length * layout.px * LINE_HEIGHT) };
  }

  /** The sprite of a comment; to be given back with `release`. */
  take(item: StageItem, measured: Measured, face: Face): Sprite {
    if (item.picture) return pictured(item.id, item.picture, measured, face);
    const { px, lines } = measured.layout;
    const key = `${face.ratio}|${px}|${face.family}|${item.color}|${item.outline ?? ""}|${item.look}|${isCentred(item) ? "|" : ""}${lines.join("\n")}`;
    const sprite = this.#cache.get(key) ?? this.#draw(key, item, measured, face);
    if (sprite.users++ === 0) this.#idlePixels -= sprite.pixels;
    // Moved to the end: the first in the map is the longest unused.
    this.#cache.delete(key);
    this.#cache.set(key, sprite);
    return sprite;
  }

  release(sprite: Sprite): void {
    if (--sprite.users > 0) return;
    if (!this.#cache.has(sprite.key)) return sprite.close();
    this.#idlePixels += sprite.pixels;
    for (const [key, old] of this.#cache) {
      if (this.#idlePixels <= IDLE_PIXELS_MAX) return;
      if (old.users > 0) continue;
      this.#cache.delete(key);
      this.#idlePixels -= old.pixels;
      old.close();
    }
  }

  #widthOf(line: string, px: number, family: string): number {
    this.#measure.font = font(px, family);
    return this.#measure.measureText(line).width;
  }

  #draw(key: string, item: StageItem, measured: Measured, face: Face): Sprite {
    const { width, height } = measured;
    const canvas = this.createCanvas(Math.ceil(width * face.ratio), Math.ceil(height * face.ratio));
    const ctx = context(canvas);
    ctx.scale(face.ratio, face.ratio);
    paint(ctx, item, measured, face.family);
    const pixels = canvas.width * canvas.height;
    const bitmap = "transferToImageBitmap" in canvas ? canvas.transferToImageBitmap() : canvas;
    const close = (): void => {
      if ("close" in bitmap) bitmap.close();
    };
    this.#idlePixels += pixels;
    return { key, bitmap, width, height, users: 0, pixels, stretched: false, close };
  }
}

/** A picture that a comment brought along. It is its own and not kept. */
function pictured(id: string, { source }: NonNullable<StageItem["picture"]>, { width, height }: Measured, { ratio }: Face): Sprite {
  const close = (): void => {
    if (source instanceof ImageBitmap) source.close();
  };
  const pixels = width * height * ratio * ratio;
  return { key: `picture ${id}`, bitmap: source as ImageBitmap, width, height, users: 1, pixels, stretched: true, close };
}

/** A standing comment broken into lines; art keeps to the left. */
function isCentred(item: StageItem): boolean {
  return isStanding(item) && !item.text.includes("\n");
}

function paint(ctx: OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D, item: StageItem, { layout, width, height }: Measured, family: string): void {
  const { look, color } = item;
  const { px, lines } = layout;
  if (look !== "plain") {
    ctx.beginPath();
    ctx.roundRect(1, 1, width - 2, height - 2, Math.min(height / 2, px * 0.62));
    ctx.fillStyle = TINTS[look].fill;
    ctx.fill();
    ctx.lineWidth = 1.5;
    ctx.strokeStyle = TINTS[look].stroke ?? color;
    ctx.stroke();
  }
  ctx.font = font(px, family);
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  ctx.lineJoin = "round";
  const light = outlineOf(color) === "light";
  ctx.lineWidth = Math.max(2, px / (light ? 7 : 9));
  ctx.strokeStyle = item.outline ?? (light ? "rgba(255, 255, 255, 0.95)" : "rgba(0, 0, 0, 0.72)");
  ctx.fillStyle = color;
  for (const [row, line] of lines.entries()) {
    const rightToLeft = isRightToLeft(line);
    ctx.direction = rightToLeft ? "rtl" : "ltr";
    const spare = lines.length > 1 ? layout.width - ctx.measureText(line).width : 0;
    const x = px * 0.3 + (isCentred(item) ? spare / 2 : rightToLeft ? spare : 0);
    const y = (row + 0.5) * px * LINE_HEIGHT + px * 0.04;
    ctx.strokeText(line, x, y);
    ctx.fillText(line, x, y);
  }
}

function font(px: number, family: string): string {
  return `600 ${px}px ${family}`;
}

export function context(canvas: OffscreenCanvas | HTMLCanvasElement): OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D {
  const ctx = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D | null;
  if (!ctx) throw new Error("no 2d canvas");
  return ctx;
}

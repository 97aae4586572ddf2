/** Draws comments onto a canvas, in the worker or on the page. Owns the sprites. */
import type { Mask, StageItem, StageSize } from "./messages.js";
import type { Face, Measured, Painter, Spot } from "./painter.js";
import { context, type Sprite, Sprites } from "./sprites.js";

type Canvas = OffscreenCanvas | HTMLCanvasElement;

export class CanvasPainter implements Painter<Sprite> {
  readonly #ctx: OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D;
  readonly #sprites: Sprites;
  #size: StageSize = { width: 0, height: 0, ratio: 1 };
  #mask: Mask | null = null;
  #clip: Path2D | undefined;

  constructor(
    private readonly canvas: Canvas,
    createCanvas: (width: number, height: number) => Canvas,
  ) {
    this.#ctx = context(canvas);
    this.#sprites = new Sprites(createCanvas);
  }

  measure(item: StageItem, face: Face): Measured {
    return this.#sprites.measure(item, face);
  }

  take(item: StageItem, measured: Measured, face: Face): Sprite {
    return this.#sprites.take(item, measured, face);
  }

  release(sprite: Sprite): void {
    this.#sprites.release(sprite);
  }

  resize(size: StageSize): void {
    this.#size = size;
    this.canvas.width = Math.max(1, Math.round(size.width * size.ratio));
    this.canvas.height = Math.max(1, Math.round(size.height * size.ratio));
  }

  mask(mask: Mask | null): void {
    if (this.#mask && "image" in this.#mask) this.#mask.image.close();
    this.#mask = mask;
    this.#clip = mask && "path" in mask ? new Path2D(mask.path) : undefined;
  }

  begin(): void {
    this.#ctx.setTransform(1, 0, 0, 1, 0, 0);
    this.#ctx.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.#clip) return;
    const { ratio } = this.#size;
    this.#ctx.save();
    this.#ctx.scale(ratio, ratio);
    this.#ctx.clip(this.#clip, "evenodd");
    this.#ctx.setTransform(1, 0, 0, 1, 0, 0);
  }

  draw(sprite: Sprite, { x, y, alpha, rotate }: Spot): void {
    const { ratio } = this.#size;
    // Here rather than on the element, where a browser that composes in software pays for a layer.
    this.#ctx.globalAlpha = alpha;
    if (rotate !== 0) {
      this.#ctx.setTransform(Math.cos(rotate), Math.sin(rotate), -Math.sin(rotate), Math.cos(rotate), x * ratio, y * ratio);
      this.#copy(sprite, 0, 0, ratio);
      this.#ctx.setTransform(1, 0, 0, 1, 0, 0);
    } else {
      // On whole device pixels: letters stay sharp, and a browser that draws in software copies instead of resampling,
      // which costs it half as much.
      this.#copy(sprite, Math.round(x * ratio), Math.round(y * ratio), ratio);
    }
  }

  end(): void {
    if (this.#clip) return this.#ctx.restore();
    if (!this.#mask || !("image" in this.#mask)) return;
    this.#ctx.globalAlpha = 1;
    this.#ctx.globalCompositeOperation = "destination-in";
    this.#ctx.drawImage(this.#mask.image, 0, 0, this.canvas.width, this.canvas.height);
    this.#ctx.globalCompositeOperation = "source-over";
  }

  #copy({ bitmap, stretched, width, height }: Sprite, x: number, y: number, ratio: number): void {
    if (stretched) this.#ctx.drawImage(bitmap, x, y, width * ratio, height * ratio);
    else this.#ctx.drawImage(bitmap, x, y);
  }
}

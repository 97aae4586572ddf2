/**
 * Draws the flying comments: owns lanes, the waiting ones, sprites and the frame loop. The same code in the worker
 * and, where the browser has no OffscreenCanvas, on the page. It never sees a setting it was not told, the network, or the DOM.
 */
import { type Geometry, Lanes, type Placed, xAt } from "./lanes";
import type { Hit, StageCommand, StageConfig, StageItem, StageReport, StageSize } from "./messages";
import { type Face, type Sprite, Sprites } from "./sprites";
import { Waiting } from "./waiting";

/** Comments waiting for a lane; more are dropped as `crowded`. */
const WAITING_MAX = 256;
/** Places looked for in one frame, so that a flood never costs a frame. */
const PLACED_PER_FRAME = 24;
const REPORT_MS = 100;
const FRAMES_REPORTED_MAX = 600;

export interface Surface {
  canvas: OffscreenCanvas | HTMLCanvasElement;
  createCanvas(width: number, height: number): OffscreenCanvas | HTMLCanvasElement;
  requestFrame(callback: (ms: number) => void): void;
}

interface Flying {
  item: StageItem;
  placed: Placed;
  sprite: Sprite;
  drawn: boolean;
}

export class Engine {
  readonly #ctx: OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D;
  readonly #sprites: Sprites;
  readonly #waiting = new Waiting<StageItem>(WAITING_MAX);
  readonly #lanes: Lanes;
  #flying: Flying[] = [];
  /** Stage time: real time times the rate. */
  #now = 0;
  #lastFrame: number | undefined;
  #running = false;
  #report: StageReport = { drawn: [], shown: 0, dropped: this.#waiting.dropped, flying: 0, frames: [] };
  #reportedAt = 0;

  constructor(
    private readonly surface: Surface,
    private size: StageSize,
    private config: StageConfig,
    private readonly tell: (report: StageReport) => void,
  ) {
    const ctx = surface.canvas.getContext("2d") as OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D | null;
    if (!ctx) throw new Error("no 2d canvas");
    this.#ctx = ctx;
    this.#sprites = new Sprites((width, height) => surface.createCanvas(width, height));
    this.#lanes = new Lanes(this.#geometry());
    this.#resize(size);
  }

  handle(command: StageCommand): void {
    switch (command.type) {
      case "size":
        return this.#resize(command.size);
      case "config":
        return this.#configure(command.config);
      case "add":
        return this.#add(command.items);
      case "remove":
        return this.#removeWhere(({ id }) => command.ids.includes(id));
      case "remove_user":
        return this.#removeWhere(({ userId }) => userId === command.userId);
      case "clear":
        return this.#removeWhere(() => true);
    }
  }

  /** The comment at this point, the topmost if several. */
  hit(x: number, y: number): Hit | null {
    for (let i = this.#flying.length - 1; i >= 0; i--) {
      const flying = this.#flying[i];
      if (!flying) continue;
      const box = this.#box(flying);
      if (x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height) return { id: flying.item.id, ...box };
    }
    return null;
  }

  #add(items: StageItem[]): void {
    for (const item of items) this.#waiting.offer(item, this.#now);
    this.#wake();
  }

  #resize(size: StageSize): void {
    this.size = size;
    this.surface.canvas.width = Math.max(1, Math.round(size.width * size.ratio));
    this.surface.canvas.height = Math.max(1, Math.round(size.height * size.ratio));
    this.#lanes.reshape(this.#geometry(), this.#now);
    this.#wake();
  }

  #configure(config: StageConfig): void {
    this.config = config;
    this.#lanes.reshape(this.#geometry(), this.#now);
    this.#wake();
  }

  #box({ placed }: Flying): Omit<Hit, "id"> {
    return { x: xAt(placed, this.#now), y: placed.y, width: placed.width, height: placed.height };
  }

  #face(): Face {
    const usual = Math.min(40, Math.max(15, this.size.height / 29));
    return { fontPx: Math.round(usual * this.config.scale), ratio: this.size.ratio };
  }

  #geometry(): Geometry {
    const { width, height } = this.size;
    return {
      width,
      height,
      laneHeight: Math.ceil(this.#face().fontPx * 1.24) + 1,
      area: this.config.area,
      crossingMs: 4_000 + 5_000 * Math.min(1.2, width / 1_280),
      standingMs: 4_000,
      gap: this.#face().fontPx,
    };
  }

  #wake(): void {
    if (this.#running) return;
    this.#running = true;
    this.#lastFrame = undefined;
    this.surface.requestFrame((ms) => this.#frame(ms));
  }

  #frame(ms: number): void {
    const elapsed = this.#lastFrame === undefined ? 0 : ms - this.#lastFrame;
    if (this.#lastFrame !== undefined && this.#report.frames.length < FRAMES_REPORTED_MAX) this.#report.frames.push(elapsed);
    this.#lastFrame = ms;
    this.#now += elapsed * this.config.rate;
    this.#land();
    this.#waiting.expire(this.#now);
    if (this.config.rate > 0) this.#waiting.serve(PLACED_PER_FRAME, (item) => this.#launch(item));
    this.#draw();
    this.#maybeReport(ms);
    // With nothing in the air there is nothing to draw until somebody calls `#wake`.
    this.#running = this.#flying.length > 0 || this.#waiting.size > 0;
    if (this.#running) this.surface.requestFrame((next) => this.#frame(next));
    else this.#sendReport();
  }

  #launch(item: StageItem): boolean {
    const face = this.#face();
    const placed = this.#lanes.place({ mode: item.mode, privileged: item.priority > 0, ...this.#sprites.size(item, face) }, this.#now);
    if (!placed) return false;
    this.#flying.push({ item, placed, sprite: this.#sprites.take(item, face), drawn: false });
    return true;
  }

  #land(): void {
    this.#flying = this.#flying.filter(({ placed, sprite }) => {
      const stays = placed.until > this.#now;
      if (!stays) this.#sprites.release(sprite);
      return stays;
    });
  }

  #removeWhere(matches: (item: StageItem) => boolean): void {
    this.#waiting.remove(matches);
    this.#flying = this.#flying.filter(({ item, placed, sprite }) => {
      if (!matches(item)) return true;
      this.#lanes.remove(placed);
      this.#sprites.release(sprite);
      return false;
    });
    this.#wake();
  }

  #draw(): void {
    const { width, ratio } = this.size;
    this.#ctx.setTransform(1, 0, 0, 1, 0, 0);
    this.#ctx.clearRect(0, 0, this.surface.canvas.width, this.surface.canvas.height);
    // Here rather than on the element, where a browser that composes in software pays for a layer.
    this.#ctx.globalAlpha = this.config.opacity;
    for (const flying of this.#flying) {
      const x = xAt(flying.placed, this.#now);
      if (x >= width) continue;
      // On whole device pixels: letters stay sharp, and a browser that draws in software copies instead of resampling,
      // which costs it half as much.
      this.#ctx.drawImage(flying.sprite.bitmap, Math.round(x * ratio), Math.round(flying.placed.y * ratio));
      if (!flying.drawn) this.#firstDrawn(flying);
    }
  }

  #firstDrawn(flying: Flying): void {
    flying.drawn = true;
    this.#report.shown++;
    this.#report.drawn.push({ id: flying.item.id, text: flying.item.text });
  }

  #maybeReport(ms: number): void {
    if (ms - this.#reportedAt < REPORT_MS) return;
    this.#reportedAt = ms;
    this.#sendReport();
  }

  #sendReport(): void {
    this.tell({ ...this.#report, dropped: { ...this.#waiting.dropped }, flying: this.#flying.length });
    this.#report = { ...this.#report, drawn: [], frames: [] };
  }
}

/**
 * The clip the page draws itself when a room has no video: lanterns over a night sea. Every frame is a function of the
 * clip's time alone, so it pauses, seeks and changes speed like a recording. It is there to be cheap behind the comments:
 * thirty frames a second, what stands still painted once, and as many pixels as are shown (a browser that composes in
 * software spends more on enlarging a small canvas than on everything else).
 */
import type { Media } from "./media";

/** The scene's own units; the canvas has as many pixels as it has CSS pixels, up to `PIXELS_WIDE_MAX`. */
const WIDTH = 640;
const HEIGHT = 360;
const PIXELS_WIDE_MAX = 1_920;
const FRAME_MS = 1_000 / 30;
const HORIZON = 218;
const TAU = Math.PI * 2;

export class ClipMedia implements Media {
  readonly element: HTMLCanvasElement;
  readonly pictureInPicture?: () => Promise<void>;
  /** Shows the canvas in a window of its own; made when it is first asked for. */
  #apart: HTMLVideoElement | undefined;
  readonly hasSound = false;
  readonly stalled = false;
  muted = true;
  volume = 1;
  readonly #ctx: CanvasRenderingContext2D;
  readonly #listeners: ((seeked: boolean) => void)[] = [];
  /** Sky, moon and sea, painted at each change of size. */
  readonly #backdrop = document.createElement("canvas");
  readonly #sizes = new ResizeObserver(() => this.#resize());
  /** Clip time at `#since`, and the page's clock then. */
  #base = 0;
  #since = performance.now();
  #rate = 1;
  #paused = true;
  #frame = 0;
  #drawnAt = 0;

  /** `duration` in seconds. A live room's clip has no end and shows, on every screen, the time of `clock` in seconds. */
  constructor(readonly duration: number, private readonly clock?: () => number) {
    this.element = Object.assign(document.createElement("canvas"), { className: "media" });
    const ctx = this.element.getContext("2d", { alpha: false });
    if (!ctx) throw new Error("no 2d canvas");
    this.#ctx = ctx;
    if (document.pictureInPictureEnabled && "captureStream" in this.element) this.pictureInPicture = () => this.#showApart();
    this.#resize();
    this.#sizes.observe(this.element);
    this.#frame = requestAnimationFrame((ms) => this.#tick(ms));
  }

  get time(): number {
    if (this.clock && !this.#paused) return this.clock();
    const run = this.#paused ? 0 : ((performance.now() - this.#since) / 1_000) * this.#rate;
    return Math.min(this.duration, this.#base + run);
  }

  set time(seconds: number) {
    this.#rebase(Math.max(0, Math.min(this.duration, seconds)));
    this.#draw(this.time);
    this.#tell(true);
  }

  get paused(): boolean {
    return this.#paused;
  }

  get ended(): boolean {
    return this.#paused && this.time >= this.duration;
  }

  get seekable(): boolean {
    return Number.isFinite(this.duration);
  }

  get rate(): number {
    return this.#rate;
  }

  set rate(rate: number) {
    this.#rebase(this.time);
    this.#rate = rate;
    this.#tell(false);
  }

  play(): void {
    if (this.time >= this.duration) this.time = 0;
    this.#rebase(this.time);
    this.#paused = false;
    this.#tell(false);
  }

  pause(): void {
    this.#rebase(this.time);
    this.#paused = true;
    this.#tell(false);
  }

  onChange(listener: (seeked: boolean) => void): void {
    this.#listeners.push(listener);
  }

  onError(): void {
    // Nothing can go wrong with it.
  }

  dispose(): void {
    cancelAnimationFrame(this.#frame);
    this.#sizes.disconnect();
    if (!this.#apart) return;
    if (document.pictureInPictureElement === this.#apart) void document.exitPictureInPicture().catch(() => undefined);
    for (const track of (this.#apart.srcObject as MediaStream).getTracks()) track.stop();
  }

  async #showApart(): Promise<void> {
    if (this.#apart && document.pictureInPictureElement === this.#apart) return document.exitPictureInPicture();
    this.#apart ??= Object.assign(document.createElement("video"), { muted: true, srcObject: this.element.captureStream(30) });
    await this.#apart.play();
    await this.#apart.requestPictureInPicture();
  }

  #resize(): void {
    const width = Math.min(PIXELS_WIDE_MAX, this.element.clientWidth || WIDTH);
    const height = Math.round((width * HEIGHT) / WIDTH);
    for (const canvas of [this.element, this.#backdrop]) Object.assign(canvas, { width, height });
    paintBackdrop(this.#backdrop);
    this.#draw(this.time);
  }

  #rebase(seconds: number): void {
    this.#base = seconds;
    this.#since = performance.now();
  }

  #tell(seeked: boolean): void {
    for (const listener of this.#listeners) listener(seeked);
  }

  #tick(ms: number): void {
    this.#frame = requestAnimationFrame((next) => this.#tick(next));
    if (ms - this.#drawnAt < FRAME_MS - 4) return;
    const first = this.#drawnAt === 0;
    this.#drawnAt = ms;
    if (!this.#paused || first) this.#draw(this.time);
    if (!this.#paused && this.time >= this.duration) this.pause();
  }

  #draw(t: number): void {
    const ctx = this.#ctx;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.drawImage(this.#backdrop, 0, 0);
    ctx.scale(this.element.width / WIDTH, this.element.width / WIDTH);
    this.#stars(t);
    this.#hills(t);
    this.#glitter(t);
    this.#waves(t);
    this.#lanterns(t);
  }

  #stars(t: number): void {
    this.#ctx.fillStyle = "#dfe6ff";
    for (let i = 0; i < 90; i++) {
      const depth = 0.3 + noise(i * 3.1) * 0.7;
      const x = (noise(i) * WIDTH + t * depth * 0.6) % WIDTH;
      this.#ctx.globalAlpha = depth * (0.35 + 0.65 * (0.5 + 0.5 * Math.sin(t * (0.6 + noise(i * 7)) + i)));
      this.#ctx.fillRect(x, noise(i * 1.7) * HORIZON * 0.85, depth * 1.5, depth * 1.5);
    }
    this.#ctx.globalAlpha = 1;
  }

  #hills(t: number): void {
    for (const [height, speed, color] of [[34, 1.2, "#2a2a58"], [20, 2.6, "#1b1d42"]] as const) {
      this.#ridge(HORIZON, color, (x) => HORIZON - height * (0.5 + 0.5 * Math.sin((x + t * speed) / 61)) * (0.6 + 0.4 * Math.sin((x + t * speed) / 23 + 2)));
    }
  }

  #waves(t: number): void {
    for (let layer = 0; layer < 4; layer++) {
      const y = HORIZON + 26 + layer * 30;
      const swell = 2 + layer * 2.4;
      const color = `rgba(${34 - layer * 6}, ${46 - layer * 8}, ${104 - layer * 20}, 0.55)`;
      this.#ridge(HEIGHT, color, (x) => y + Math.sin(x / (46 + layer * 22) + t * (0.9 - layer * 0.14) + layer) * swell + Math.sin(x / 19 - t * 0.7) * swell * 0.3);
    }
  }

  #ridge(floor: number, color: string, top: (x: number) => number): void {
    const ctx = this.#ctx;
    ctx.fillStyle = color;
    ctx.beginPath();
    ctx.moveTo(0, floor);
    for (let x = 0; x <= WIDTH; x += 8) ctx.lineTo(x, top(x));
    ctx.lineTo(WIDTH, floor);
    ctx.fill();
  }

  /** The moon on the water. */
  #glitter(t: number): void {
    this.#ctx.fillStyle = "#ffe9c4";
    for (let i = 0; i < 26; i++) {
      const depth = i / 26;
      const width = (6 + depth * 26) * (0.5 + 0.5 * Math.sin(t * 1.9 + i * 2.3));
      this.#ctx.globalAlpha = 0.34 * (1 - depth * 0.7);
      this.#ctx.fillRect(478 - width / 2 + Math.sin(t + i) * 4 * depth, HORIZON + 4 + depth * 120, width, 1.4 + depth);
    }
    this.#ctx.globalAlpha = 1;
  }

  #lanterns(t: number): void {
    for (let i = 0; i < 9; i++) {
      const depth = 0.45 + noise(i * 5.3) * 0.55;
      const rise = (noise(i * 2.9) * 1.2 + (t * (0.012 + depth * 0.014))) % 1.2;
      const x = ((noise(i * 9.7) * WIDTH + Math.sin(t * 0.35 + i * 2) * 22 * depth + t * 2 * depth) % (WIDTH + 60)) - 30;
      this.#lantern(x, HEIGHT + 20 - rise * (HEIGHT + 40), 9 * depth, 0.82 + 0.18 * Math.sin(t * 5 + i * 4));
    }
  }

  #lantern(x: number, y: number, r: number, glow: number): void {
    const ctx = this.#ctx;
    ctx.fillStyle = "#ff9a4a";
    ctx.globalAlpha = 0.1 * glow;
    disc(ctx, x, y, r * 3.2);
    ctx.globalAlpha = 0.16 * glow;
    disc(ctx, x, y, r * 1.9);
    ctx.globalAlpha = 1;
    ctx.fillStyle = "#e8703a";
    ctx.beginPath();
    ctx.roundRect(x - r * 0.8, y - r, r * 1.6, r * 2, r * 0.5);
    ctx.fill();
    ctx.fillStyle = "#ffd694";
    ctx.globalAlpha = glow;
    ctx.beginPath();
    ctx.ellipse(x, y + r * 0.25, r * 0.45, r * 0.62, 0, 0, TAU);
    ctx.fill();
    ctx.globalAlpha = 1;
  }
}

function paintBackdrop(canvas: HTMLCanvasElement): void {
  const ctx = canvas.getContext("2d", { alpha: false });
  if (!ctx) return;
  ctx.scale(canvas.width / WIDTH, canvas.width / WIDTH);
  ctx.fillStyle = gradient(ctx, 0, HORIZON, ["#070b1d", "#14204a", "#3b3a72", "#a0617e"]);
  ctx.fillRect(0, 0, WIDTH, HORIZON);
  ctx.fillStyle = gradient(ctx, HORIZON, HEIGHT, ["#3b3560", "#141c40", "#060a18"]);
  ctx.fillRect(0, HORIZON, WIDTH, HEIGHT - HORIZON);
  ctx.fillStyle = "#fdf1dc";
  for (const [radius, alpha] of [[64, 0.05], [46, 0.08], [34, 0.12], [25, 1]] as const) {
    ctx.globalAlpha = alpha;
    disc(ctx, 478, 78, radius);
  }
}

function disc(ctx: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, TAU);
  ctx.fill();
}

function gradient(ctx: CanvasRenderingContext2D, from: number, to: number, colors: string[]): CanvasGradient {
  const made = ctx.createLinearGradient(0, from, 0, to);
  colors.forEach((color, i) => made.addColorStop(i / (colors.length - 1), color));
  return made;
}

/** A fixed number in [0, 1) for each `n`. */
function noise(n: number): number {
  const x = Math.sin(n * 127.1 + 311.7) * 43_758.5453;
  return x - Math.floor(x);
}

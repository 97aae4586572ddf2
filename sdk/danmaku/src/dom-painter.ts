/**
 * Draws comments as elements: for browsers without a canvas that works, and for comments that are elements themselves.
 * A comment that moves evenly is handed to the browser's own animation once, and touched again only when it goes another way:
 * writing the place of each element in each frame costs the page more than everything else together.
 * Text goes in as text; nothing here parses HTML.
 */
import type { Mask, StageItem, StageSize } from "./messages.js";
import { type Face, isStanding, lettersOf, type Measured, type Painter, type Spot, TINTS, WIDTH_MAX, writtenText } from "./painter.js";
import { layOut, LINE_HEIGHT, outlineOf } from "./text.js";

/** Where an element was at a time, and how it has gone on since. */
interface Way {
  x: number;
  y: number;
  vx: number | undefined;
  rotate: number;
  sinceMs: number;
  untilMs: number;
  animation: Animation | undefined;
}

export interface Piece {
  element: HTMLElement;
  width: number;
  attached: boolean;
  alpha: number;
  way: Way | undefined;
}

/** An element that is this far from its place is put right. */
const DRIFT_PX = 1;
const AFTER_MS = 1_000;

export class DomPainter implements Painter<Piece> {
  readonly #measured = new WeakMap<StageItem, { key: string; measured: Measured }>();
  readonly #measure: CanvasRenderingContext2D | null;
  #stageWidth = 0;
  /** Without it, each element is moved in each frame. */
  readonly #animates = "animate" in Element.prototype;
  /** The time of this frame, by the clock of animations. */
  #now = 0;

  constructor(private readonly box: HTMLElement) {
    this.#measure = document.createElement("canvas").getContext("2d");
  }

  measure(item: StageItem, face: Face): Measured {
    const key = `${face.fontPx}|${face.width}|${face.height}|${face.family}|${item.count ?? 1}`;
    const known = this.#measured.get(item);
    if (known?.key === key) return known.measured;
    const measured = this.#layOut(item, face);
    this.#measured.set(item, { key, measured });
    return measured;
  }

  take(item: StageItem, { layout, width, height }: Measured, face: Face): Piece {
    const source = item.picture?.source;
    const element = source instanceof HTMLElement ? source : this.#written(item, layout.lines, layout.px, face);
    Object.assign(element.style, { position: "absolute", left: "0", top: "0", willChange: "transform", margin: "0" });
    // Of a known size, it concerns the layout of nothing else.
    if (!source) Object.assign(element.style, { width: `${width}px`, height: `${height}px`, contain: "strict" });
    return { element, width, attached: false, alpha: 1, way: undefined };
  }

  release({ element, way }: Piece): void {
    way?.animation?.cancel();
    element.remove();
  }

  resize({ width }: StageSize): void {
    this.#stageWidth = width; // The box follows its parent by itself.
  }

  mask(mask: Mask | null): void {
    this.box.style.clipPath = mask && "path" in mask ? `path(evenodd, ${JSON.stringify(mask.path)})` : "";
    this.box.style.maskImage = mask && "image" in mask ? `url(${asDataUrl(mask.image)})` : "";
    this.box.style.maskSize = "100% 100%";
  }

  begin(): void {
    this.#now = Number(document.timeline.currentTime ?? performance.now());
  }

  draw(piece: Piece, spot: Spot): void {
    if (spot.alpha !== piece.alpha) {
      piece.alpha = spot.alpha;
      piece.element.style.opacity = String(spot.alpha);
    }
    const next = this.#animates ? spot : { ...spot, vx: undefined };
    if (!piece.way || !goesOn(piece.way, next, this.#now)) this.#send(piece, next);
    if (piece.attached) return;
    piece.attached = true;
    this.box.append(piece.element);
  }

  end(): void {
    // Nothing is left to do: each element was moved by itself.
  }

  /** Puts it in its place, and on its way until it has left. */
  #send(piece: Piece, { x, y, vx, rotate }: Spot): void {
    const { element, width } = piece;
    piece.way?.animation?.cancel();
    const way: Way = { x, y, vx, rotate, sinceMs: this.#now, untilMs: Infinity, animation: undefined };
    piece.way = way;
    element.style.transform = placeOf(x, y, rotate);
    if (!vx) return;
    const left = vx < 0 ? x + width : this.#stageWidth - x;
    const duration = left / Math.abs(vx) + AFTER_MS;
    way.untilMs = this.#now + duration;
    way.animation = element.animate({ transform: [placeOf(x, y, rotate), placeOf(x + vx * duration, y, rotate)] }, { duration });
    // Otherwise it would begin some frames later, when the browser is ready.
    way.animation.startTime = this.#now;
  }

  #layOut(item: StageItem, face: Face): Measured {
    const px = lettersOf(item, face);
    if (item.picture) return { layout: { px, lines: [], width: item.picture.width }, width: item.picture.width, height: item.picture.height };
    const request = { text: writtenText(item), px, widthMax: isStanding(item) ? face.width - px : Infinity, heightMax: face.height * 0.95 };
    const layout = layOut(request, (line, size) => this.#widthOf(line, size, face.family));
    return { layout, width: Math.ceil(Math.min(WIDTH_MAX, layout.width) + layout.px * 0.6), height: Math.ceil(layout.lines.length * layout.px * LINE_HEIGHT) };
  }

  /** Without a canvas, by the width of a Chinese letter: too wide rather than too narrow. */
  #widthOf(line: string, px: number, family: string): number {
    if (!this.#measure) return line.length * px;
    this.#measure.font = `600 ${px}px ${family}`;
    return this.#measure.measureText(line).width;
  }

  #written(item: StageItem, lines: string[], px: number, { family }: Face): HTMLElement {
    const element = document.createElement("div");
    element.dir = "auto";
    element.textContent = lines.join("\n");
    const light = outlineOf(item.color) === "light";
    const edge = item.outline ?? (light ? "rgba(255,255,255,0.95)" : "rgba(0,0,0,0.72)");
    Object.assign(element.style, {
      whiteSpace: "pre", font: `600 ${px}px/${LINE_HEIGHT} ${family}`, color: item.color, boxSizing: "border-box", padding: `0 ${px * 0.3}px`,
      textAlign: isStanding(item) && !item.text.includes("\n") ? "center" : "start", pointerEvents: "none",
      // Without blur: drawing four blurred shadows takes many times as long as the letters.
      textShadow: `1px 1px ${edge}, -1px 1px ${edge}, 1px -1px ${edge}, -1px -1px ${edge}`,
    });
    if (item.look !== "plain") {
      const { fill, stroke } = TINTS[item.look];
      Object.assign(element.style, { background: fill, boxShadow: `inset 0 0 0 1.5px ${stroke ?? item.color}`, borderRadius: `${px * 0.62}px` });
    }
    return element;
  }
}

/** Whether the browser has it where it should be, and moves it as it should go on. */
function goesOn(way: Way, { x, y, vx, rotate }: Spot, now: number): boolean {
  if (vx === undefined || way.vx !== vx || way.y !== y || way.rotate !== rotate || now >= way.untilMs) return false;
  return Math.abs(way.x + vx * (now - way.sinceMs) - x) < DRIFT_PX;
}

function placeOf(x: number, y: number, rotate: number): string {
  return `translate(${x.toFixed(2)}px, ${y.toFixed(2)}px)${rotate === 0 ? "" : ` rotate(${rotate}rad)`}`;
}

function asDataUrl(image: ImageBitmap): string {
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  canvas.getContext("2d")?.drawImage(image, 0, 0);
  image.close();
  return canvas.toDataURL();
}

/**
 * Decides which comment flies where and when: owns lanes, the waiting ones and the frame loop, and has a painter draw. The
 * same code in the worker and on the page. It never sees a setting it was not told, the network, or the DOM.
 */
import { type Geometry, Lanes, type Placed, xAt } from "./lanes.js";
import type { Hit, Path, StageCommand, StageConfig, StageItem, StageReport, StageSize } from "./messages.js";
import { type Face, FAMILY, type Painter, writtenText } from "./painter.js";
import { LINE_HEIGHT } from "./text.js";
import { type Merging, Waiting } from "./waiting.js";

/** Comments waiting for a lane; more are dropped as `crowded`. */
const WAITING_MAX = 256;
/** Places looked for in one frame, so that a flood never costs a frame. */
const PLACED_PER_FRAME = 24;
/** Comments on ways of their own at one time; art needs hundreds. */
const PATHS_MAX = 400;
const REPORT_MS = 100;
const FRAMES_REPORTED_MAX = 600;

/** Ids kept of those merged into one comment, so that each can still be taken away. */
const MERGED_IDS_MAX = 1_000;

export interface Surface<S> {
  painter: Painter<S>;
  requestFrame(callback: (ms: number) => void): void;
}

interface Flying<S> {
  item: StageItem;
  placed: Placed;
  sprite: S;
  drawn: boolean;
}

/** The comment that stands still, and its way before. */
interface Held<S> {
  id: string;
  flying: Flying<S>;
  was: Placed;
}

const merging: Merging<StageItem> = {
  key: ({ text, mode, color, look, path, picture }) => (look === "plain" && !path && !picture ? `${mode}|${color}|${text.toLowerCase()}` : undefined),
  merge: (into, item) => {
    into.count = (into.count ?? 1) + (item.count ?? 1);
    into.priority = Math.max(into.priority, item.priority);
    into.mergedIds ??= [];
    if (into.mergedIds.length < MERGED_IDS_MAX) into.mergedIds.push(item.id);
  },
};

export class Engine<S> {
  readonly #painter: Painter<S>;
  readonly #waiting = new Waiting<StageItem>(WAITING_MAX, merging);
  readonly #lanes: Lanes;
  #flying: Flying<S>[] = [];
  #held: Held<S> | undefined;
  /** Stage time: real time times the rate. */
  #now = 0;
  #lastFrame: number | undefined;
  #running = false;
  #stopped = false;
  #report: StageReport = { drawn: [], shown: 0, dropped: this.#waiting.dropped, merged: 0, flying: 0, frames: [] };
  #reportedAt = 0;

  constructor(
    private readonly surface: Surface<S>,
    private size: StageSize,
    private config: StageConfig,
    private readonly tell: (report: StageReport) => void,
  ) {
    this.#painter = surface.painter;
    this.#lanes = new Lanes(this.#geometry());
    this.#resize(size);
  }

  /** Draws nothing any more. */
  stop(): void {
    this.#stopped = true;
    this.#removeWhere(() => true);
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
        return this.#removeAll(new Set(command.ids));
      case "hold":
        return this.#hold(command.id);
      case "mask":
        this.#painter.mask(command.mask);
        return this.#wake();
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
    for (const item of items) this.#waiting.offer(item, this.#now, this.config.merge);
    this.#wake();
  }

  #resize(size: StageSize): void {
    this.size = size;
    this.#painter.resize(size);
    this.#lanes.reshape(this.#geometry(), this.#now);
    this.#wake();
  }

  #configure(config: StageConfig): void {
    this.config = config;
    this.#lanes.reshape(this.#geometry(), this.#now);
    this.#wake();
  }

  #hold(id: string | null): void {
    if (id === (this.#held?.id ?? null)) return;
    if (this.#held) this.#lanes.letGo(this.#held.flying.placed, this.#held.was, this.#now);
    this.#held = undefined;
    const next = id === null ? undefined : this.#flying.find(({ item }) => item.id === id && !item.path);
    if (next) {
      this.#held = { id: next.item.id, flying: next, was: { ...next.placed } };
      this.#lanes.hold(next.placed, this.#now);
    }
    this.#wake();
  }

  #box({ item, placed }: Flying<S>): Omit<Hit, "id"> {
    const { width, height } = placed;
    if (item.path) return { ...pointAt(item.path, this.#now - placed.t0, this.size), width, height };
    return { x: xAt(placed, this.#now), y: placed.y + (this.config.safeTop ?? 0), width, height };
  }

  #face(): Face {
    const usual = Math.min(40, Math.max(15, this.size.height / 29));
    return { fontPx: Math.round(usual * this.config.scale), family: this.config.family ?? FAMILY, ...this.size };
  }

  #geometry(): Geometry {
    const { width, height } = this.size;
    const { area, safeTop = 0, safeBottom = 0, speed, standingMs = 4_000 } = this.config;
    return {
      width,
      height: Math.max(1, height - safeTop - safeBottom),
      laneHeight: Math.ceil(this.#face().fontPx * LINE_HEIGHT) + 1,
      area,
      crossingMs: speed === undefined ? 4_000 + 5_000 * Math.min(1.2, width / 1_280) : (Math.max(1, width) / speed) * 1_000,
      standingMs,
      gap: this.#face().fontPx,
    };
  }

  #wake(): void {
    if (this.#running || this.#stopped) return;
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
    const measured = this.#painter.measure(item, face);
    const { width, height } = measured;
    const placed = item.path ? this.#follow(item.path, width, height) : this.#lanes.place({ mode: item.mode, privileged: item.priority > 0, width, height }, this.#now);
    if (!placed) return false;
    this.#flying.push({ item, placed, sprite: this.#painter.take(item, measured, face), drawn: false });
    return true;
  }

  /** A place outside the lanes, or none when there are too many such comments. */
  #follow(path: Path, width: number, height: number): Placed | undefined {
    if (this.#flying.filter(({ item }) => item.path).length >= PATHS_MAX) return undefined;
    const { x, y } = pointAt(path, 0, this.size);
    return { mode: "top", x0: x, t0: this.#now, speed: 0, y, width, height, until: this.#now + path.lastsMs };
  }

  #land(): void {
    this.#flying = this.#flying.filter(({ placed, sprite }) => {
      const stays = placed.until > this.#now;
      if (!stays) this.#painter.release(sprite);
      return stays;
    });
  }

  #removeAll(ids: Set<string>): void {
    this.#removeWhere((item) => ids.has(item.id) && !promote(item, ids));
  }

  #removeWhere(matches: (item: StageItem) => boolean): void {
    this.#waiting.remove(matches);
    this.#flying = this.#flying.filter(({ item, placed, sprite }) => {
      if (!matches(item)) return true;
      if (this.#held?.id === item.id) this.#held = undefined;
      this.#lanes.remove(placed);
      this.#painter.release(sprite);
      return false;
    });
    this.#wake();
  }

  #draw(): void {
    this.#painter.begin();
    for (const flying of this.#flying) {
      if (flying !== this.#held?.flying) this.#drawOne(flying);
    }
    // Over the others, which pass it.
    if (this.#held) this.#drawOne(this.#held.flying);
    this.#painter.end();
  }

  #drawOne(flying: Flying<S>): void {
    const { x, y, width } = this.#box(flying);
    if (x >= this.size.width || x + width <= 0) return;
    const { path, alpha = 1 } = flying.item;
    const fade = path ? alphaAt(path, this.#now - flying.placed.t0) : 1;
    const vx = path ? undefined : -flying.placed.speed * this.config.rate;
    this.#painter.draw(flying.sprite, { x, y, alpha: this.config.opacity * alpha * fade, rotate: path?.rotate ?? 0, vx });
    if (!flying.drawn) this.#firstDrawn(flying);
  }

  #firstDrawn(flying: Flying<S>): void {
    flying.drawn = true;
    this.#report.shown++;
    this.#report.drawn.push({ id: flying.item.id, text: writtenText(flying.item) });
  }

  #maybeReport(ms: number): void {
    if (ms - this.#reportedAt < REPORT_MS) return;
    this.#reportedAt = ms;
    this.#sendReport();
  }

  #sendReport(): void {
    this.tell({ ...this.#report, dropped: { ...this.#waiting.dropped }, merged: this.#waiting.merged, flying: this.#flying.length });
    this.#report = { ...this.#report, drawn: [], frames: [] };
  }
}

/** How opaque a comment on a way of its own is `elapsed` milliseconds after its start. */
function alphaAt({ alphaFrom, alphaTo, lastsMs }: Path, elapsed: number): number {
  return alphaFrom + (alphaTo - alphaFrom) * Math.min(1, Math.max(0, elapsed / lastsMs));
}

/** One comment of several that became one goes: the others stay under another id. False when none is left. */
function promote(item: StageItem, gone: ReadonlySet<string>): boolean {
  const { mergedIds = [], count = 1 } = item;
  const left = mergedIds.filter((id) => !gone.has(id));
  const taken = 1 + mergedIds.length - left.length;
  const id = left.shift();
  if (id === undefined) return false;
  Object.assign(item, { id, mergedIds: left, count: Math.max(1, count - taken) });
  return true;
}

/** Where a comment on a way of its own is `elapsed` milliseconds after its start. */
function pointAt({ x, y, toX, toY, delayMs, moveMs }: Path, elapsed: number, { width, height }: StageSize): { x: number; y: number } {
  const share = moveMs === 0 ? (elapsed > delayMs ? 1 : 0) : Math.min(1, Math.max(0, (elapsed - delayMs) / moveMs));
  return { x: (x + (toX - x) * share) * width, y: (y + (toY - y) * share) * height };
}

/**
 * The package's front: a superset of the API of npm's `danmaku`. Comments fly over an element, live or along a media
 * element's time. Turns what a page says into what the stage draws; draws nothing itself.
 */
import { Hover } from "./hover.js";
import type { Mode } from "./lanes.js";
import type { Hit, Mask, Picture, StageConfig, StageItem, StageReport } from "./messages.js";
import { type EngineKind, Stage } from "./stage.js";
import { type CommentLook, lookOf } from "./style.js";

export type DanmakuMode = "ltr" | "rtl" | "top" | "bottom" | "scroll";

export interface DanmakuComment {
  text?: string;
  /** Default `rtl`. `scroll` is another word for it. */
  mode?: DanmakuMode;
  /** Seconds of the media. Default: now. Without media it is not used. */
  time?: number;
  /** Of `style`, the canvas engines draw `color`/`fillStyle`, `fontSize`/`font`, `strokeStyle`, `opacity`/`globalAlpha`. */
  style?: CommentLook;
  /** Draws the comment instead of `text`. An element other than a canvas moves the whole stage to the DOM engine. */
  render?(): HTMLElement | HTMLCanvasElement;

  /** Names it, for `remove`, `hold` and actions. Default: made up. */
  id?: string;
  /** Higher flies first. Above 0 it may use the reserved lanes. Default 0. */
  priority?: number;
  /** How long it may wait for a lane before it counts as `late`. Default 2,500, for standing ones 6,000. */
  patienceMs?: number;
  /** For how many equal comments it stands. */
  count?: number;
  size?: StageItem["size"];
  look?: StageItem["look"];
  path?: StageItem["path"];
  /** Whose it is. */
  userId?: string;
  /** Anything; comes back with actions. */
  data?: unknown;
}

export interface DanmakuAction {
  label: string;
  run(comment: DanmakuComment): void;
}

export interface DanmakuOptions {
  /** Comments fly over this element. It is positioned, if it was not. */
  container: HTMLElement;
  /** Comments follow its time. Without it they are live. */
  media?: HTMLMediaElement;
  /** In media mode: those known from the start. */
  comments?: DanmakuComment[];
  /** Default `auto`: a worker, else the page's canvas, else elements. */
  engine?: EngineKind;
  /** Pixels a second, as in npm's `danmaku`: a comment crosses the stage in `width / speed` seconds. Default: by the width. */
  speed?: number;
  /** Share of the height in use, 0–1. Default 1. */
  area?: number;
  /** Size of letters, 1 is usual. */
  scale?: number;
  /** 0–1. */
  opacity?: number;
  /** CSS pixels kept free at the edges, such as for controls. */
  safeTop?: number;
  safeBottom?: number;
  /** Equal comments that wait become one, "×n". Default false. */
  merge?: boolean;
  /** Letters, as in CSS `font-family`. */
  family?: string;
  /** `system`: whoever asks the system for less motion sees scrolling comments stand at the top. Default `system`. */
  motion?: "system" | "fly" | "still";
  /** Whose mouse counts for `actions`, when something else receives it. Default: the container. */
  pointers?: HTMLElement;
  /** Shown beside the comment under the mouse, which stands still meanwhile. Without it nothing is held. */
  actions?: DanmakuAction[];
  /** Media mode keeps this many comments; the oldest in time go. Default 100,000. */
  commentsMax?: number;
  /** What was drawn and refused since the last report, at most ten times a second while something flies. */
  onReport?(report: StageReport): void;
}

export interface DanmakuStats {
  shown: number;
  flying: number;
  /** No lane in time, too many waiting, taken away before it was shown. */
  dropped: StageReport["dropped"];
  merged: number;
  /** What draws, once that is known. */
  engine: Stage["kind"];
}

const TEXT_MAX = 1_000;
const KNOWN_MAX = 2_000;
const COMMENTS_MAX = 100_000;
const PATIENCE_MS = 2_500;
const STANDING_PATIENCE_MS = 6_000;
/** A step of the media longer than this is a jump: what lies between is not shown. */
const STEP_MAX_S = 5;

let made = 0;

export class Danmaku {
  readonly #options: DanmakuOptions;
  readonly #known = new Map<string, DanmakuComment>();
  readonly #reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  readonly #off: (() => void)[] = [];
  #comments: (DanmakuComment & { time: number })[];
  #stage: Stage;
  #hover: Hover | undefined;
  #config: StageConfig;
  #visible = true;
  #next = 0;
  #at = 0;
  #frame = 0;
  #stats: DanmakuStats = { shown: 0, flying: 0, dropped: { late: 0, crowded: 0, cleared: 0 }, merged: 0, engine: undefined };
  #before = { shown: 0, late: 0, crowded: 0, cleared: 0, merged: 0 };

  constructor(options: DanmakuOptions) {
    this.#options = { ...options };
    const { container, media, comments = [], speed, area = 1, scale = 1, opacity = 1, safeTop, safeBottom, merge, family } = options;
    if (getComputedStyle(container).position === "static") container.style.position = "relative";
    this.#config = {
      area, scale, opacity, rate: 1,
      ...(speed === undefined ? {} : { speed }), ...(safeTop === undefined ? {} : { safeTop }), ...(safeBottom === undefined ? {} : { safeBottom }),
      ...(merge === undefined ? {} : { merge }), ...(family === undefined ? {} : { family }),
    };
    this.#comments = comments.map((comment) => ({ ...comment, time: comment.time ?? 0 })).sort((a, b) => a.time - b.time);
    this.#stage = this.#makeStage(options.engine ?? "auto");
    if (media) this.#follow(media);
  }

  /** Pixels a second. */
  get speed(): number {
    return this.#config.speed ?? this.#options.container.clientWidth / 9;
  }

  set speed(speed: number) {
    if (Number.isFinite(speed) && speed > 0) this.configure({ speed });
  }

  get stats(): DanmakuStats {
    return { ...this.#stats, engine: this.#stage.kind };
  }

  /** Says one now; in media mode with `time`, then. */
  emit(comment: DanmakuComment): this {
    const { media } = this.#options;
    if (!media) this.#show([comment]);
    else this.#insert({ ...comment, time: comment.time ?? media.currentTime });
    return this;
  }

  /** Takes comments away by their ids: moderated ones, recalled ones. */
  remove(ids: readonly string[]): this {
    const gone = new Set(ids);
    this.#comments = this.#comments.filter(({ id }, at) => {
      const goes = id !== undefined && gone.has(id);
      if (goes && at < this.#next) this.#next--;
      return !goes;
    });
    for (const id of ids) this.#known.delete(id);
    this.#stage.remove([...ids]);
    return this;
  }

  /** Changes any of these while comments fly. */
  configure(part: Partial<Pick<StageConfig, "area" | "scale" | "opacity" | "speed" | "safeTop" | "safeBottom" | "merge" | "family" | "standingMs">>): this {
    this.#config = { ...this.#config, ...part };
    this.#stage.configure(this.#config);
    return this;
  }

  /** Comments show only there. An image is taken over: pass a fresh bitmap for each frame. */
  mask(mask: Mask | null): this {
    this.#stage.mask(mask);
    return this;
  }

  /** The comment at this point of the container. */
  async hit(x: number, y: number): Promise<{ comment: DanmakuComment; box: Hit } | null> {
    const box = await this.#stage.hit(x, y);
    const comment = box ? this.#known.get(box.id) : undefined;
    return box && comment ? { comment, box } : null;
  }

  /** This one stands still until another, or none, is held. */
  hold(id: string | null): this {
    this.#stage.hold(id);
    return this;
  }

  show(): this {
    this.#visible = true;
    this.#stage.layer.style.visibility = "";
    this.#seek();
    return this;
  }

  /** Hides the stage; what is said meanwhile is not shown later. */
  hide(): this {
    this.#visible = false;
    this.#stage.layer.style.visibility = "hidden";
    return this.clear();
  }

  /** Takes away all that flies or waits. */
  clear(): this {
    this.#known.clear();
    this.#stage.clear();
    return this;
  }

  /** Not needed: the stage watches its size. */
  resize(): this {
    this.#stage.resize();
    return this;
  }

  destroy(): this {
    cancelAnimationFrame(this.#frame);
    for (const off of this.#off.splice(0)) off();
    this.#hover?.destroy();
    this.#stage.destroy();
    this.#comments = [];
    this.#known.clear();
    this.#visible = false;
    return this;
  }

  // ---- media ------------------------------------------------------------------------------------

  #follow(media: HTMLMediaElement): void {
    const on = (names: string[], listener: () => void): void => {
      for (const name of names) media.addEventListener(name, listener);
      this.#off.push(() => names.forEach((name) => media.removeEventListener(name, listener)));
    };
    on(["play", "playing", "pause", "waiting", "ratechange", "ended"], () => this.#run(media));
    on(["seeking"], () => (this.clear(), this.#seek()));
    this.#seek();
    this.#run(media);
  }

  /** The stage's clock runs as the media does, and nothing runs while it stands. */
  #run(media: HTMLMediaElement): void {
    const runs = !media.paused && !media.ended && media.readyState >= 2;
    const rate = runs ? media.playbackRate : 0;
    if (rate !== this.#config.rate) {
      this.#config = { ...this.#config, rate };
      this.#stage.configure(this.#config);
    }
    cancelAnimationFrame(this.#frame);
    if (runs) this.#tick(media);
  }

  #tick(media: HTMLMediaElement): void {
    this.#advance(media.currentTime);
    this.#frame = requestAnimationFrame(() => this.#tick(media));
  }

  #advance(seconds: number): void {
    if (seconds < this.#at || seconds - this.#at > STEP_MAX_S) return this.#seek();
    this.#at = seconds;
    const first = this.#next;
    while ((this.#comments[this.#next]?.time ?? Infinity) <= seconds) this.#next++;
    if (this.#next > first) this.#show(this.#comments.slice(first, this.#next));
  }

  #seek(): void {
    this.#at = this.#options.media?.currentTime ?? 0;
    this.#next = firstAfter(this.#comments, this.#at);
  }

  #insert(comment: DanmakuComment & { time: number }): void {
    const at = firstAfter(this.#comments, comment.time);
    this.#comments.splice(at, 0, comment);
    // Said at this very moment: it is due with the next frame, or now if the media stands.
    if (comment.time <= this.#at) {
      if (this.#at - comment.time < 1) this.#show([comment]);
      this.#next++;
    }
    if (this.#comments.length <= (this.#options.commentsMax ?? COMMENTS_MAX)) return;
    this.#comments.shift();
    this.#next = Math.max(0, this.#next - 1);
  }

  // ---- the stage ----------------------------------------------------------------------------------

  #makeStage(engine: EngineKind): Stage {
    const stage = new Stage(this.#options.container, this.#config, { report: (report) => this.#reported(report) }, engine);
    if (this.#options.actions?.length) {
      const { container, pointers = container, actions } = this.#options;
      this.#hover = new Hover({ container, pointers, stage, actions, known: (id) => this.#known.get(id) });
    }
    return stage;
  }

  /** A comment is an element of its own: only elements can carry it. What flew on the canvas is gone. */
  #moveToElements(): void {
    this.#hover?.destroy();
    this.#stage.destroy();
    this.#before = { shown: this.#stats.shown, ...this.#stats.dropped, merged: this.#stats.merged };
    this.#stage = this.#makeStage("dom");
  }

  #show(comments: readonly DanmakuComment[]): void {
    if (!this.#visible) return;
    // First: making one may move the stage to elements.
    const items = comments.flatMap((comment) => this.#item(comment) ?? []);
    this.#stage.add(items);
  }

  #item(comment: DanmakuComment): StageItem | undefined {
    const text = (comment.text ?? "").slice(0, TEXT_MAX);
    const picture = comment.render ? this.#rendered(comment.render()) : undefined;
    if (text.trim() === "" && !picture) return undefined;
    const id = comment.id ?? `local-${++made}`;
    this.#remember({ ...comment, id });
    const mode = this.#mode(comment.mode);
    const standing = mode === "top" || mode === "bottom";
    return {
      id, text, mode,
      userId: comment.userId ?? "",
      size: comment.size ?? "normal",
      look: comment.look ?? "plain",
      priority: comment.priority ?? 0,
      patienceMs: comment.patienceMs ?? (standing ? STANDING_PATIENCE_MS : PATIENCE_MS),
      ...lookOf(comment.style ?? {}),
      ...(comment.count === undefined ? {} : { count: comment.count }),
      ...(comment.path ? { path: comment.path } : {}),
      ...(picture ? { picture } : {}),
    };
  }

  #mode(mode: DanmakuMode = "rtl"): Mode {
    const { motion = "system" } = this.#options;
    if (mode === "top" || mode === "bottom") return mode;
    if (motion === "still" || (motion === "system" && this.#reducedMotion.matches)) return "top";
    return mode === "ltr" ? "reverse" : "scroll";
  }

  #rendered(source: HTMLElement): Picture {
    if (source instanceof HTMLCanvasElement && this.#options.engine !== "dom" && this.#stage.kind !== "dom") {
      const { width, height } = source;
      const copy = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
      copy.getContext("2d")?.drawImage(source, 0, 0);
      return { source: copy.transferToImageBitmap(), width, height };
    }
    if (this.#stage.kind !== "dom") this.#moveToElements();
    return { source, ...measured(source, this.#options.container) };
  }

  #remember(comment: DanmakuComment & { id: string }): void {
    this.#known.set(comment.id, comment);
    if (this.#known.size <= KNOWN_MAX) return;
    const oldest = this.#known.keys().next();
    if (!oldest.done) this.#known.delete(oldest.value);
  }

  #reported(report: StageReport): void {
    const { shown, late, crowded, cleared, merged } = this.#before;
    const { dropped } = report;
    this.#stats = {
      shown: shown + report.shown, flying: report.flying, merged: merged + report.merged, engine: this.#stage.kind,
      dropped: { late: late + dropped.late, crowded: crowded + dropped.crowded, cleared: cleared + dropped.cleared },
    };
    this.#options.onReport?.(report);
  }
}

/** Where the first comment later than this is. */
function firstAfter(comments: readonly { time: number }[], seconds: number): number {
  let [low, high] = [0, comments.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((comments[middle]?.time ?? 0) <= seconds) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The size an element has where it will fly. */
function measured(element: HTMLElement, container: HTMLElement): { width: number; height: number } {
  Object.assign(element.style, { position: "absolute", visibility: "hidden", whiteSpace: "nowrap" });
  container.append(element);
  const { offsetWidth: width, offsetHeight: height } = element;
  element.remove();
  element.style.visibility = "";
  return { width: Math.max(1, width), height: Math.max(1, height) };
}

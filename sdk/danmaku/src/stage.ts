/**
 * The page's hold on the flying comments: puts a layer over the picture and hands it to an engine in a worker, on the page's
 * canvas, or, where neither works, on elements. Watches size and pixel ratio. Callers never learn which it is.
 */
import { CanvasPainter } from "./canvas-painter.js";
import { DomPainter } from "./dom-painter.js";
import { Engine } from "./engine.js";
import type { FromStage, Hit, Mask, StageCommand, StageConfig, StageItem, StageReport, StageSize, ToStage } from "./messages.js";
import type { Painter } from "./painter.js";
import StageWorker from "./worker?worker&inline";

export interface StageHandlers {
  report(report: StageReport): void;
}

/** `auto`: the first of the three that works. */
export type EngineKind = "auto" | "worker" | "canvas" | "dom";

interface Link {
  post(command: StageCommand): void;
  hit(x: number, y: number): Promise<Hit | null>;
  stop(): void;
}

/** A page may forbid workers without saying so. */
const WORKER_READY_MS = 5_000;
/** Commands kept until the worker runs; the oldest comments are let go. */
const QUEUED_MAX = 500;

export class Stage {
  /** What lies over the picture. */
  readonly layer: HTMLElement;
  /** What draws: undefined until the worker has said that it runs, or failed to. */
  kind: Exclude<EngineKind, "auto"> | undefined;

  #link: Link | undefined;
  #queue: StageCommand[] = [];
  #observer: ResizeObserver | undefined;
  #ratio: MediaQueryList | undefined;
  #stopped = false;

  constructor(
    private readonly parent: HTMLElement,
    private config: StageConfig,
    private readonly handlers: StageHandlers,
    engine: EngineKind = "auto",
  ) {
    const canvas = engine === "dom" ? undefined : document.createElement("canvas");
    this.layer = canvas ?? document.createElement("div");
    this.layer.className = "stage-canvas";
    this.layer.setAttribute("aria-hidden", "true");
    Object.assign(this.layer.style, { position: "absolute", inset: "0", width: "100%", height: "100%", pointerEvents: "none", overflow: "hidden" });
    parent.append(this.layer);
    if (!canvas) this.#begin(domLink(this.layer, this.#size(), config, handlers), "dom");
    else if (engine !== "canvas" && canDrawInWorker(canvas)) this.#startWorker(canvas);
    else this.#drawHere(canvas);
    this.#watchSize();
  }

  add(items: StageItem[]): void {
    if (items.length > 0) this.#post({ type: "add", items });
  }

  remove(ids: string[]): void {
    if (ids.length > 0) this.#post({ type: "remove", ids });
  }

  /** This one stands still, or none. */
  hold(id: string | null): void {
    this.#post({ type: "hold", id });
  }

  clear(): void {
    this.#post({ type: "clear" });
  }

  configure(config: StageConfig): void {
    this.config = config;
    this.#post({ type: "config", config });
  }

  /** Takes over the image of a mask: it must not be used afterwards. */
  mask(mask: Mask | null): void {
    this.#post({ type: "mask", mask });
  }

  /** Looks at the size again; by itself it does so when the box or the pixel ratio changes. */
  resize(): void {
    this.#post({ type: "size", size: this.#size() });
  }

  /** The comment at this point of the stage. */
  hit(x: number, y: number): Promise<Hit | null> {
    return this.#link?.hit(x, y) ?? Promise.resolve(null);
  }

  /** Takes the layer away and ends the worker. */
  destroy(): void {
    this.#stopped = true;
    this.#observer?.disconnect();
    this.#link?.stop();
    this.#queue = [];
    this.layer.remove();
  }

  #post(command: StageCommand): void {
    if (this.#stopped) return;
    if (this.#link) return this.#link.post(command);
    this.#queue.push(command);
    if (this.#queue.length > QUEUED_MAX) this.#queue.shift();
  }

  #begin(link: Link, kind: Exclude<EngineKind, "auto">): void {
    if (this.#stopped) return link.stop();
    this.#link = link;
    this.kind = kind;
    for (const command of this.#queue.splice(0)) link.post(command);
  }

  #drawHere(canvas: HTMLCanvasElement): void {
    try {
      this.#begin(canvasLink(canvas, this.#size(), this.config, this.handlers), "canvas");
    } catch {
      const box = document.createElement("div");
      box.style.cssText = canvas.style.cssText;
      box.className = canvas.className;
      canvas.replaceWith(box);
      Object.assign(this, { layer: box });
      this.#begin(domLink(box, this.#size(), this.config, this.handlers), "dom");
    }
  }

  /** The canvas is handed over once the worker has said that it runs: after that there is no way back. */
  #startWorker(canvas: HTMLCanvasElement): void {
    let settled = false;
    let worker: Worker | undefined;
    const failed = (): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      worker?.terminate();
      if (!this.#stopped) this.#drawHere(canvas);
    };
    const timer = setTimeout(failed, WORKER_READY_MS);
    try {
      worker = new StageWorker({ name: "stage" });
    } catch {
      return failed();
    }
    const running = worker;
    running.onerror = failed;
    running.onmessage = ({ data }: MessageEvent<FromStage>) => {
      if (data.type !== "ready" || settled) return;
      settled = true;
      clearTimeout(timer);
      this.#begin(workerLink(running, canvas, this.#size(), this.config, this.handlers), "worker");
    };
  }

  #size(): StageSize {
    const { clientWidth, clientHeight } = this.parent;
    // Beyond 2 the eye sees no difference, the drawing does.
    return { width: clientWidth, height: clientHeight, ratio: Math.min(2, window.devicePixelRatio || 1) };
  }

  #watchSize(): void {
    this.#observer = new ResizeObserver(() => this.resize());
    this.#observer.observe(this.parent);
    // A query for the present ratio stops matching the moment the ratio changes.
    const watchRatio = (): void => {
      this.#ratio = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
      this.#ratio.addEventListener("change", () => this.#stopped || (this.resize(), watchRatio()), { once: true });
    };
    watchRatio();
  }
}

function canDrawInWorker(canvas: HTMLCanvasElement): boolean {
  return typeof Worker === "function" && typeof OffscreenCanvas === "function" && "transferControlToOffscreen" in canvas;
}

function workerLink(worker: Worker, canvas: HTMLCanvasElement, size: StageSize, config: StageConfig, handlers: StageHandlers): Link {
  const asked = new Map<number, (hit: Hit | null) => void>();
  let asks = 0;
  worker.onmessage = ({ data }: MessageEvent<FromStage>) => {
    if (data.type === "report") return handlers.report(data.report);
    if (data.type !== "hit") return;
    asked.get(data.ask)?.(data.hit);
    asked.delete(data.ask);
  };
  const offscreen = canvas.transferControlToOffscreen();
  worker.postMessage({ type: "start", canvas: offscreen, size, config } satisfies ToStage, [offscreen]);
  return {
    post: (command) => worker.postMessage(command, handedOver(command)),
    hit: (x, y) =>
      new Promise((resolve) => {
        asked.set(++asks, resolve);
        worker.postMessage({ type: "hit", x, y, ask: asks } satisfies ToStage);
      }),
    stop: () => worker.terminate(),
  };
}

/** Bitmaps are moved rather than copied. */
function handedOver(command: StageCommand): Transferable[] {
  if (command.type === "mask") return command.mask && "image" in command.mask ? [command.mask.image] : [];
  if (command.type !== "add") return [];
  return command.items.flatMap(({ picture }) => (picture && picture.source instanceof ImageBitmap ? [picture.source] : []));
}

function canvasLink(canvas: HTMLCanvasElement, size: StageSize, config: StageConfig, handlers: StageHandlers): Link {
  const createCanvas = (width: number, height: number): HTMLCanvasElement => Object.assign(document.createElement("canvas"), { width, height });
  return pageLink(new CanvasPainter(canvas, createCanvas), size, config, handlers);
}

function domLink(box: HTMLElement, size: StageSize, config: StageConfig, handlers: StageHandlers): Link {
  return pageLink(new DomPainter(box), size, config, handlers);
}

function pageLink<S>(painter: Painter<S>, size: StageSize, config: StageConfig, handlers: StageHandlers): Link {
  const surface = { painter, requestFrame: (callback: (ms: number) => void) => void requestAnimationFrame(callback) };
  const engine = new Engine(surface, size, config, (report) => handlers.report(report));
  return {
    post: (command) => engine.handle(command),
    hit: (x, y) => Promise.resolve(engine.hit(x, y)),
    stop: () => engine.stop(),
  };
}

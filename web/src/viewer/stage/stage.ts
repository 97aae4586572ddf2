/**
 * The page's hold on the flying comments: puts a canvas over the picture and hands it to a worker, or, where the browser
 * cannot do that, to an engine on the page itself. Watches size and pixel ratio. Callers never learn which it is.
 */
import { Engine } from "./engine";
import type { FromStage, Hit, StageCommand, StageConfig, StageItem, StageReport, StageSize, ToStage } from "./messages";

export interface StageHandlers {
  report(report: StageReport): void;
}

interface Link {
  post(command: StageCommand): void;
  hit(x: number, y: number): Promise<Hit | null>;
}

export class Stage {
  readonly canvas: HTMLCanvasElement;
  readonly #link: Link;

  constructor(
    private readonly parent: HTMLElement,
    config: StageConfig,
    handlers: StageHandlers,
  ) {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "stage-canvas";
    this.canvas.setAttribute("aria-hidden", "true");
    parent.append(this.canvas);
    this.#link = canDrawInWorker(this.canvas)
      ? workerLink(this.canvas, this.#size(), config, handlers)
      : pageLink(this.canvas, this.#size(), config, handlers);
    this.#watchSize();
  }

  add(items: StageItem[]): void {
    if (items.length > 0) this.#link.post({ type: "add", items });
  }

  remove(ids: string[]): void {
    this.#link.post({ type: "remove", ids });
  }

  removeUser(userId: string): void {
    this.#link.post({ type: "remove_user", userId });
  }

  clear(): void {
    this.#link.post({ type: "clear" });
  }

  configure(config: StageConfig): void {
    this.#link.post({ type: "config", config });
  }

  /** The comment at this point of the stage. */
  hit(x: number, y: number): Promise<Hit | null> {
    return this.#link.hit(x, y);
  }

  #size(): StageSize {
    const { clientWidth, clientHeight } = this.parent;
    // Beyond 2 the eye sees no difference, the drawing does.
    return { width: clientWidth, height: clientHeight, ratio: Math.min(2, window.devicePixelRatio || 1) };
  }

  #watchSize(): void {
    const told = (): void => this.#link.post({ type: "size", size: this.#size() });
    new ResizeObserver(told).observe(this.parent);
    // A query for the present ratio stops matching the moment the ratio changes.
    const watchRatio = (): void => {
      matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`).addEventListener("change", () => (told(), watchRatio()), { once: true });
    };
    watchRatio();
  }
}

function canDrawInWorker(canvas: HTMLCanvasElement): boolean {
  return typeof Worker === "function" && typeof OffscreenCanvas === "function" && "transferControlToOffscreen" in canvas;
}

function workerLink(canvas: HTMLCanvasElement, size: StageSize, config: StageConfig, handlers: StageHandlers): Link {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "stage" });
  const asked = new Map<number, (hit: Hit | null) => void>();
  let asks = 0;
  worker.onmessage = ({ data }: MessageEvent<FromStage>) => {
    if (data.type === "report") return handlers.report(data.report);
    asked.get(data.ask)?.(data.hit);
    asked.delete(data.ask);
  };
  const offscreen = canvas.transferControlToOffscreen();
  worker.postMessage({ type: "start", canvas: offscreen, size, config } satisfies ToStage, [offscreen]);
  return {
    post: (command) => worker.postMessage(command),
    hit: (x, y) =>
      new Promise((resolve) => {
        asked.set(++asks, resolve);
        worker.postMessage({ type: "hit", x, y, ask: asks } satisfies ToStage);
      }),
  };
}

function pageLink(canvas: HTMLCanvasElement, size: StageSize, config: StageConfig, handlers: StageHandlers): Link {
  const createCanvas = (width: number, height: number): HTMLCanvasElement => Object.assign(document.createElement("canvas"), { width, height });
  const surface = { canvas, createCanvas, requestFrame: (callback: (ms: number) => void) => void requestAnimationFrame(callback) };
  const engine = new Engine(surface, size, config, (report) => handlers.report(report));
  return {
    post: (command) => engine.handle(command),
    hit: (x, y) => Promise.resolve(engine.hit(x, y)),
  };
}

/** The worker around the engine: says that it runs, takes messages in, sends reports out. */
import { CanvasPainter } from "./canvas-painter.js";
import { Engine } from "./engine.js";
import type { FromStage, ToStage } from "./messages.js";
import type { Sprite } from "./sprites.js";

/** The part of a dedicated worker's global scope used here (the page's types are loaded, the worker's are not). */
interface Scope {
  onmessage: ((event: MessageEvent<ToStage>) => void) | null;
  postMessage(message: FromStage): void;
  requestAnimationFrame(callback: (ms: number) => void): number;
}

const scope = self as unknown as Scope;
let engine: Engine<Sprite> | undefined;

scope.onmessage = ({ data }) => {
  if (data.type === "start") {
    const painter = new CanvasPainter(data.canvas, (width, height) => new OffscreenCanvas(width, height));
    const surface = { painter, requestFrame: (callback: (ms: number) => void) => void scope.requestAnimationFrame(callback) };
    engine = new Engine(surface, data.size, data.config, (report) => scope.postMessage({ type: "report", report }));
  } else if (engine && data.type === "hit") {
    scope.postMessage({ type: "hit", ask: data.ask, hit: engine.hit(data.x, data.y) });
  } else if (data.type !== "hit") {
    engine?.handle(data);
  }
};

scope.postMessage({ type: "ready" });

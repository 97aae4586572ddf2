/** The worker around the engine: takes messages in, sends reports out. */
import { Engine } from "./engine";
import type { FromStage, ToStage } from "./messages";

/** The part of a dedicated worker's global scope used here (the page's types are loaded, the worker's are not). */
interface Scope {
  onmessage: ((event: MessageEvent<ToStage>) => void) | null;
  postMessage(message: FromStage): void;
  requestAnimationFrame(callback: (ms: number) => void): number;
}

const scope = self as unknown as Scope;
let engine: Engine | undefined;

scope.onmessage = ({ data }) => {
  if (data.type === "start") {
    engine = new Engine(
      {
        canvas: data.canvas,
        createCanvas: (width, height) => new OffscreenCanvas(width, height),
        requestFrame: (callback) => void scope.requestAnimationFrame(callback),
      },
      data.size,
      data.config,
      (report) => scope.postMessage({ type: "report", report }),
    );
  } else if (engine && data.type === "hit") {
    scope.postMessage({ type: "hit", ask: data.ask, hit: engine.hit(data.x, data.y) });
  } else if (data.type !== "hit") {
    engine?.handle(data);
  }
};

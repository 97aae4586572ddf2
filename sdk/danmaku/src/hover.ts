/**
 * The comment under the mouse stands still and gets a small bar of buttons; the others fly on. Owned by `Danmaku` when it
 * was given actions. Listens to the container alone, so that the page's own controls stay usable.
 */
import type { DanmakuAction, DanmakuComment } from "./danmaku.js";
import type { Stage } from "./stage.js";

const LOOK_MS = 60;
const LEAVE_MS = 200;
/** A mouse left lying on a comment does not hold it for longer. */
const HOLD_MAX_MS = 15_000;

export interface HoverParts {
  container: HTMLElement;
  /** Whose mouse is listened to. */
  pointers: HTMLElement;
  stage: Pick<Stage, "hit" | "hold">;
  actions: readonly DanmakuAction[];
  known(id: string): DanmakuComment | undefined;
}

export class Hover {
  readonly #bar = document.createElement("div");
  #held: string | undefined;
  #last: { x: number; y: number } | undefined;
  #leaving: ReturnType<typeof setTimeout> | undefined;
  #looking: ReturnType<typeof setTimeout> | undefined;
  #release: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly parts: HoverParts) {
    this.#bar.className = "danmaku-actions";
    this.#bar.hidden = true;
    this.#bar.setAttribute("role", "toolbar");
    this.#bar.setAttribute("part", "actions");
    parts.container.append(this.#bar);
    parts.pointers.addEventListener("pointermove", this.#moved);
    parts.pointers.addEventListener("pointerleave", this.#left);
    this.#bar.addEventListener("pointerenter", () => clearTimeout(this.#leaving));
    this.#bar.addEventListener("pointerleave", this.#left);
  }

  destroy(): void {
    this.parts.pointers.removeEventListener("pointermove", this.#moved);
    this.parts.pointers.removeEventListener("pointerleave", this.#left);
    this.#let(undefined);
    clearTimeout(this.#looking);
    clearTimeout(this.#leaving);
    this.#bar.remove();
  }

  readonly #moved = (event: PointerEvent): void => {
    if (event.composedPath().includes(this.#bar)) return;
    clearTimeout(this.#leaving);
    const box = this.parts.container.getBoundingClientRect();
    this.#last = { x: event.clientX - box.left, y: event.clientY - box.top };
    this.#looking ??= setTimeout(() => void this.#look(), LOOK_MS);
  };

  /** The way to the bar may leave the picture for a moment. */
  readonly #left = (): void => {
    clearTimeout(this.#leaving);
    this.#leaving = setTimeout(() => {
      this.#last = undefined;
      this.#let(undefined);
    }, LEAVE_MS);
  };

  async #look(): Promise<void> {
    this.#looking = undefined;
    const at = this.#last;
    const hit = at ? await this.parts.stage.hit(at.x, at.y) : null;
    if (!this.#last || hit?.id === this.#held) return;
    this.#let(hit?.id);
    const comment = hit ? this.parts.known(hit.id) : undefined;
    if (hit && comment) this.#show(comment, hit.x, hit.y + hit.height);
  }

  #let(id: string | undefined): void {
    clearTimeout(this.#release);
    if (id !== undefined) this.#release = setTimeout(() => this.#let(undefined), HOLD_MAX_MS);
    if (id === this.#held) return;
    this.#held = id;
    this.#bar.hidden = true;
    this.parts.stage.hold(id ?? null);
  }

  #show(comment: DanmakuComment, x: number, y: number): void {
    const buttons = this.parts.actions.map(({ label, run }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => {
        run(comment);
        this.#let(undefined);
      });
      return button;
    });
    this.#bar.replaceChildren(...buttons);
    this.#bar.hidden = false;
    const left = Math.min(Math.max(0, x), Math.max(0, this.parts.container.clientWidth - this.#bar.offsetWidth));
    const top = Math.min(y, Math.max(0, this.parts.container.clientHeight - this.#bar.offsetHeight));
    Object.assign(this.#bar.style, { position: "absolute", left: `${left}px`, top: `${top}px`, pointerEvents: "auto" });
  }
}

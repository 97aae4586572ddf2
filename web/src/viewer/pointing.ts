/** The mouse and the finger over flying comments: one that is pointed at stands still and can be clicked. */
import type { Hit } from "./stage/messages";

const HOVER_MS = 90;
/** A mouse left lying on a comment does not hold the others up for longer. */
const HOLD_MAX_MS = 5_000;

export interface PointingHandlers {
  hit(x: number, y: number): Promise<Hit | null>;
  /** A comment is under the resting mouse, or no longer. */
  hovering(yes: boolean): void;
  /** A comment was clicked, at this point of the window. */
  clicked(id: string, at: { x: number; y: number }): void;
  /** The picture was clicked where no comment is. */
  missed(): void;
}

export class Pointing {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hovering = false;
  #release: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly picture: HTMLElement,
    private readonly handlers: PointingHandlers,
  ) {
    picture.addEventListener("pointermove", (event) => this.#moved(event));
    picture.addEventListener("pointerleave", () => this.#hover(false));
    picture.addEventListener("click", (event) => void this.#clicked(event));
  }

  #moved(event: PointerEvent): void {
    if (event.pointerType !== "mouse" || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#hitAt(event).then((hit) => this.#hover(hit !== null));
    }, HOVER_MS);
  }

  #hover(yes: boolean): void {
    if (yes === this.#hovering) return;
    clearTimeout(this.#release);
    if (yes) this.#release = setTimeout(() => this.#hover(false), HOLD_MAX_MS);
    this.#hovering = yes;
    this.picture.classList.toggle("on-comment", yes);
    this.handlers.hovering(yes);
  }

  async #clicked(event: MouseEvent): Promise<void> {
    if ((event.target as HTMLElement).closest("button")) return;
    const hit = await this.#hitAt(event);
    if (hit) this.handlers.clicked(hit.id, { x: event.clientX, y: event.clientY });
    else this.handlers.missed();
  }

  #hitAt({ clientX, clientY }: MouseEvent): Promise<Hit | null> {
    const box = this.picture.getBoundingClientRect();
    return this.handlers.hit(clientX - box.left, clientY - box.top);
  }
}

/**
 * The mouse and the finger over the picture: the comment under the mouse stands still and gets a card; a click on one
 * opens its menu; a click elsewhere is for the player. Shows nothing itself.
 */
import type { Hit } from "@barrage/danmaku";

const HOVER_MS = 60;
/** A mouse left lying on a comment does not hold it for longer. */
const HOLD_MAX_MS = 15_000;
/** Elements over the picture with a use of their own. */
const OWN_USE = "button, a, input, select, textarea, label, .controls, .comment-card, .menu, .sheet, .banner, .picture-card, .picture-problem, .note";

export interface PointingHandlers {
  hit(x: number, y: number): Promise<Hit | null>;
  /** The comment under the resting mouse or the finger, or none any more. */
  pointed(hit: Hit | null): void;
  /** A comment was clicked with the mouse, at this point of the window. */
  clicked(id: string, at: { x: number; y: number }): void;
  /** The picture was clicked where no comment is. */
  missed(touch: boolean): void;
  doubleClicked(): void;
}

export class Pointing {
  #looking = false;
  #pointed: string | undefined;
  #release: ReturnType<typeof setTimeout> | undefined;
  #last: { clientX: number; clientY: number } | undefined;

  constructor(
    private readonly picture: HTMLElement,
    private readonly handlers: PointingHandlers,
  ) {
    picture.addEventListener("pointermove", (event) => this.#moved(event));
    picture.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.#leave());
    picture.addEventListener("click", (event) => void this.#clicked(event));
    picture.addEventListener("dblclick", (event) => isOn(event, OWN_USE) || handlers.doubleClicked());
  }

  /** Lets go of the comment that is held. */
  release(): void {
    this.#point(null);
  }

  #moved(event: PointerEvent): void {
    if (event.pointerType !== "mouse") return;
    if (isOn(event, ".comment-card")) return;
    this.#last = isOn(event, OWN_USE) ? undefined : { clientX: event.clientX, clientY: event.clientY };
    if (this.#looking) return;
    this.#looking = true;
    setTimeout(() => this.#look(), HOVER_MS);
  }

  #look(): void {
    this.#looking = false;
    if (!this.#last) return this.#point(null);
    void this.#hitAt(this.#last).then((hit) => this.#last && this.#point(hit));
  }

  #leave(): void {
    this.#last = undefined;
    this.#point(null);
  }

  #point(hit: Hit | null): void {
    if (hit?.id === this.#pointed) return;
    this.#pointed = hit?.id;
    clearTimeout(this.#release);
    if (hit) this.#release = setTimeout(() => this.#point(null), HOLD_MAX_MS);
    this.picture.classList.toggle("on-comment", hit !== null);
    this.handlers.pointed(hit);
  }

  async #clicked(event: MouseEvent): Promise<void> {
    if (isOn(event, OWN_USE)) return;
    const touch = (event as PointerEvent).pointerType === "touch";
    const hit = await this.#hitAt(event);
    if (touch) this.#point(hit);
    else if (hit) this.handlers.clicked(hit.id, { x: event.clientX, y: event.clientY });
    if (!hit) this.handlers.missed(touch);
  }

  #hitAt({ clientX, clientY }: { clientX: number; clientY: number }): Promise<Hit | null> {
    const box = this.picture.getBoundingClientRect();
    return this.handlers.hit(clientX - box.left, clientY - box.top);
  }
}

/** By the way of the event: a button that changes its icon has taken the target out of the page by now. */
function isOn(event: Event, selector: string): boolean {
  return event.composedPath().some((node) => node instanceof Element && node.matches(selector));
}

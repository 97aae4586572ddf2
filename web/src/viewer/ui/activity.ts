/** Hides the bar over the picture while nobody uses it. Only the class changes: what is hidden can still be focused. */

const IDLE_MS = 3_000;

export class Activity {
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The bar was hidden when the finger came down: the tap shows it and does nothing else. */
  #tapShows = false;

  constructor(
    private readonly picture: HTMLElement,
    private readonly bar: HTMLElement,
    /** Whether the bar may hide now. */
    private readonly mayHide: () => boolean,
  ) {
    for (const name of ["pointermove", "keydown", "focusin", "wheel"]) picture.addEventListener(name, () => this.wake(), { passive: true });
    picture.addEventListener("pointerleave", () => this.#later(IDLE_MS / 3));
    picture.addEventListener("pointerdown", () => {
      this.#tapShows = picture.classList.contains("idle");
      this.wake();
    }, { capture: true });
    bar.addEventListener("click", (event) => {
      if (!this.#tapShows || (event as PointerEvent).pointerType !== "touch") return;
      event.preventDefault();
      event.stopPropagation();
    }, { capture: true });
    this.wake();
  }

  /** Shows the bar, for a while. */
  wake(): void {
    this.picture.classList.remove("idle");
    this.#later(IDLE_MS);
  }

  /** A tap on the bare picture: shows the bar, or hides one that was shown. */
  tapped(): void {
    if (!this.#tapShows) this.#hide();
  }

  #later(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#hide(), ms);
  }

  #hide(): void {
    if (!this.mayHide() || this.#isUsed()) return this.#later(IDLE_MS);
    this.picture.classList.add("idle");
  }

  /** Somebody writes, walks through it with the keyboard, or has a sheet open. */
  #isUsed(): boolean {
    const focused = document.activeElement;
    const typing = focused !== null && this.bar.contains(focused) && (focused.matches("input") || focused.matches(":focus-visible"));
    return typing || this.picture.querySelector(".sheet:not([hidden]), .menu, .comment-card:not([hidden])") !== null;
  }
}

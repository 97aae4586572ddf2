/**
 * Full screen of one element: the browser's own where there is one; elsewhere (an iPhone) the element fills the page.
 * Tells when it changes; shows nothing itself.
 */
export class FullScreen {
  #filling = false;

  constructor(
    private readonly element: HTMLElement,
    private readonly changed: (on: boolean) => void,
  ) {
    document.addEventListener("fullscreenchange", () => this.#tell());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#filling && !event.defaultPrevented) this.#fill(false);
    });
  }

  get on(): boolean {
    return this.#filling || document.fullscreenElement === this.element;
  }

  toggle(): void {
    if (this.#filling) this.#fill(false);
    else if (document.fullscreenElement === this.element) void document.exitFullscreen();
    else this.#enter();
  }

  #enter(): void {
    // Absent on an iPhone, whatever the types say.
    const request = this.element.requestFullscreen as (() => Promise<void>) | undefined;
    if (!request) return this.#fill(true);
    // Older browsers answer nothing; a frame without the permission rejects.
    Promise.resolve(request.call(this.element)).catch(() => this.#fill(true));
  }

  #fill(on: boolean): void {
    this.#filling = on;
    document.documentElement.classList.toggle("filled", on);
    this.element.classList.toggle("fills-page", on);
    this.#tell();
  }

  #tell(): void {
    this.changed(this.on);
  }
}

/**
 * A layer that lies exactly over a video of somebody else's page: it follows the video's place and size, lets every click
 * through, and comes along when the video alone fills the screen. It changes nothing about the video or its parents.
 */

export class VideoLayer {
  readonly element: HTMLDivElement;
  readonly #observer: ResizeObserver;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(private readonly video: HTMLElement) {
    this.element = document.createElement("div");
    this.element.className = "barrage-layer";
    Object.assign(this.element.style, {
      position: "absolute", pointerEvents: "none", overflow: "hidden", margin: "0", padding: "0", border: "0", background: "transparent", zIndex: "1",
    });
    video.after(this.element);
    this.#observer = new ResizeObserver(() => this.#place());
    this.#observer.observe(video);
    if (video.parentElement) this.#observer.observe(video.parentElement);
    // What else moves a video about its page tells nobody.
    this.#timer = setInterval(() => this.#place(), 1_000);
    document.addEventListener("fullscreenchange", this.#fullscreen);
    this.#place();
  }

  destroy(): void {
    this.#observer.disconnect();
    clearInterval(this.#timer);
    document.removeEventListener("fullscreenchange", this.#fullscreen);
    this.element.remove();
  }

  readonly #fullscreen = (): void => {
    const root = this.video.getRootNode() as Document | ShadowRoot;
    const alone = root.fullscreenElement === this.video;
    if (!("popover" in this.element)) return;
    if (alone) {
      // An element in the top layer is covered by nothing but a later one there.
      this.element.popover = "manual";
      this.element.showPopover();
    } else if (this.element.popover !== null) {
      this.element.hidePopover();
      this.element.popover = null;
    }
    this.#place();
  };

  #place(): void {
    const { style } = this.element;
    const { video } = this;
    const box = this.element.popover === null || this.element.popover === undefined
      ? { position: "absolute", left: video.offsetLeft, top: video.offsetTop, width: video.offsetWidth, height: video.offsetHeight }
      : { position: "fixed", left: 0, top: 0, width: innerWidth, height: innerHeight };
    const next = { position: box.position, left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px`, height: `${box.height}px` };
    for (const [name, value] of Object.entries(next)) if (style.getPropertyValue(name) !== value) style.setProperty(name, value);
  }
}

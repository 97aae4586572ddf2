/** A video element as `Media`: a URL, or a file the viewer picked. */
import type { Media } from "./media";

export class VideoMedia implements Media {
  readonly element: HTMLVideoElement;
  readonly hasSound = true;
  readonly #release: () => void;

  constructor(source: string | File, live: boolean) {
    const url = typeof source === "string" ? source : URL.createObjectURL(source);
    this.#release = () => {
      if (typeof source !== "string") URL.revokeObjectURL(url);
    };
    this.element = document.createElement("video");
    this.element.className = "media";
    this.element.playsInline = true;
    this.element.loop = live;
    this.element.muted = true; // browsers start only silent videos by themselves
    this.element.src = url;
  }

  get time(): number {
    return this.element.currentTime;
  }

  set time(seconds: number) {
    this.element.currentTime = seconds;
  }

  get duration(): number {
    return Number.isNaN(this.element.duration) ? 0 : this.element.duration;
  }

  get paused(): boolean {
    return this.element.paused;
  }

  get rate(): number {
    return this.element.playbackRate;
  }

  set rate(rate: number) {
    this.element.playbackRate = rate;
  }

  get muted(): boolean {
    return this.element.muted;
  }

  set muted(muted: boolean) {
    this.element.muted = muted;
  }

  play(): void {
    // Refused when the browser wants a click first; the play button is there for that.
    this.element.play().catch(() => undefined);
  }

  pause(): void {
    this.element.pause();
  }

  onChange(listener: (seeked: boolean) => void): void {
    for (const name of ["play", "pause", "ratechange", "durationchange", "volumechange", "ended"]) {
      this.element.addEventListener(name, () => listener(false));
    }
    this.element.addEventListener("seeking", () => listener(true));
  }

  onError(listener: () => void): void {
    this.element.addEventListener("error", listener);
  }

  dispose(): void {
    this.element.pause();
    this.element.removeAttribute("src");
    this.element.load();
    this.#release();
  }
}

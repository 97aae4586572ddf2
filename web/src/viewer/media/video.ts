/**
 * A video element as `Media`: a URL, or a file the viewer picked. An HLS address (`.m3u8`) is played by the browser
 * where it can and says when the picture was recorded, as Safari does; else by hls.js, which is loaded only then.
 */
import type { Media, MediaFailure } from "./media";

const HLS_TYPE = "application/vnd.apple.mpegurl";

/** WebKit's own, on an iPhone the only full screen there is. */
interface WebKitVideo extends HTMLVideoElement {
  webkitSupportsPresentationMode?(mode: string): boolean;
  webkitSetPresentationMode?(mode: string): void;
  /** When the start of the stream was recorded. */
  getStartDate?(): Date;
}

interface HlsPlayer {
  readonly playingDate: Date | null;
  destroy(): void;
}

export class VideoMedia implements Media {
  readonly element: WebKitVideo;
  readonly hasSound = true;
  readonly pictureInPicture?: () => Promise<void>;
  readonly #release: () => void;
  readonly #isFile: boolean;
  readonly #failed: ((why: MediaFailure) => void)[] = [];
  #stalled = false;
  #hls: HlsPlayer | undefined;
  #disposed = false;

  /** `at`: where to start, in seconds. */
  constructor(source: string | File, live: boolean, at = 0) {
    this.#isFile = typeof source !== "string";
    const url = typeof source === "string" ? source : URL.createObjectURL(source);
    this.#release = () => {
      if (this.#isFile) URL.revokeObjectURL(url);
    };
    this.element = document.createElement("video");
    this.element.className = "media";
    this.element.playsInline = true;
    this.element.loop = live;
    this.element.muted = true; // browsers start only silent videos by themselves
    this.#watch();
    if (canShowApart(this.element)) this.pictureInPicture = () => showApart(this.element);
    if (!this.#isFile && isHls(url)) void this.#loadHls(url);
    else this.element.src = url;
    if (at > 0) this.element.currentTime = at;
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

  get pictureMs(): number | undefined {
    const start = this.element.getStartDate?.().getTime();
    const ms = this.#hls ? this.#hls.playingDate?.getTime() : start === undefined ? undefined : start + this.element.currentTime * 1_000;
    return Number.isFinite(ms) ? ms : undefined;
  }

  get seekable(): boolean {
    const { seekable } = this.element;
    return Number.isFinite(this.duration) && this.duration > 0 && seekable.length > 0 && seekable.end(seekable.length - 1) > 0;
  }

  get paused(): boolean {
    return this.element.paused;
  }

  get ended(): boolean {
    return this.element.ended;
  }

  get stalled(): boolean {
    return this.#stalled && !this.element.paused;
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

  get volume(): number {
    return this.element.volume;
  }

  set volume(volume: number) {
    this.element.volume = Math.min(1, Math.max(0, volume));
  }

  play(): void {
    // Refused when the browser wants a click first; the play button is there for that.
    this.element.play().catch(() => undefined);
  }

  pause(): void {
    this.element.pause();
  }

  onChange(listener: (seeked: boolean) => void): void {
    for (const name of ["play", "pause", "ratechange", "durationchange", "volumechange", "ended", "waiting", "playing", "progress"]) {
      this.element.addEventListener(name, () => listener(false));
    }
    this.element.addEventListener("seeking", () => listener(true));
  }

  onError(listener: (why: MediaFailure) => void): void {
    this.#failed.push(listener);
  }

  dispose(): void {
    this.#disposed = true;
    this.#hls?.destroy();
    this.element.pause();
    this.element.removeAttribute("src");
    this.element.load();
    this.#release();
  }

  #watch(): void {
    // Registered first, so that whoever hears `onChange` reads the new state.
    for (const name of ["waiting", "seeking"]) this.element.addEventListener(name, () => (this.#stalled = true));
    for (const name of ["playing", "timeupdate", "ended", "pause"]) {
      this.element.addEventListener(name, () => (this.#stalled = name === "timeupdate" ? this.#stalled && this.element.readyState < 3 : false));
    }
    this.element.addEventListener("error", () => this.#disposed || this.#fail(reasonOf(this.element.error, this.#isFile)));
  }

  #fail(why: MediaFailure): void {
    for (const listener of this.#failed) listener(why);
  }

  async #loadHls(url: string): Promise<void> {
    const plays = this.element.canPlayType(HLS_TYPE) !== "";
    if (plays && this.element.getStartDate) return void (this.element.src = url);
    try {
      const { default: Hls } = await import("hls.js");
      if (this.#disposed) return;
      if (!Hls.isSupported()) return plays ? void (this.element.src = url) : this.#fail("format");
      // Its worker is not part of the module; remuxing a live stream on the page costs little.
      const hls = new Hls({ enableWorker: false });
      this.#hls = hls;
      hls.on(Hls.Events.ERROR, (_, { fatal, type }) => fatal && this.#fail(type === Hls.ErrorTypes.NETWORK_ERROR ? "network" : "damaged"));
      hls.loadSource(url);
      hls.attachMedia(this.element);
    } catch {
      this.#fail("network");
    }
  }
}

export function isHls(url: string): boolean {
  return /\.m3u8$/i.test(url.split(/[?#]/)[0] ?? "");
}

function reasonOf(error: MediaError | null, isFile: boolean): MediaFailure {
  switch (error?.code) {
    case 2:
      return "network";
    case 3:
      return "damaged";
    default:
      return isFile ? "file" : "format";
  }
}

function canShowApart(video: WebKitVideo): boolean {
  return document.pictureInPictureEnabled || video.webkitSupportsPresentationMode?.("picture-in-picture") === true;
}

async function showApart(video: WebKitVideo): Promise<void> {
  if (document.pictureInPictureElement === video) return document.exitPictureInPicture();
  if (document.pictureInPictureEnabled) await video.requestPictureInPicture();
  else video.webkitSetPresentationMode?.("picture-in-picture");
}

/**
 * The bar over the lower edge of the picture: play, position, speed, sound, danmaku, window. Has a place for the composer.
 * Drives a `Media` and the settings; decides nothing else.
 */
import { h } from "../../shared/dom";
import type { Media } from "../media/media";
import { BUDGETS, type SettingsStore } from "../settings";
import type { Strings } from "../strings";
import { ICONS } from "./icons";
import { clockText, face, tool } from "./tools";

const RATES = [0.5, 0.75, 1, 1.25, 1.5, 2];
const SEEK_STEPS = 1_000;
const SHOW_MS = 250;
const SVG = "http://www.w3.org/2000/svg";
export const STEP_S = 5;
export const VOLUME_STEP = 0.05;

export interface PlayerBarHandlers {
  fullscreen(): void;
}

export class PlayerBar {
  readonly element: HTMLElement;
  /** Where the composer sits while it is over the picture. */
  readonly composerPlace = h("div", { class: "composer-place" });
  readonly #play: HTMLButtonElement;
  readonly #sound: HTMLButtonElement;
  readonly #volume: HTMLInputElement;
  readonly #seek: HTMLInputElement;
  readonly #heat = document.createElementNS(SVG, "svg");
  readonly #time = h("span", { class: "time" });
  readonly #rate: HTMLSelectElement;
  readonly #toggle: HTMLButtonElement;
  readonly #quality: HTMLSelectElement;
  readonly #apart: HTMLButtonElement;
  readonly #theatre: HTMLButtonElement;
  readonly #full: HTMLButtonElement;
  #media: Media | undefined;
  #seeking = false;
  /** Browsers start only silent videos; once the viewer has switched the sound on, it stays on. */
  #muted = true;
  #live = true;

  constructor(
    private readonly t: Strings,
    private readonly settings: SettingsStore,
    settingsPanel: HTMLElement,
    recordingPanel: HTMLElement,
    handlers: PlayerBarHandlers,
  ) {
    this.#play = tool(t.play, ICONS.play, () => this.toggle());
    this.#sound = tool(t.unmute, ICONS.silent, () => this.switchSound());
    this.#volume = h("input", { type: "range", class: "volume", min: 0, max: 1, step: VOLUME_STEP, value: settings.value.volume, "aria-label": t.volume });
    this.#volume.addEventListener("input", () => this.#setVolume(Number(this.#volume.value)));
    this.#seek = h("input", { type: "range", class: "seek", min: 0, max: SEEK_STEPS, value: 0, "aria-label": t.seek });
    this.#heat.setAttribute("class", "heat");
    this.#heat.setAttribute("aria-hidden", "true");
    this.#heat.setAttribute("preserveAspectRatio", "none");
    this.#rate = h("select", { "aria-label": t.rate, title: t.rate, class: "rate" }, ...RATES.map((rate) => h("option", { value: rate, selected: rate === 1 }, `${rate}×`)));
    this.#rate.addEventListener("change", () => this.#media && (this.#media.rate = Number(this.#rate.value)));
    this.#toggle = h("button", { type: "button", class: "tool danmaku-toggle" }, "弹");
    this.#toggle.addEventListener("click", () => settings.change({ on: !settings.value.on }));
    const qualities = BUDGETS.map((n) => h("option", { value: n }, t.qualities[n] ?? String(n)));
    this.#quality = h("select", { "aria-label": t.quality, title: t.quality, class: "quality" }, ...qualities);
    this.#quality.addEventListener("change", () => settings.change({ budget: Number(this.#quality.value) }));
    this.#apart = tool(t.pictureInPicture, ICONS.apart, () => void this.#media?.pictureInPicture?.().catch(() => undefined));
    this.#theatre = tool(t.theatre, ICONS.theatre, () => settings.change({ theatre: !settings.value.theatre }));
    this.#theatre.classList.add("theatre");
    this.#full = tool(t.fullscreen, ICONS.full, handlers.fullscreen);
    this.element = h("div", { class: "controls" }, this.#seekRow(), this.#row(settingsPanel, recordingPanel));
    this.#listenToSeek();
    this.showSettings();
    setInterval(() => this.#showTime(), SHOW_MS);
  }

  /** Takes control of another media. In a live room there is no position to show. */
  attach(media: Media, live: boolean): void {
    this.#media = media;
    this.#live = live;
    this.#seeking = false;
    media.volume = this.settings.value.volume;
    media.muted = this.#muted;
    if (!live) media.rate = Number(this.#rate.value);
    media.onChange(() => media === this.#media && this.#show());
    this.#show();
  }

  /** What the settings say, here or changed elsewhere. */
  showSettings(): void {
    const { on, budget, volume, theatre } = this.settings.value;
    this.#toggle.setAttribute("aria-pressed", String(on));
    this.#toggle.setAttribute("aria-label", on ? this.t.commentsOn : this.t.commentsOff);
    this.#toggle.title = on ? this.t.commentsOn : this.t.commentsOff;
    this.#quality.value = String(budget);
    this.#volume.value = String(volume);
    this.#theatre.setAttribute("aria-pressed", String(theatre));
    if (this.#media) this.#media.volume = volume;
  }

  showFullscreen(on: boolean): void {
    face(this.#full, on ? this.t.leaveFullscreen : this.t.fullscreen, on ? ICONS.notFull : ICONS.full);
  }

  /** The curve over the position: shares of the liveliest part. Empty: none. */
  showHeat(heat: readonly number[]): void {
    const last = heat.length - 1;
    this.#heat.setAttribute("viewBox", `0 0 ${Math.max(1, last)} 1`);
    const shape = document.createElementNS(SVG, "path");
    const points = heat.map((value, at) => `L${at} ${(1 - value).toFixed(3)}`).join("");
    shape.setAttribute("d", heat.length > 1 ? `M0 1${points}L${last} 1Z` : "");
    this.#heat.replaceChildren(shape);
  }

  toggle(): void {
    if (this.#media?.paused) this.#media.play();
    else this.#media?.pause();
  }

  switchSound(): void {
    if (!this.#media) return;
    this.#muted = !this.#media.muted;
    this.#media.muted = this.#muted;
    if (!this.#muted && this.settings.value.volume === 0) this.#setVolume(0.5);
    this.#show();
  }

  /** By a step up or down. */
  changeVolume(by: number): void {
    if (this.#media?.hasSound) this.#setVolume(this.settings.value.volume + by);
  }

  /** So many seconds on or back, where there is a position. */
  step(seconds: number): void {
    const media = this.#media;
    if (!media || this.#live || !media.seekable) return;
    media.time = Math.min(media.duration, Math.max(0, media.time + seconds));
    this.#showTime();
  }

  #seekRow(): HTMLElement {
    const row = h("div", { class: "seek-row" });
    row.append(this.#heat, this.#seek);
    return row;
  }

  #row(settingsPanel: HTMLElement, recordingPanel: HTMLElement): HTMLElement {
    const back = tool(this.t.back, ICONS.back, () => this.step(-STEP_S));
    const forward = tool(this.t.forward, ICONS.forward, () => this.step(STEP_S));
    for (const button of [back, forward]) button.classList.add("step");
    return h(
      "div",
      { class: "controls-row" },
      this.#play, back, forward, this.#time, this.#toggle, this.composerPlace,
      this.#rate, this.#quality, recordingPanel, settingsPanel,
      h("span", { class: "sound" }, this.#sound, this.#volume), this.#apart, this.#theatre, this.#full,
    );
  }

  /** A drag may end outside, be taken away, or change nothing: none of them may leave the bar waiting. */
  #listenToSeek(): void {
    this.#seek.addEventListener("input", () => {
      this.#seeking = true;
      this.#showTime();
    });
    for (const name of ["change", "pointerup", "pointercancel", "lostpointercapture", "blur", "keyup"]) {
      this.#seek.addEventListener(name, () => this.#jump());
    }
  }

  #jump(): void {
    if (!this.#seeking) return;
    this.#seeking = false;
    if (this.#media?.seekable) this.#media.time = this.#soughtTime();
    this.#showTime();
  }

  #soughtTime(): number {
    return (Number(this.#seek.value) / SEEK_STEPS) * (this.#media?.duration ?? 0);
  }

  #setVolume(volume: number): void {
    const next = Math.round(Math.min(1, Math.max(0, volume)) * 100) / 100;
    this.#muted = next === 0;
    if (this.#media) this.#media.muted = this.#muted;
    this.settings.change({ volume: next });
    this.#show();
  }

  #show(): void {
    const media = this.#media;
    if (!media) return;
    this.#muted = media.muted;
    face(this.#play, media.paused ? this.t.play : this.t.pause, media.paused ? ICONS.play : ICONS.pause);
    face(this.#sound, media.muted ? this.t.unmute : this.t.mute, media.muted ? ICONS.silent : ICONS.sound);
    this.element.classList.toggle("no-sound", !media.hasSound);
    this.element.classList.toggle("is-live", this.#live);
    this.element.classList.toggle("no-position", this.#live || !media.seekable);
    this.#seek.disabled = this.#live || !media.seekable;
    this.#apart.hidden = media.pictureInPicture === undefined;
    this.#rate.value = String(media.rate);
    this.#showTime();
  }

  #showTime(): void {
    const media = this.#media;
    if (!media || this.#live) return;
    // A file may learn its length late.
    if (this.#seek.disabled === media.seekable) return this.#show();
    const time = this.#seeking ? this.#soughtTime() : media.time;
    this.#time.textContent = media.seekable ? `${clockText(time)} / ${clockText(media.duration)}` : clockText(time);
    if (!this.#seeking && media.seekable) this.#seek.value = String(Math.round((time / media.duration) * SEEK_STEPS));
    this.#seek.style.setProperty("--done", `${Number(this.#seek.value) / 10}%`);
    this.#seek.setAttribute("aria-valuetext", clockText(time));
  }
}

/** The bar under the picture: play, position, speed, sound, what to watch, which video. Drives a `Media`; decides nothing else. */
import type { Session } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import type { Media } from "../media/media";
import type { Strings } from "../strings";
import { dropdown } from "./dropdown";
import { ICONS } from "./icons";

const RATES = [0.5, 1, 1.25, 1.5, 2];
const SEEK_STEPS = 1_000;
const LIVE = "live";

export interface PlayerBarHandlers {
  /** Undefined means live. */
  watch(sessionId: string | undefined): void;
  /** A URL, a file, or undefined for the built-in clip. */
  video(source: string | File | undefined): void;
  fullscreen(): void;
}

export class PlayerBar {
  readonly element: HTMLElement;
  readonly #play: HTMLButtonElement;
  readonly #sound: HTMLButtonElement;
  readonly #seek: HTMLInputElement;
  readonly #time = h("span", { class: "time" });
  readonly #rate: HTMLSelectElement;
  readonly #source: HTMLSelectElement;
  #media: Media | undefined;
  #seeking = false;

  constructor(
    private readonly t: Strings,
    handlers: PlayerBarHandlers,
  ) {
    this.#play = tool(t.play, ICONS.play, () => this.toggle());
    this.#sound = tool(t.unmute, ICONS.silent, () => this.#switchSound());
    this.#seek = h("input", { type: "range", class: "seek", min: 0, max: SEEK_STEPS, value: 0, "aria-label": t.seek });
    this.#seek.addEventListener("input", () => (this.#seeking = true));
    this.#seek.addEventListener("change", () => this.#jump());
    this.#rate = h("select", { "aria-label": t.rate, class: "rate" }, ...RATES.map((rate) => h("option", { value: rate, selected: rate === 1 }, `${rate}×`)));
    this.#rate.addEventListener("change", () => this.#media && (this.#media.rate = Number(this.#rate.value)));
    this.#source = h("select", { "aria-label": t.source, class: "source" }, h("option", { value: LIVE }, t.live));
    this.#source.addEventListener("change", () => handlers.watch(this.#source.value === LIVE ? undefined : this.#source.value));
    this.element = h(
      "div",
      { class: "player-bar" },
      this.#play, this.#seek, this.#time, this.#rate, h("span", { class: "grow" }), this.#source,
      this.#videoMenu(handlers), this.#sound, tool(t.fullscreen, ICONS.full, handlers.fullscreen),
    );
    setInterval(() => this.#showTime(), 250);
  }

  /** Takes control of another media. In a live room there is no position to show. */
  attach(media: Media, live: boolean): void {
    this.#media = media;
    media.onChange(() => this.#show());
    this.element.classList.toggle("is-live", live);
    this.#rate.value = "1";
    this.#show();
  }

  showSessions(sessions: Session[], label: (session: Session) => string): void {
    const selected = this.#source.value;
    const options = sessions.map((session) => h("option", { value: session.session_id }, label(session)));
    this.#source.replaceChildren(h("option", { value: LIVE }, this.t.live), ...options);
    this.#source.value = selected;
  }

  toggle(): void {
    if (this.#media?.paused) this.#media.play();
    else this.#media?.pause();
  }

  #jump(): void {
    this.#seeking = false;
    if (this.#media && Number.isFinite(this.#media.duration)) this.#media.time = (Number(this.#seek.value) / SEEK_STEPS) * this.#media.duration;
    this.#showTime();
  }

  #switchSound(): void {
    if (this.#media) this.#media.muted = !this.#media.muted;
    this.#show();
  }

  #show(): void {
    const media = this.#media;
    if (!media) return;
    face(this.#play, media.paused ? this.t.play : this.t.pause, media.paused ? ICONS.play : ICONS.pause);
    face(this.#sound, media.muted ? this.t.unmute : this.t.mute, media.muted ? ICONS.silent : ICONS.sound);
    this.#sound.hidden = !media.hasSound;
    this.#showTime();
  }

  #showTime(): void {
    const media = this.#media;
    if (!media || this.element.classList.contains("is-live")) return;
    const { time, duration } = media;
    this.#time.textContent = Number.isFinite(duration) ? `${clock(time)} / ${clock(duration)}` : clock(time);
    if (!this.#seeking && duration > 0 && Number.isFinite(duration)) this.#seek.value = String(Math.round((time / duration) * SEEK_STEPS));
    this.#seek.setAttribute("aria-valuetext", clock(time));
  }

  #videoMenu(handlers: PlayerBarHandlers): HTMLElement {
    const button = h("button", { type: "button", class: "tool", "aria-label": this.t.video, title: this.t.video }, icon(ICONS.video));
    const url = h("input", { type: "url", placeholder: "https://…", "aria-label": this.t.videoUrl });
    const open = h("button", { type: "button", class: "primary" }, this.t.openUrl);
    const file = h("input", { type: "file", accept: "video/*", class: "visually-hidden", tabindex: -1 });
    const pick = h("button", { type: "button" }, this.t.pickFile);
    const clip = h("button", { type: "button" }, this.t.useClip);
    const panel = h("div", { class: "sheet video-sheet", role: "dialog", "aria-label": this.t.video }, h("div", { class: "row" }, url, open), pick, clip, file);
    const close = dropdown(button, panel);
    const choose = (source: string | File | undefined): void => {
      close();
      handlers.video(source);
    };
    open.addEventListener("click", () => url.value !== "" && url.checkValidity() && choose(url.value));
    pick.addEventListener("click", () => file.click());
    file.addEventListener("change", () => file.files?.[0] && choose(file.files[0]));
    clip.addEventListener("click", () => choose(undefined));
    return h("div", { class: "anchor" }, button, panel);
  }
}

function tool(label: string, path: string, clicked: () => void): HTMLButtonElement {
  const button = h("button", { type: "button", class: "tool" });
  face(button, label, path);
  button.addEventListener("click", clicked);
  return button;
}

function face(button: HTMLButtonElement, label: string, path: string): void {
  if (button.title === label) return;
  button.title = label;
  button.setAttribute("aria-label", label);
  button.replaceChildren(icon(path));
}

function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3_600);
  return `${hours > 0 ? `${hours}:` : ""}${hours > 0 ? two(Math.floor(whole / 60) % 60) : Math.floor(whole / 60)}:${two(whole % 60)}`;
}

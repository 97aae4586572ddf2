/** What is laid over the picture: announcements, gifts, and notes that pass. */
import { h, icon } from "../../shared/dom";
import type { Strings } from "../strings";
import { ICONS } from "./icons";

const ANNOUNCED_MS = 20_000;
const GIFT_MS = 5_000;
const NOTE_MS = 4_000;
const GIFTS_MAX = 4;

export class Notices {
  readonly element: HTMLElement;
  readonly #banner = h("div", { class: "banner", role: "alert", hidden: true });
  readonly #gifts = h("div", { class: "gifts", role: "status" });
  readonly #note = h("p", { class: "note", role: "status", hidden: true });
  #bannerTimer: ReturnType<typeof setTimeout> | undefined;
  #noteTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly t: Strings) {
    this.element = h("div", { class: "notices" }, this.#banner, this.#gifts, this.#note);
  }

  announce(content: string): void {
    const dismiss = h("button", { type: "button", class: "tool", "aria-label": this.t.dismiss }, icon(ICONS.close));
    const hide = (): void => void (this.#banner.hidden = true);
    dismiss.addEventListener("click", hide);
    this.#banner.replaceChildren(icon(ICONS.horn), h("span", { class: "text" }, content), dismiss);
    this.#banner.hidden = false;
    clearTimeout(this.#bannerTimer);
    this.#bannerTimer = setTimeout(hide, ANNOUNCED_MS);
  }

  gift(username: string, gift: string, count: number): void {
    const card = h("div", { class: "gift" }, icon(ICONS.gift), h("span", {}, this.t.gift(username, gift, count)));
    this.#gifts.append(card);
    while (this.#gifts.childElementCount > GIFTS_MAX) this.#gifts.firstElementChild?.remove();
    setTimeout(() => card.remove(), GIFT_MS);
  }

  /** Something worth a glance. */
  note(text: string): void {
    this.#note.textContent = text;
    this.#note.hidden = false;
    clearTimeout(this.#noteTimer);
    this.#noteTimer = setTimeout(() => (this.#note.hidden = true), NOTE_MS);
  }
}

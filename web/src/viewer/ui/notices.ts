/** What is laid over the picture: announcements, gifts, and notes that pass. */
import { Combos } from "../../shared/combos";
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
  readonly #combos = new Combos<HTMLElement>();
  readonly #leaves = new Map<HTMLElement, ReturnType<typeof setTimeout>>();
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
    this.#banner.replaceChildren(icon(ICONS.horn), h("span", { class: "text", dir: "auto" }, content), dismiss);
    this.#banner.hidden = false;
    clearTimeout(this.#bannerTimer);
    this.#bannerTimer = setTimeout(hide, ANNOUNCED_MS);
  }

  /** The same gift of the same user again stays in its card. */
  gift(from: { user_id: string; username: string }, gift: string, count: number): void {
    const who = { user_id: from.user_id, gift };
    const known = this.#combos.line(who);
    const card = known?.line ?? h("div", { class: "gift" });
    // A gift that waited for its moment comes after the count that it is in.
    this.#showGift(who, { line: card, name: from.username, count: Math.max(count, known?.count ?? 0) });
    this.#gifts.append(card);
    while (this.#gifts.childElementCount > GIFTS_MAX) this.#gifts.firstElementChild?.remove();
  }

  /** How many it is by now. */
  combo(user_id: string, gift: string, count: number): void {
    const known = this.#combos.line({ user_id, gift });
    if (known) this.#showGift({ user_id, gift }, { ...known, count });
  }

  #showGift(who: { user_id: string; gift: string }, shown: { line: HTMLElement; name: string; count: number }): void {
    const { line: card, name, count } = shown;
    this.#combos.shown(who, shown);
    card.replaceChildren(icon(ICONS.gift), h("span", {}, this.t.gift(name, who.gift, count)));
    clearTimeout(this.#leaves.get(card));
    this.#leaves.set(card, setTimeout(() => (card.remove(), this.#leaves.delete(card)), GIFT_MS));
  }

  /** Something worth a glance, and perhaps an answer. */
  note(text: string, action?: { label: string; run(): void }): void {
    const button = action && h("button", { type: "button" }, action.label);
    button?.addEventListener("click", () => {
      this.#note.hidden = true;
      action?.run();
    });
    this.#note.replaceChildren(h("span", {}, text), ...(button ? [button] : []));
    this.#note.hidden = false;
    clearTimeout(this.#noteTimer);
    this.#noteTimer = setTimeout(() => (this.#note.hidden = true), action ? 2 * NOTE_MS : NOTE_MS);
  }
}

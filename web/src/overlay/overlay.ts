/**
 * The browser source of a streaming program: comments fly or stand in a list over nothing, gifts pass by, a pin and polls
 * stand at the top. Nobody looks after it, so it never gives up and keeps nothing for long.
 */
import type { ComboEvent, Comment, GiftEvent, Pin, RoomEvent } from "@barrage/client";
import { Danmaku } from "@barrage/danmaku";
import { colorOf, isStaff, shownText, toDanmaku, WHITE } from "@barrage/players";
import { RoomConnection } from "../embed/connection";
import { embedStrings, languageOf } from "../embed/strings";
import { Combos } from "../shared/combos";
import { h } from "../shared/dom";
import { PollCards } from "../shared/poll-card";
import { blocks } from "../viewer/choose";
import type { OverlayOptions } from "./options";

const ROWS_MAX = 60;
const GIFTS_MAX = 5;
const GIFT_MS = 6_000;
const ANNOUNCEMENT_MS = 12_000;
const FADE_OUT_MS = 600;

export class Overlay {
  readonly #t;
  readonly #rows = h("div", { class: "rows" });
  readonly #gifts = h("div", { class: "gifts" });
  readonly #banner = h("div", { class: "banner", hidden: true });
  readonly #pin = h("p", { class: "pin row", hidden: true });
  readonly #polls: PollCards;
  readonly #combos = new Combos<HTMLElement>();
  readonly #leaves = new Map<HTMLElement, ReturnType<typeof setTimeout>>();
  readonly #byId = new Map<string, HTMLElement>();
  readonly #danmaku: Danmaku | undefined;
  readonly #connection: RoomConnection;
  #bannerTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    root: HTMLElement,
    roomId: string,
    private readonly options: OverlayOptions,
  ) {
    this.#t = embedStrings(languageOf(options.lang, navigator.language));
    root.classList.add(options.mode, options.align);
    root.style.setProperty("--size", String(options.size));
    root.style.setProperty("--opacity", String(options.opacity));
    this.#polls = new PollCards(this.#t.polls);
    const top = h("div", { class: "top" }, this.#pin, this.#polls.element);
    root.append(this.#rows, top, this.#banner);
    // Beside a list gifts come beneath what stands at the top; else they have a place of their own.
    (options.mode === "list" ? top : root).append(this.#gifts);
    if (options.mode === "fly") {
      const { size: scale, opacity, area } = options;
      this.#danmaku = new Danmaku({ container: root, scale, opacity, area, merge: true, motion: "fly" });
      this.#setSpeed(root);
      addEventListener("resize", () => this.#setSpeed(root));
    }
    this.#connection = new RoomConnection(
      { server: location.origin, roomId, token: options.token, join: { max_per_s: options.max, history: options.mode === "list" ? 10 : 0, ...(options.only.length > 0 ? { only_user_ids: options.only } : {}) }, forever: true },
      {
        state: ({ name }) => (root.dataset.state = name),
        identified: () => undefined,
        joined: ({ pin }) => this.#joined(roomId, pin),
        comments: ({ comments, source }) => this.#received(comments, source === "live"),
        event: (event) => this.#happened(event),
      },
    );
  }

  /** The usual crossing takes 4 s and up to 6 s more on wider pictures. */
  #setSpeed(root: HTMLElement): void {
    const { speed } = this.options;
    const width = Math.max(1, root.clientWidth);
    const crossingS = 4 + 5 * Math.min(1.2, width / 1_280);
    if (speed !== 1) this.#danmaku?.configure({ speed: (width / crossingS) * speed });
  }

  #received(comments: readonly Comment[], live: boolean): void {
    for (const comment of comments) {
      if (!this.#isWanted(comment)) continue;
      if (this.#danmaku) {
        const item = live ? toDanmaku(comment) : undefined;
        if (item) this.#danmaku.emit(item);
      } else {
        this.#list(comment);
      }
    }
  }

  #isWanted(comment: Comment): boolean {
    const { hide, words } = this.options;
    const mode = comment.style?.mode ?? "scroll";
    if (hide.has(mode) || (hide.has("coloured") && colorOf(comment.style?.color) !== WHITE)) return false;
    const text = shownText(comment);
    return text !== undefined && !words.some((word) => blocks(word, text));
  }

  #list(comment: Comment): void {
    if (this.#byId.has(comment.id)) return;
    const name = this.options.hide.has("names") ? undefined : h("span", { class: `name${isStaff(comment) ? " staff" : ""}`, dir: "auto" }, comment.username || comment.user_id);
    const words = h("span", { class: "text", dir: "auto" }, shownText(comment) ?? "", comment.count !== undefined && comment.count > 1 ? ` ×${comment.count}` : undefined);
    words.style.color = colorOf(comment.style?.color);
    const row = h("p", { class: "row" }, name, words);
    this.#byId.set(comment.id, row);
    this.#rows.append(row);
    if (this.#byId.size > ROWS_MAX) this.#remove([...this.#byId.keys()].slice(0, 1));
    if (this.options.fadeS > 0) setTimeout(() => this.#fade(comment.id, row), this.options.fadeS * 1_000);
  }

  #fade(id: string, row: HTMLElement): void {
    row.classList.add("gone");
    setTimeout(() => this.#byId.get(id) === row && this.#remove([id]), FADE_OUT_MS);
  }

  #remove(ids: readonly string[]): void {
    for (const id of ids) {
      this.#byId.get(id)?.remove();
      this.#byId.delete(id);
    }
  }

  #happened(event: RoomEvent): void {
    const { hide } = this.options;
    if (event.kind === "gift" && !hide.has("gifts")) this.#gift(event);
    else if (event.kind === "announcement" && !hide.has("announcements")) this.#announce(event.content);
    else if (event.kind === "combo" && !hide.has("gifts")) this.#combo(event);
    else if (event.kind === "pin") this.#showPin(event);
    else if (event.kind === "poll" && !hide.has("polls")) this.#polls.show(event);
    else if (event.kind === "question" && event.state === "answered" && !hide.has("questions")) this.#announce(this.#t.question(event.username, event.content));
    else if (event.kind === "comment_deleted") {
      const ids = event.comment_ids ?? [event.comment_id];
      this.#remove(ids);
      this.#danmaku?.remove(ids);
    }
  }

  /** The pin is told on joining; polls that run are asked for. */
  #joined(roomId: string, pin: Pin | null | undefined): void {
    this.#showPin(pin);
    if (this.options.hide.has("polls")) return;
    this.#connection.api.polls(roomId).then((polls) => polls.forEach((poll) => this.#polls.show(poll)), () => undefined);
  }

  #showPin(pin: Pin | null | undefined): void {
    const { comment } = pin ?? {};
    const said = comment && this.#isWanted(comment) ? shownText(comment) : undefined;
    this.#pin.hidden = said === undefined || this.options.hide.has("pins");
    if (comment && said !== undefined) this.#pin.replaceChildren(h("span", { class: "name", dir: "auto" }, `${this.#t.pinned} · ${comment.username || comment.user_id}`), h("span", { class: "text", dir: "auto" }, said));
  }

  /** The same gift of the same user again stays in its line. */
  #gift({ user_id, username, gift, count }: GiftEvent): void {
    const known = this.#combos.line({ user_id, gift });
    const row = known?.line ?? h("p", { class: "gift" });
    this.#showGift(row, { user_id, gift, count: Math.max(count, known?.count ?? 0) }, username);
    this.#gifts.append(row);
    while (this.#gifts.childElementCount > GIFTS_MAX) this.#gifts.firstElementChild?.remove();
  }

  #combo({ user_id, gift, count }: ComboEvent): void {
    const known = this.#combos.line({ user_id, gift });
    if (known) this.#showGift(known.line, { user_id, gift, count }, known.name);
  }

  #showGift(row: HTMLElement, gift: { user_id: string; gift: string; count: number }, name: string): void {
    row.textContent = this.#t.gift(name, gift.gift, gift.count);
    this.#combos.shown(gift, { line: row, name, count: gift.count });
    clearTimeout(this.#leaves.get(row));
    this.#leaves.set(row, setTimeout(() => (row.remove(), this.#leaves.delete(row)), GIFT_MS));
  }

  #announce(content: string): void {
    clearTimeout(this.#bannerTimer);
    this.#banner.textContent = content;
    this.#banner.hidden = false;
    this.#bannerTimer = setTimeout(() => (this.#banner.hidden = true), ANNOUNCEMENT_MS);
  }
}

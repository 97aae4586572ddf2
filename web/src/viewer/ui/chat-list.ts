/** The list of comments beside the picture. Bounded in elements and in how many it takes a second; it says what it left out. */
import type { Comment } from "@barrage/client";
import { h } from "../../shared/dom";
import { isStaff, mentions, shownText } from "@barrage/players";
import { isRightToLeft } from "@barrage/danmaku";
import type { Strings } from "../strings";

const ROWS_MAX = 200;
/** While somebody reads further up nothing is taken away above them, up to here. */
const ROWS_READING_MAX = 800;
const FLUSH_MS = 200;
/** In the long run more than this nobody reads, and each row costs a layout… */
const ROWS_PER_FLUSH = 8;
/** …but what comes at once after a silence is all kept. */
const BURST_ROWS = 60;
/** Nearer than this to the end counts as being there. */
const END_PX = 48;

export class ChatList {
  readonly element: HTMLElement;
  readonly #list = h("div", { class: "chat-rows", role: "log", "aria-live": "off", tabindex: 0 });
  readonly #below: HTMLButtonElement;
  readonly #rows = new Map<string, HTMLElement>();
  #waiting: Comment[] = [];
  #skipped = 0;
  #following = true;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Rows that may be added by now; grows with time. */
  #allowance = BURST_ROWS;
  #allowedAt = performance.now();

  constructor(
    private readonly t: Strings,
    private readonly me: () => string | undefined,
    private readonly openMenu: (comment: Comment, opener: HTMLElement) => void,
  ) {
    this.#list.setAttribute("aria-label", t.chat);
    this.#below = h("button", { type: "button", class: "chat-below", hidden: true }, t.newBelow);
    this.#below.addEventListener("click", () => this.#toEnd());
    this.#list.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.#list);
    this.#list.addEventListener("keydown", (event) => this.#moveFocus(event));
    this.element = h("div", { class: "chat" }, this.#list, h("p", { class: "empty" }, t.noComments), this.#below);
  }

  add(comments: Comment[]): void {
    this.#waiting.push(...comments);
    this.#skipOrdinary();
    if (this.#timer === undefined) this.#timer = setTimeout(() => this.#flush(), FLUSH_MS);
  }

  /** What was said before we came: all of it at once. */
  fill(comments: Comment[]): void {
    this.#append(comments.map((comment) => this.#row(comment)));
  }

  remove(ids: Iterable<string>): void {
    const gone = new Set(ids);
    this.#waiting = this.#waiting.filter(({ id }) => !gone.has(id));
    for (const id of gone) {
      const row = this.#rows.get(id);
      if (row) this.#forget(row);
    }
  }

  showLikes(id: string, likes: number, mine: boolean): void {
    const shown = this.#rows.get(id)?.querySelector<HTMLElement>(".likes");
    if (!shown) return;
    shown.textContent = likes > 0 ? `♥ ${likes}` : "";
    shown.classList.toggle("mine", mine);
  }

  clear(): void {
    this.#waiting = [];
    this.#rows.clear();
    this.#list.replaceChildren();
  }

  /** Keeps the newest, whatever this viewer said, and what speaks to them. */
  #skipOrdinary(): void {
    const now = performance.now();
    this.#allowance = Math.min(BURST_ROWS, this.#allowance + ((now - this.#allowedAt) / FLUSH_MS) * ROWS_PER_FLUSH);
    this.#allowedAt = now;
    const surplus = this.#waiting.length - Math.max(ROWS_PER_FLUSH, Math.floor(this.#allowance));
    if (surplus <= 0) return;
    const before = this.#waiting.length;
    this.#waiting = this.#waiting.filter((comment, at) => at >= surplus || comment.user_id === this.me() || mentions(comment, this.me()));
    this.#skipped += before - this.#waiting.length;
  }

  #flush(): void {
    this.#timer = undefined;
    const rows = this.#waiting.splice(0).map((comment) => this.#row(comment));
    this.#allowance -= rows.length;
    if (this.#skipped > 0) rows.push(h("div", { class: "chat-skipped" }, this.t.listOmitted(this.#skipped)));
    this.#skipped = 0;
    this.#append(rows);
  }

  #append(rows: HTMLElement[]): void {
    this.#list.append(...rows);
    this.#trim(this.#following ? ROWS_MAX : ROWS_READING_MAX);
    if (this.#following) this.#toEnd();
    else if (rows.length > 0) this.#below.hidden = false;
  }

  /** Takes the oldest away without moving what is read. */
  #trim(most: number): void {
    while (this.#list.childElementCount > most) this.#forget(this.#list.firstElementChild as HTMLElement);
  }

  /** Not every browser anchors the scrolling by itself, so none is left to do it. */
  #forget(row: HTMLElement): void {
    this.#rows.delete(row.dataset.id ?? "");
    if (this.#following || row.offsetTop >= this.#list.scrollTop) return row.remove();
    const before = this.#list.scrollHeight;
    row.remove();
    this.#list.scrollTop -= before - this.#list.scrollHeight;
  }

  #row(comment: Comment): HTMLElement {
    const said = shownText(comment) ?? "";
    const name = h("button", { type: "button", class: "name", tabindex: -1, dir: "auto" }, comment.username || comment.user_id);
    name.addEventListener("click", () => this.openMenu(comment, name));
    const text = h("span", { class: "text", dir: isRightToLeft(said) ? "rtl" : "ltr" }, said);
    const times = comment.count !== undefined && comment.count > 1 ? h("span", { class: "times" }, `×${comment.count}`) : undefined;
    const own = comment.user_id === this.me();
    const kinds = [own ? "own" : isStaff(comment) ? "staff" : comment.level === "vip" ? "vip" : "", mentions(comment, this.me()) ? "mention" : "", said.includes("\n") ? "art" : ""];
    const row = h("div", { class: `chat-row ${kinds.filter(Boolean).join(" ")}`, "data-id": comment.id }, name, text, times, h("span", { class: "likes" }));
    if (mentions(comment, this.me())) row.title = this.t.mentionsYou;
    this.#rows.set(comment.id, row);
    if (comment.like_count > 0) this.showLikes(comment.id, comment.like_count, false);
    return row;
  }

  /** Whoever scrolls up reads undisturbed; whoever is at the end stays there. */
  #scrolled(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    this.#following = scrollHeight - scrollTop - clientHeight < END_PX;
    if (this.#following) this.#below.hidden = true;
  }

  #toEnd(): void {
    this.#following = true;
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#below.hidden = true;
  }

  /** Arrow keys walk over the names, so that the list is one stop for the Tab key. */
  #moveFocus(event: KeyboardEvent): void {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    const names = [...this.#list.querySelectorAll<HTMLElement>(".name")];
    const at = names.indexOf(document.activeElement as HTMLElement);
    const next = at < 0 ? names.length - 1 : at + (event.key === "ArrowUp" ? -1 : 1);
    names[next]?.focus();
  }
}

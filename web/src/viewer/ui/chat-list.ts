/** The list of comments beside the picture. Bounded in elements and in how many it takes a second; it says what it left out. */
import type { Comment } from "@barrage/client";
import { h } from "../../shared/dom";
import { isStaff } from "../choose";
import type { Strings } from "../strings";

const ROWS_MAX = 150;
const FLUSH_MS = 200;
/** More than this nobody reads, and each row costs a layout. */
const ROWS_PER_FLUSH = 8;
/** Nearer than this to the end counts as being there. */
const END_PX = 48;

export class ChatList {
  readonly element: HTMLElement;
  readonly #list = h("ol", { class: "chat-rows", role: "log", "aria-live": "off", tabindex: 0 });
  readonly #below: HTMLButtonElement;
  readonly #rows = new Map<string, HTMLLIElement>();
  #waiting: Comment[] = [];
  #skipped = 0;
  #following = true;
  #timer: ReturnType<typeof setTimeout> | undefined;

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
    if (this.#waiting.length > ROWS_PER_FLUSH) this.#skipOrdinary();
    if (this.#timer === undefined) this.#timer = setTimeout(() => this.#flush(), FLUSH_MS);
  }

  /** What was said before we came: all of it at once. */
  fill(comments: Comment[]): void {
    this.#append(comments.map((comment) => this.#row(comment)));
  }

  remove(id: string): void {
    this.#waiting = this.#waiting.filter((comment) => comment.id !== id);
    this.#rows.get(id)?.remove();
    this.#rows.delete(id);
  }

  removeWhere(matches: (userId: string) => boolean): void {
    this.#waiting = this.#waiting.filter(({ user_id }) => !matches(user_id));
    for (const [id, row] of this.#rows) if (matches(row.dataset.user ?? "")) this.remove(id);
  }

  clear(): void {
    this.#waiting = [];
    this.#rows.clear();
    this.#list.replaceChildren();
  }

  /** Keeps the newest, and whatever this viewer said. */
  #skipOrdinary(): void {
    const surplus = this.#waiting.length - ROWS_PER_FLUSH;
    this.#waiting = this.#waiting.filter(({ user_id }, at) => at >= surplus || user_id === this.me());
    this.#skipped += surplus;
  }

  #flush(): void {
    this.#timer = undefined;
    const rows = this.#waiting.splice(0).map((comment) => this.#row(comment));
    if (this.#skipped > 0) rows.push(h("li", { class: "chat-skipped" }, this.t.listOmitted(this.#skipped)));
    this.#skipped = 0;
    this.#append(rows);
  }

  #append(rows: HTMLLIElement[]): void {
    this.#list.append(...rows);
    while (this.#list.childElementCount > ROWS_MAX) this.#forget(this.#list.firstElementChild as HTMLLIElement);
    if (this.#following) this.#toEnd();
    else if (rows.length > 0) this.#below.hidden = false;
  }

  #forget(row: HTMLLIElement): void {
    this.#rows.delete(row.dataset.id ?? "");
    row.remove();
  }

  #row(comment: Comment): HTMLLIElement {
    const name = h("button", { type: "button", class: "name", tabindex: -1 }, comment.username || comment.user_id);
    name.addEventListener("click", () => this.openMenu(comment, name));
    const text = h("span", { class: "text" }, comment.content);
    const times = comment.count !== undefined && comment.count > 1 ? h("span", { class: "times" }, `×${comment.count}`) : undefined;
    const kind = comment.user_id === this.me() ? "own" : isStaff(comment) ? "staff" : comment.level === "vip" ? "vip" : "";
    const row = h("li", { class: `chat-row ${kind}`, "data-id": comment.id, "data-user": comment.user_id }, name, text, times);
    this.#rows.set(comment.id, row);
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

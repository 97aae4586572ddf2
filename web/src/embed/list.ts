/** The comments of an embedded room as a list that screen readers follow. Text goes in as text. Keeps the newest rows only. */
import type { Comment } from "@barrage/client";
import { isStaff, shownText } from "@barrage/players";
import { h } from "../shared/dom";
import type { EmbedStrings } from "./strings";

const ROWS_MAX = 200;
/** Closer than this to the end counts as at the end, so that new rows keep scrolling. */
const AT_END_PX = 40;

export class CommentRows {
  readonly element: HTMLElement;
  readonly #rows = new Map<string, HTMLElement>();
  readonly #empty: HTMLElement;

  constructor(
    private readonly t: EmbedStrings,
    private readonly like: (comment: Comment, button: HTMLButtonElement) => void,
  ) {
    this.#empty = h("p", { class: "empty", part: "empty" }, t.empty);
    this.element = h("div", { class: "list", part: "list", role: "log", "aria-label": t.comments, "aria-live": "polite", tabindex: "0" }, this.#empty);
  }

  has(id: string): boolean {
    return this.#rows.has(id);
  }

  add(comments: readonly Comment[], me: string | undefined): void {
    const atEnd = this.#isAtEnd();
    for (const comment of comments) {
      const text = shownText(comment);
      if (text === undefined || this.#rows.has(comment.id)) continue;
      this.#append(comment.id, this.#row(comment, text, me));
    }
    if (atEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  /** Something that is no comment: an announcement, a gift. */
  note(id: string, kind: "announcement" | "gift" | "omitted" | "question", text: string): void {
    const known = this.#rows.get(id);
    if (known) return void (known.textContent = text);
    const atEnd = this.#isAtEnd();
    this.#append(id, h("p", { class: `row ${kind}`, part: `comment ${kind}` }, text));
    if (atEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  remove(ids: readonly string[]): void {
    for (const id of ids) {
      this.#rows.get(id)?.remove();
      this.#rows.delete(id);
    }
  }

  #append(id: string, row: HTMLElement): void {
    this.#empty.remove();
    this.#rows.set(id, row);
    this.element.append(row);
    if (this.#rows.size > ROWS_MAX) this.remove([...this.#rows.keys()].slice(0, 1));
  }

  #row(comment: Comment, text: string, me: string | undefined): HTMLElement {
    const own = comment.user_id === me;
    const count = comment.count !== undefined && comment.count > 1 ? ` ×${comment.count}` : "";
    const likes = h("button", { type: "button", class: "like", part: "like", "aria-pressed": "false", "aria-label": this.t.like }, `♥ ${comment.like_count > 0 ? comment.like_count : ""}`.trim());
    likes.addEventListener("click", () => this.like(comment, likes));
    const name = h("span", { class: `name${isStaff(comment) ? " staff" : ""}`, part: "name", dir: "auto" }, comment.username || comment.user_id);
    const words = h("span", { class: "text", part: "text", dir: "auto" }, text + count);
    return h("p", { class: `row${own ? " own" : ""}`, part: own ? "comment own" : "comment" }, name, words, likes);
  }

  #isAtEnd(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight < AT_END_PX;
  }
}

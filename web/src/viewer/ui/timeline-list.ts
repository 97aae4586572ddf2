/**
 * The comments of a recording by their time; a click goes there. Draws only the rows in sight, so that tens of
 * thousands cost as much as thirty.
 */
import type { Comment } from "@barrage/client";
import { h } from "../../shared/dom";
import { isRightToLeft } from "@barrage/danmaku";
import type { Strings } from "../strings";
import { clockText } from "./tools";

const ROW_PX = 34;
const SPARE_ROWS = 6;

export interface Listed {
  comment: Comment;
  text: string;
}

export class TimelineList {
  readonly element: HTMLElement;
  readonly #scroll = h("div", { class: "scroll timeline-list", tabindex: 0, role: "group" });
  readonly #rows = h("div", { class: "timeline-rows" });
  #comments: readonly Listed[] = [];
  /** Those in sight, by their place. They are kept while they are in sight: a click must find the row it began on. */
  readonly #drawn = new Map<number, { id: string; row: HTMLElement }>();
  /** The row the arrow keys are at. */
  #focused = 0;
  #now = -1;

  constructor(
    t: Strings,
    private readonly go: (comment: Comment) => void,
  ) {
    this.#scroll.setAttribute("aria-label", t.timeline);
    this.#scroll.append(this.#rows);
    this.#scroll.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.#scroll.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(this.#scroll);
    this.element = h("div", { class: "timeline" }, this.#scroll, h("p", { class: "empty" }, t.noComments));
  }

  show(comments: readonly Listed[]): void {
    this.#comments = comments;
    this.element.classList.toggle("is-empty", comments.length === 0);
    this.#rows.style.height = `${comments.length * ROW_PX}px`;
    this.#draw();
  }

  /** Marks the last comment up to this moment. */
  mark(offsetMs: number): void {
    let low = 0;
    let high = this.#comments.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#comments[middle]?.comment.offset_ms ?? 0) <= offsetMs) low = middle + 1;
      else high = middle;
    }
    if (low - 1 === this.#now) return;
    this.#drawn.get(this.#now)?.row.removeAttribute("aria-current");
    this.#now = low - 1;
    this.#drawn.get(this.#now)?.row.setAttribute("aria-current", "true");
  }

  #draw(): void {
    const { scrollTop, clientHeight } = this.#scroll;
    const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(this.#comments.length, Math.ceil((scrollTop + clientHeight) / ROW_PX) + SPARE_ROWS);
    for (const [at, { id, row }] of this.#drawn) {
      if (at >= first && at < last && this.#comments[at]?.comment.id === id) continue;
      row.remove();
      this.#drawn.delete(at);
    }
    for (let at = first; at < last; at++) {
      const listed = this.#comments[at];
      if (!listed || this.#drawn.has(at)) continue;
      const row = this.#row(at, listed);
      this.#drawn.set(at, { id: listed.comment.id, row });
      this.#rows.append(row);
    }
  }

  #row(at: number, { comment, text }: Listed): HTMLElement {
    const row = h(
      "button",
      { type: "button", class: "timeline-row", tabindex: -1, "aria-current": at === this.#now ? "true" : undefined, title: text },
      h("span", { class: "at" }, clockText(comment.offset_ms / 1_000)),
      h("span", { class: "text", dir: isRightToLeft(text) ? "rtl" : "ltr" }, text.replaceAll("\n", " ")),
    );
    row.style.top = `${at * ROW_PX}px`;
    row.addEventListener("click", () => {
      this.#focused = at;
      this.go(comment);
    });
    return row;
  }

  #key(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const inside = this.#rows.contains(document.activeElement);
    this.#focused = Math.max(0, Math.min(this.#comments.length - 1, inside ? this.#focused + step : Math.max(0, this.#now)));
    const top = this.#focused * ROW_PX;
    const { scrollTop, clientHeight } = this.#scroll;
    if (top < scrollTop) this.#scroll.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight) this.#scroll.scrollTop = top + ROW_PX - clientHeight;
    this.#draw();
    this.#drawn.get(this.#focused)?.row.focus({ preventScroll: true });
  }
}

/** The panel beside the picture: chat, the list of a recording, hot comments, ranking, questions. */
import type { Comment, RankingEntry } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import { shownText } from "@barrage/players";
import { isRightToLeft } from "@barrage/danmaku";
import type { Strings } from "../strings";
import { ICONS } from "./icons";

const TABS = ["chat", "timeline", "hot", "ranking", "questions"] as const;
export type Tab = (typeof TABS)[number];

const RANKS_MAX = 100;

export class SidePanel {
  readonly element: HTMLElement;
  readonly #panels: Record<Tab, HTMLElement>;
  readonly #buttons: Record<Tab, HTMLButtonElement>;
  readonly #hot = h("ol", { class: "hot" });
  #hotRows = new Map<string, { comment: Comment; row: HTMLLIElement }>();
  #selected: Tab = "chat";
  readonly #ranking = h("ol", { class: "ranking" });

  constructor(
    private readonly t: Strings,
    chat: HTMLElement,
    timeline: HTMLElement,
    questions: HTMLElement,
    private readonly handlers: { shown(tab: Tab): void; like(comment: Comment): void; isLiked(id: string): boolean },
  ) {
    const bodies: Record<Tab, HTMLElement> = {
      chat,
      timeline,
      hot: h("div", { class: "scroll" }, this.#hot, h("p", { class: "empty" }, t.noHot)),
      ranking: h("div", { class: "scroll" }, this.#ranking, h("p", { class: "empty" }, t.noRanking)),
      questions,
    };
    this.#buttons = byTab((tab) => this.#tabButton(tab));
    this.#panels = byTab((tab) => h("div", { role: "tabpanel", id: `panel-${tab}`, class: "panel", "aria-labelledby": `tab-${tab}` }, bodies[tab]));
    const tabs = h("div", { class: "tabs", role: "tablist" }, ...Object.values(this.#buttons));
    tabs.addEventListener("keydown", (event) => this.#moveFocus(event));
    this.element = h("aside", { class: "side" }, tabs, ...Object.values(this.#panels));
    this.#buttons.timeline.hidden = true;
    this.#select("chat");
  }

  /** The list of a recording has a tab only while one is watched. */
  showRecording(watching: boolean): void {
    this.#buttons.timeline.hidden = !watching;
    if (!watching && this.#selected === "timeline") this.#select("chat");
  }

  /** Rows that stay keep their elements, and so the focus. */
  showHot(comments: Comment[]): void {
    const rows = comments.map((comment): [string, { comment: Comment; row: HTMLLIElement }] => {
      const known = this.#hotRows.get(comment.id);
      if (known?.comment.like_count === comment.like_count) return [comment.id, known];
      return [comment.id, { comment, row: this.#hotRow(comment) }];
    });
    const focused = this.#hot.contains(document.activeElement) ? document.activeElement?.closest<HTMLElement>("li")?.dataset.id : undefined;
    const same = rows.length === this.#hot.childElementCount && rows.every(([, { row }], at) => row === this.#hot.children[at]);
    this.#hotRows = new Map(rows);
    if (same) return;
    this.#hot.replaceChildren(...rows.map(([, { row }]) => row));
    if (focused !== undefined) this.#hotRows.get(focused)?.row.querySelector("button")?.focus({ preventScroll: true });
  }

  /** At once, before the server's list comes again. */
  showLikes(id: string, likes: number): void {
    const known = this.#hotRows.get(id);
    if (known) this.showHot([...this.#hotRows.values()].map(({ comment }) => (comment.id === id ? { ...comment, like_count: likes } : comment)));
  }

  showRanking(entries: RankingEntry[]): void {
    this.#ranking.replaceChildren(...entries.slice(0, RANKS_MAX).map((entry) => this.#rankRow(entry)));
  }

  #hotRow(comment: Comment): HTMLLIElement {
    const liked = this.handlers.isLiked(comment.id);
    const said = shownText(comment) ?? "";
    const label = `${liked ? this.t.unlike : this.t.like}: ${said}`;
    const like = h("button", { type: "button", class: "like", "aria-label": label, "aria-pressed": String(liked) }, icon(ICONS.heart), String(comment.like_count));
    like.addEventListener("click", () => this.handlers.like(comment));
    const text = h("span", { class: "text", dir: isRightToLeft(said) ? "rtl" : "ltr" }, said);
    return h("li", { "data-id": comment.id }, h("div", {}, h("span", { class: "name", dir: "auto" }, comment.username), text), like);
  }

  #rankRow({ rank, username, user_id, score }: RankingEntry): HTMLLIElement {
    const name = h("span", { class: "name" }, username || user_id);
    return h("li", { class: rank <= 3 ? "podium" : "" }, h("span", { class: "rank" }, String(rank)), name, h("span", { class: "score" }, this.t.score(score)));
  }

  #tabButton(tab: Tab): HTMLButtonElement {
    const button = h("button", { type: "button", role: "tab", id: `tab-${tab}`, "aria-controls": `panel-${tab}` }, this.t[tab]);
    button.addEventListener("click", () => this.#select(tab));
    return button;
  }

  #select(selected: Tab): void {
    for (const tab of TABS) {
      this.#buttons[tab].setAttribute("aria-selected", String(tab === selected));
      this.#buttons[tab].tabIndex = tab === selected ? 0 : -1;
      this.#panels[tab].hidden = tab !== selected;
    }
    this.#selected = selected;
    this.handlers.shown(selected);
  }

  #moveFocus(event: KeyboardEvent): void {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const tabs = TABS.filter((tab) => !this.#buttons[tab].hidden);
    const at = tabs.findIndex((tab) => this.#buttons[tab] === document.activeElement);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    if (next === undefined) return;
    this.#select(next);
    this.#buttons[next].focus();
  }
}

function byTab<T>(make: (tab: Tab) => T): Record<Tab, T> {
  return { chat: make("chat"), timeline: make("timeline"), hot: make("hot"), ranking: make("ranking"), questions: make("questions") };
}

/** The panel beside the picture: chat, hot comments, ranking. */
import type { Comment, RankingEntry } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import type { Strings } from "../strings";
import { ICONS } from "./icons";

const TABS = ["chat", "hot", "ranking"] as const;
export type Tab = (typeof TABS)[number];

const RANKS_MAX = 100;

export class SidePanel {
  readonly element: HTMLElement;
  readonly #panels: Record<Tab, HTMLElement>;
  readonly #buttons: Record<Tab, HTMLButtonElement>;
  readonly #hot = h("ol", { class: "hot" });
  readonly #ranking = h("ol", { class: "ranking" });

  constructor(
    private readonly t: Strings,
    chat: HTMLElement,
    private readonly handlers: { shown(tab: Tab): void; like(comment: Comment): void },
  ) {
    const bodies: Record<Tab, HTMLElement> = {
      chat,
      hot: h("div", { class: "scroll" }, this.#hot, h("p", { class: "empty" }, t.noHot)),
      ranking: h("div", { class: "scroll" }, this.#ranking, h("p", { class: "empty" }, t.noRanking)),
    };
    this.#buttons = byTab((tab) => this.#tabButton(tab));
    this.#panels = byTab((tab) => h("div", { role: "tabpanel", id: `panel-${tab}`, class: "panel", "aria-labelledby": `tab-${tab}` }, bodies[tab]));
    const tabs = h("div", { class: "tabs", role: "tablist" }, ...Object.values(this.#buttons));
    tabs.addEventListener("keydown", (event) => this.#moveFocus(event));
    this.element = h("aside", { class: "side" }, tabs, ...Object.values(this.#panels));
    this.#select("chat");
  }

  showHot(comments: Comment[]): void {
    this.#hot.replaceChildren(...comments.map((comment) => this.#hotRow(comment)));
  }

  showRanking(entries: RankingEntry[]): void {
    this.#ranking.replaceChildren(...entries.slice(0, RANKS_MAX).map((entry) => this.#rankRow(entry)));
  }

  #hotRow(comment: Comment): HTMLLIElement {
    const like = h("button", { type: "button", class: "like", "aria-label": `${this.t.like}: ${comment.content}` }, icon(ICONS.heart), String(comment.like_count));
    like.addEventListener("click", () => this.handlers.like(comment));
    return h("li", {}, h("div", {}, h("span", { class: "name" }, comment.username), h("span", { class: "text" }, comment.content)), like);
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
    this.handlers.shown(selected);
  }

  #moveFocus(event: KeyboardEvent): void {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const at = TABS.findIndex((tab) => this.#buttons[tab] === document.activeElement);
    const next = TABS[(at + step + TABS.length) % TABS.length];
    if (next === undefined) return;
    this.#select(next);
    this.#buttons[next].focus();
  }
}

function byTab<T>(make: (tab: Tab) => T): Record<Tab, T> {
  return { chat: make("chat"), hot: make("hot"), ranking: make("ranking") };
}

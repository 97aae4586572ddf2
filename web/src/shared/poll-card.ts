/**
 * Polls as viewers see them, on the room's page, embedded, and over a picture. Keeps its elements while votes come in, and
 * so the focus. A closed poll stays for a while with its result. Draws only; voting is the caller's.
 */
import type { Poll } from "@barrage/client";
import { h } from "./dom";

export interface PollWords {
  poll: string;
  votes(count: number): string;
  closed: string;
  share(percent: number): string;
}

/** How long a result is shown. */
const RESULT_MS = 20_000;
const POLLS_MAX = 5;

interface Card {
  element: HTMLElement;
  options: { row: HTMLElement; share: HTMLElement }[];
  total: HTMLElement;
  timer?: ReturnType<typeof setTimeout>;
}

export class PollCards {
  readonly element: HTMLElement;
  readonly #cards = new Map<string, Card>();

  /** Without `vote` nobody can vote here. */
  constructor(
    private readonly words: PollWords,
    private readonly vote?: (pollId: string, option: number) => void,
  ) {
    this.element = h("div", { class: "polls", part: "polls" });
  }

  show(poll: Poll): void {
    const { poll_id, options, state } = poll;
    const known = this.#cards.get(poll_id);
    if (known === undefined && state === "closed") return;
    const card = known ?? this.#add(poll);
    const votes = options.reduce((sum, option) => sum + option.votes, 0);
    options.forEach((option, at) => {
      const shown = card.options[at];
      if (!shown) return;
      const percent = votes === 0 ? 0 : Math.round((100 * option.votes) / votes);
      shown.row.style.setProperty("--share", `${percent}%`);
      shown.share.textContent = this.words.share(percent);
    });
    card.total.textContent = state === "closed" ? `${this.words.votes(votes)} · ${this.words.closed}` : this.words.votes(votes);
    if (state === "closed" && card.timer === undefined) this.#close(poll_id, card);
  }

  clear(): void {
    for (const [id, { timer }] of this.#cards) {
      clearTimeout(timer);
      this.#remove(id);
    }
  }

  /** Marks what was chosen here; nothing more can be chosen. */
  voted(pollId: string, option?: number): void {
    this.#cards.get(pollId)?.options.forEach(({ row }, at) => {
      row.setAttribute("aria-pressed", String(at === option));
      if (row instanceof HTMLButtonElement) row.setAttribute("aria-disabled", "true");
    });
  }

  #add({ poll_id, question, options }: Poll): Card {
    const rows = options.map(({ text }, at) => this.#option(poll_id, text, at));
    const total = h("p", { class: "poll-total" });
    const element = h("section", { class: "poll", part: "poll", "aria-label": this.words.poll }, h("p", { class: "poll-question", dir: "auto" }, question), ...rows.map(({ row }) => row), total);
    const card: Card = { element, options: rows, total };
    this.#cards.set(poll_id, card);
    this.element.append(element);
    for (const id of [...this.#cards.keys()].slice(0, -POLLS_MAX)) this.#remove(id);
    return card;
  }

  #option(pollId: string, text: string, at: number): { row: HTMLElement; share: HTMLElement } {
    const share = h("span", { class: "poll-share" });
    const inside = [h("span", { class: "text", dir: "auto" }, text), share];
    if (!this.vote) return { row: h("div", { class: "poll-option" }, ...inside), share };
    const row = h("button", { type: "button", class: "poll-option", "aria-pressed": "false" }, ...inside);
    row.addEventListener("click", () => row.getAttribute("aria-disabled") !== "true" && this.vote?.(pollId, at));
    return { row, share };
  }

  #close(id: string, card: Card): void {
    card.element.classList.add("closed");
    for (const { row } of card.options) if (row instanceof HTMLButtonElement) row.setAttribute("aria-disabled", "true");
    card.timer = setTimeout(() => this.#remove(id), RESULT_MS);
  }

  #remove(id: string): void {
    this.#cards.get(id)?.element.remove();
    this.#cards.delete(id);
  }
}

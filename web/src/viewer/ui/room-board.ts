/** Above the chat: the pinned comment and the polls. And the questions, which have a tab of their own. */
import type { Pin, Poll, Question } from "@barrage/client";
import { isRightToLeft } from "@barrage/danmaku";
import { shownText } from "@barrage/players";
import { h, icon } from "../../shared/dom";
import { PollCards } from "../../shared/poll-card";
import type { Strings } from "../strings";
import { ICONS } from "./icons";

const QUESTIONS_MAX = 100;
const QUESTION_CHARS_MAX = 200;

export interface BoardHandlers {
  vote(pollId: string, option: number): void;
  ask(content: string): Promise<boolean>;
  upvote(question: Question): void;
  answered(question: Question): void;
  /** Who runs the room says what was answered. */
  mayAnswer(): boolean;
}

export class RoomBoard {
  readonly element: HTMLElement;
  readonly questions: HTMLElement;
  readonly #pin = h("div", { class: "pin", hidden: true });
  readonly #polls: PollCards;
  readonly #list = h("ol", { class: "questions" });
  readonly #asked = new Map<string, Question>();
  readonly #mine = new Set<string>();
  #pinTimer: ReturnType<typeof setTimeout> | undefined;
  /** A pin that was put away stays away. */
  #putAway: string | undefined;

  constructor(
    private readonly t: Strings,
    private readonly handlers: BoardHandlers,
  ) {
    this.#polls = new PollCards(t.polls, (poll, option) => handlers.vote(poll, option));
    this.element = h("div", { class: "board" }, this.#pin, this.#polls.element);
    this.questions = h("div", { class: "asking" }, h("div", { class: "scroll" }, this.#list, h("p", { class: "empty" }, t.noQuestions)), this.#form());
  }

  /** Another time, or another place: nothing stands here. */
  clear(): void {
    this.showPin(undefined);
    this.#polls.clear();
    this.showQuestions([]);
  }

  showPin(pin: Pin | null | undefined, recorded = false): void {
    clearTimeout(this.#pinTimer);
    const comment = pin?.comment;
    const said = comment ? shownText(comment) : undefined;
    if (!comment || said === undefined || comment.id === this.#putAway) return void (this.#pin.hidden = true);
    const close = h("button", { type: "button", class: "tool", "aria-label": this.t.dismiss }, icon(ICONS.close));
    close.addEventListener("click", () => {
      this.#putAway = comment.id;
      this.#pin.hidden = true;
    });
    const text = h("span", { class: "text", dir: isRightToLeft(said) ? "rtl" : "ltr" }, said);
    this.#pin.replaceChildren(icon(ICONS.pin), h("p", {}, h("span", { class: "name", dir: "auto" }, `${this.t.pinned} · ${comment.username}`), text), close);
    this.#pin.hidden = false;
    // The server tells the end; this is for a page that was away then.
    const left = pin?.until === undefined || recorded ? undefined : Date.parse(pin.until) - Date.now();
    if (left !== undefined && left < 2 ** 31) this.#pinTimer = setTimeout(() => (this.#pin.hidden = true), Math.max(0, left));
  }

  showPoll(poll: Poll): void {
    this.#polls.show(poll);
  }

  voted(pollId: string, option?: number): void {
    this.#polls.voted(pollId, option);
  }

  showQuestion(question: Question): void {
    this.showQuestions([...this.#asked.values()].filter(({ question_id }) => question_id !== question.question_id).concat(question));
  }

  /** Those with most upvotes first; what is answered goes. Rows keep the focus. */
  showQuestions(questions: readonly Question[]): void {
    const open = questions.filter(({ state }) => state === "open").sort((a, b) => b.upvotes - a.upvotes || older(a, b)).slice(0, QUESTIONS_MAX);
    const focused = document.activeElement?.closest<HTMLElement>(".questions [data-question]")?.dataset.question;
    this.#asked.clear();
    for (const question of open) this.#asked.set(question.question_id, question);
    this.#list.replaceChildren(...open.map((question) => this.#row(question)));
    if (focused !== undefined) this.#list.querySelector<HTMLElement>(`[data-question="${CSS.escape(focused)}"] button`)?.focus({ preventScroll: true });
  }

  upvoted(id: string): void {
    this.#mine.add(id);
    this.showQuestions([...this.#asked.values()]);
  }

  #row(question: Question): HTMLElement {
    const { question_id, username, user_id, content, upvotes } = question;
    const mine = this.#mine.has(question_id);
    const up = h("button", { type: "button", class: "like", "aria-pressed": String(mine), "aria-label": `${this.t.upvote}: ${content}` }, `▲ ${upvotes}`);
    up.addEventListener("click", () => mine || this.handlers.upvote(question));
    const answered = this.handlers.mayAnswer() ? h("button", { type: "button" }, this.t.answered) : undefined;
    answered?.addEventListener("click", () => this.handlers.answered(question));
    const text = h("span", { class: "text", dir: isRightToLeft(content) ? "rtl" : "ltr" }, content);
    return h("li", { "data-question": question_id }, h("div", {}, h("span", { class: "name", dir: "auto" }, username || user_id), text), up, answered);
  }

  #form(): HTMLElement {
    const input = h("input", { type: "text", maxlength: QUESTION_CHARS_MAX, placeholder: this.t.ask, "aria-label": this.t.ask, autocomplete: "off" });
    const form = h("form", { class: "ask" }, input, h("button", { type: "submit", class: "primary" }, this.t.askIt));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const content = input.value.trim();
      if (content === "") return;
      void this.handlers.ask(content).then((asked) => asked && (input.value = ""));
    });
    return form;
  }
}

/** Ids grow with time. */
const older = (a: Question, b: Question): number => a.question_id.length - b.question_id.length || (a.question_id < b.question_id ? -1 : 1);

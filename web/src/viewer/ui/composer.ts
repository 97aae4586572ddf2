/**
 * The box to write a comment in: style, counter, what the server said about it, and what the room allows before one
 * types. Sends nothing itself.
 */
import type { CommentDraft, CommentMode, CommentSize, CommentStyle } from "@barrage/client";
import { BarrageError } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import type { Strings } from "../strings";
import { dropdown } from "./dropdown";
import { onEnter } from "./enter";
import { ICONS } from "./icons";

/** The server's default limit; it counts characters, not UTF-16 units. */
const CHARACTERS_MAX = 200;
const COLOURS = ["#FFFFFF", "#FE4D4D", "#FF8A3D", "#FFD54A", "#8CE05A", "#4FD8C2", "#5AA9FF", "#B48CFF", "#FF8FC7"];

/** `kept`: there is no connection; it goes out later. */
export type Sent = "accepted" | "pending_review" | "kept";

export interface ComposerHandlers {
  send(draft: CommentDraft): Promise<Sent>;
  connect(): void;
}

/** What holds for whoever would write now. */
export interface Rules {
  placeholder: string;
  /** Why nothing can be written. */
  closed?: string;
  /** Worth knowing before one writes. */
  hint?: string;
  /** Seconds between two comments. */
  slowModeS?: number;
}

export class Composer {
  readonly element: HTMLFormElement;
  readonly #input: HTMLInputElement;
  readonly #counter = h("span", { class: "counter", "aria-hidden": "true" });
  readonly #status = h("span", { role: "status" });
  readonly #again: HTMLButtonElement;
  readonly #statusLine: HTMLElement;
  readonly #send: HTMLButtonElement;
  #rules: Rules;
  #style: Required<CommentStyle> = { mode: "scroll", color: "#FFFFFF", size: "normal" };
  readonly #mentions = new Map<string, string>();
  #countdown: ReturnType<typeof setInterval> | undefined;
  #sending = false;
  #told = "";
  #outage: string | undefined;

  constructor(
    private readonly t: Strings,
    private readonly handlers: ComposerHandlers,
  ) {
    this.#rules = { placeholder: t.write };
    this.#input = h("input", { type: "text", class: "composer-input", placeholder: t.write, "aria-label": t.write, autocomplete: "off", enterkeyhint: "send", dir: "auto" });
    this.#input.addEventListener("input", () => this.#count());
    onEnter(this.#input, () => void this.#submit());
    this.#input.addEventListener("keydown", (event) => event.key === "Escape" && this.#input.blur());
    this.#send = h("button", { type: "submit", class: "primary send" }, t.send);
    this.#again = h("button", { type: "button", class: "again", hidden: true }, t.reconnect);
    this.#again.addEventListener("click", () => handlers.connect());
    this.#statusLine = h("p", { class: "composer-status" }, this.#status, this.#again);
    this.element = h(
      "form",
      { class: "composer", autocomplete: "off" },
      this.#statusLine,
      h("div", { class: "composer-row" }, this.#styleMenu(), h("div", { class: "field" }, this.#input, this.#counter), this.#send),
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#count();
    this.#show();
  }

  focus(): void {
    this.#input.focus();
  }

  get hasFocus(): boolean {
    return document.activeElement === this.#input;
  }

  showRules(rules: Rules): void {
    this.#rules = rules;
    const shown = rules.closed ?? rules.placeholder;
    this.#input.placeholder = shown;
    this.#input.setAttribute("aria-label", shown);
    this.#input.disabled = rules.closed !== undefined;
    this.#count();
    this.#show();
  }

  /** `waiting` comments go out when there is a connection again; undefined: there is one. */
  showOutage(waiting: number | undefined): void {
    this.#outage = waiting === undefined ? undefined : this.t.outage(waiting);
    this.#again.hidden = waiting === undefined;
    this.#show();
  }

  mention(userId: string, username: string): void {
    this.#mentions.set(userId, `@${username}`);
    this.#input.value = `@${username} ${this.#input.value}`;
    this.#count();
    this.#input.focus();
  }

  /** A comment that was sent later, and refused: its text comes back. */
  giveBack(content: string, error: unknown): void {
    if (this.#input.value === "") this.#input.value = content;
    this.#refused(error);
    this.#count();
  }

  async #submit(): Promise<void> {
    const content = this.#input.value.trim();
    if (content === "" || this.#sending || this.#countdown !== undefined || this.#rules.closed !== undefined) return;
    if ([...content].length > CHARACTERS_MAX) return;
    this.#sending = true;
    try {
      const status = await this.handlers.send(this.#draft(content));
      // What was typed while the answer was on its way stays.
      if (this.#input.value.trim() === content) this.#input.value = "";
      this.#mentions.clear();
      this.#say(status === "pending_review" ? this.t.pending : "", "note");
      if (status !== "kept" && this.#rules.slowModeS) this.#waitFor(this.#rules.slowModeS * 1_000, this.t.slowed, "note");
    } catch (error) {
      this.#refused(error);
    }
    this.#sending = false;
    this.#count();
  }

  #draft(content: string): CommentDraft {
    const mentions = [...this.#mentions].filter(([, name]) => content.includes(name)).map(([userId]) => userId);
    return { content, style: { ...this.#style }, ...(mentions.length > 0 ? { mentions } : {}) };
  }

  #refused(error: unknown): void {
    if (!(error instanceof BarrageError)) return this.#say(String(error), "bad");
    const words = this.t.errors[error.code] ?? error.message;
    if (error.retryAfterMs === undefined) this.#say(words, "bad");
    else this.#waitFor(error.retryAfterMs, words, "bad");
  }

  /** Counts down to when the next comment may be sent. */
  #waitFor(ms: number, words: string, kind: "note" | "bad"): void {
    clearInterval(this.#countdown);
    const until = performance.now() + ms;
    const tell = (): void => {
      const left = until - performance.now();
      if (left > 0) return this.#say(`${words} ${this.t.waitSeconds(Math.ceil(left / 1_000))}`, kind);
      clearInterval(this.#countdown);
      this.#countdown = undefined;
      this.#say("", "note");
      this.#count();
    };
    this.#countdown = setInterval(tell, 200);
    tell();
  }

  #say(text: string, kind: "note" | "bad"): void {
    this.#told = text;
    this.#statusLine.dataset.kind = kind;
    this.#show();
  }

  /** One line: the answer to what was sent, else the outage, else what the room asks. */
  #show(): void {
    const text = this.#told || this.#outage || this.#rules.hint || "";
    if (this.#status.textContent !== text) this.#status.textContent = text;
    if (this.#told === "") this.#statusLine.dataset.kind = this.#outage === undefined ? "note" : "bad";
  }

  #count(): void {
    const used = [...this.#input.value.trim()].length;
    this.#counter.textContent = used === 0 ? "" : `${used}/${CHARACTERS_MAX}`;
    this.#counter.classList.toggle("over", used > CHARACTERS_MAX);
    this.#input.setAttribute("aria-description", this.t.count(used, CHARACTERS_MAX));
    this.#send.disabled = used === 0 || used > CHARACTERS_MAX || this.#countdown !== undefined || this.#rules.closed !== undefined;
  }

  #styleMenu(): HTMLElement {
    const button = h("button", { type: "button", class: "tool", "aria-label": this.t.styleLabel, title: this.t.styleLabel }, icon(ICONS.letter));
    const swatches = COLOURS.map((color) => ({ value: color, label: this.t.colours[color] ?? color, color }));
    const modes = (["scroll", "top", "bottom"] as const).map((value) => ({ value, label: this.t.modes[value] }));
    const sizes = (["small", "normal", "large"] as const).map((value) => ({ value, label: this.t.sizes[value] }));
    const panel = h(
      "div",
      { class: "sheet style-sheet", role: "dialog", "aria-label": this.t.styleLabel },
      radios(this.t.mode, "mode", modes, "scroll", (mode) => (this.#style = { ...this.#style, mode: mode as CommentMode })),
      radios(this.t.size, "size", sizes, "normal", (size) => (this.#style = { ...this.#style, size: size as CommentSize })),
      radios(this.t.colour, "colour", swatches, "#FFFFFF", (color) => {
        this.#style = { ...this.#style, color };
        button.style.color = color;
      }),
    );
    dropdown(button, panel);
    return h("div", { class: "anchor" }, button, panel);
  }
}

interface Choice {
  value: string;
  label: string;
  /** Shown as a swatch of this colour. */
  color?: string;
}

/** A group of radio buttons that looks like segments or swatches. */
export function radios(legend: string, name: string, choices: Choice[], selected: string, chosen: (value: string) => void): HTMLFieldSetElement {
  const options = choices.map(({ value, label, color }) => {
    const input = h("input", { type: "radio", name, value, checked: value === selected, "aria-label": label });
    input.addEventListener("change", () => chosen(value));
    const face = color === undefined ? h("span", {}, label) : h("span", { class: "swatch" });
    if (color !== undefined) face.style.background = color;
    return h("label", {}, input, face);
  });
  return h("fieldset", { class: "choices" }, h("legend", {}, legend), h("div", {}, ...options));
}

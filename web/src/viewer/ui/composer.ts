/** The box to write a comment in: style, counter, and what the server said about it. Sends nothing itself. */
import type { CommentDraft, CommentMode, CommentSize, CommentStyle } from "@barrage/client";
import { BarrageError } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import type { Strings } from "../strings";
import { dropdown } from "./dropdown";
import { ICONS } from "./icons";

/** The server's default limit; it counts characters, not UTF-16 units. */
const CHARACTERS_MAX = 200;
const COLOURS = ["#FFFFFF", "#FE4D4D", "#FF8A3D", "#FFD54A", "#8CE05A", "#4FD8C2", "#5AA9FF", "#B48CFF", "#FF8FC7"];

export interface ComposerHandlers {
  send(draft: CommentDraft): Promise<"accepted" | "pending_review">;
  toggle(): void;
}

export class Composer {
  readonly element: HTMLFormElement;
  readonly #input: HTMLInputElement;
  readonly #counter = h("span", { class: "counter", "aria-hidden": "true" });
  readonly #status = h("p", { class: "composer-status", role: "status" });
  readonly #send: HTMLButtonElement;
  readonly #toggle: HTMLButtonElement;
  #style: Required<CommentStyle> = { mode: "scroll", color: "#FFFFFF", size: "normal" };
  readonly #mentions = new Map<string, string>();
  #countdown: ReturnType<typeof setInterval> | undefined;
  #sending = false;

  constructor(
    private readonly t: Strings,
    private readonly handlers: ComposerHandlers,
  ) {
    this.#input = h("input", { type: "text", class: "composer-input", placeholder: t.write, "aria-label": t.write, autocomplete: "off", enterkeyhint: "send" });
    this.#input.addEventListener("input", () => this.#count());
    this.#send = h("button", { type: "submit", class: "primary" }, t.send);
    this.#toggle = h("button", { type: "button", class: "tool danmaku-toggle" }, "弹");
    this.#toggle.addEventListener("click", () => handlers.toggle());
    this.element = h(
      "form",
      { class: "composer", autocomplete: "off" },
      h("div", { class: "composer-row" }, this.#toggle, this.#styleMenu(), h("div", { class: "field" }, this.#input, this.#counter), this.#send),
      this.#status,
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#count();
  }

  /** Whether comments fly, as the switch shows it. */
  showOn(on: boolean): void {
    this.#toggle.setAttribute("aria-pressed", String(on));
    this.#toggle.setAttribute("aria-label", on ? this.t.commentsOn : this.t.commentsOff);
    this.#toggle.title = on ? this.t.commentsOn : this.t.commentsOff;
  }

  showPlaceholder(text: string): void {
    this.#input.placeholder = text;
    this.#input.setAttribute("aria-label", text);
  }

  mention(userId: string, username: string): void {
    this.#mentions.set(userId, `@${username}`);
    this.#input.value = `@${username} ${this.#input.value}`;
    this.#count();
    this.#input.focus();
  }

  async #submit(): Promise<void> {
    const content = this.#input.value.trim();
    if (content === "" || this.#sending || this.#countdown !== undefined) return;
    this.#sending = true;
    try {
      const status = await this.handlers.send(this.#draft(content));
      this.#input.value = "";
      this.#mentions.clear();
      this.#say(status === "pending_review" ? this.t.pending : "", "note");
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
    if (error.retryAfterMs === undefined) return this.#say(words, "bad");
    const until = performance.now() + error.retryAfterMs;
    const tell = (): void => {
      const left = until - performance.now();
      if (left > 0) return this.#say(`${words} ${this.t.waitSeconds((left / 1_000).toFixed(left < 10_000 ? 1 : 0))}`, "bad");
      clearInterval(this.#countdown);
      this.#countdown = undefined;
      this.#say("", "note");
      this.#count();
    };
    this.#countdown = setInterval(tell, 100);
    tell();
  }

  #say(text: string, kind: "note" | "bad"): void {
    this.#status.textContent = text;
    this.#status.dataset.kind = kind;
  }

  #count(): void {
    const used = [...this.#input.value.trim()].length;
    this.#counter.textContent = used === 0 ? "" : `${used}/${CHARACTERS_MAX}`;
    this.#counter.classList.toggle("over", used > CHARACTERS_MAX);
    this.#input.setAttribute("aria-description", this.t.count(used, CHARACTERS_MAX));
    this.#send.disabled = used === 0 || used > CHARACTERS_MAX || this.#countdown !== undefined;
  }

  #styleMenu(): HTMLElement {
    const button = h("button", { type: "button", class: "tool", "aria-label": this.t.styleLabel, title: this.t.styleLabel }, icon(ICONS.letter));
    const swatches = COLOURS.map((color) => ({ value: color, label: color, color }));
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

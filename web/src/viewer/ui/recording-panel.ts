/** What only a recording has: how much later its comments come, and a link to this moment. */
import { h, icon } from "../../shared/dom";
import type { Strings } from "../strings";
import { dropdown } from "./dropdown";
import { ICONS } from "./icons";

const STEPS_MS = [-5_000, -500, 500, 5_000];

export interface RecordingPanelHandlers {
  shift(ms: number): void;
  copyLink(): void;
}

export class RecordingPanel {
  readonly element: HTMLElement;
  readonly #output = h("output", { class: "shift" });
  #ms = 0;

  constructor(
    private readonly t: Strings,
    handlers: RecordingPanelHandlers,
  ) {
    const button = h("button", { type: "button", class: "tool", "aria-label": t.recordingTools, title: t.recordingTools }, icon(ICONS.clock));
    const steps = STEPS_MS.map((by) => this.#button(t.seconds(by), () => handlers.shift(this.#ms + by)));
    const link = h("button", { type: "button", class: "copy-link" }, t.copyLink);
    link.addEventListener("click", () => handlers.copyLink());
    const panel = h(
      "div",
      { class: "sheet recording-sheet", role: "dialog", "aria-label": t.recordingTools },
      h("fieldset", { class: "choices" }, h("legend", {}, t.shift), h("div", { class: "shift-row" }, ...steps.slice(0, 2), this.#output, ...steps.slice(2))),
      this.#button(t.noShift, () => handlers.shift(0)),
      link,
    );
    dropdown(button, panel);
    this.element = h("div", { class: "anchor recording-only" }, button, panel);
    this.show(0);
  }

  show(ms: number): void {
    this.#ms = ms;
    this.#output.textContent = ms === 0 ? "0" : this.t.seconds(ms);
  }

  #button(label: string, clicked: () => void): HTMLButtonElement {
    const button = h("button", { type: "button" }, label);
    button.addEventListener("click", clicked);
    return button;
  }
}

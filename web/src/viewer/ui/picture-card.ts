/** A card over the picture: that nothing is on air and what can be watched instead, or what is wrong with the video. */
import { h, icon } from "../../shared/dom";
import type { Strings } from "../strings";
import { ICONS } from "./icons";

export class PictureCard {
  readonly element: HTMLElement;

  constructor(
    private readonly t: Strings,
    className: "picture-card" | "picture-problem",
  ) {
    this.element = h("div", { class: className, role: "status", hidden: true });
  }

  show(text: string, action?: { label: string; run(): void }): void {
    const dismiss = h("button", { type: "button", class: "tool", "aria-label": this.t.dismiss }, icon(ICONS.close));
    dismiss.addEventListener("click", () => this.hide());
    const button = action && h("button", { type: "button", class: "primary" }, action.label);
    button?.addEventListener("click", () => {
      this.hide();
      action?.run();
    });
    this.element.replaceChildren(h("p", {}, text), ...(button ? [button] : []), dismiss);
    this.element.hidden = false;
  }

  hide(): void {
    this.element.hidden = true;
  }
}

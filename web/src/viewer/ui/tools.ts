/** Small pieces of the player: an icon button, and a time as people write it. */
import { h, icon } from "../../shared/dom";

export function tool(label: string, path: string, clicked: () => void): HTMLButtonElement {
  const button = h("button", { type: "button", class: "tool" });
  face(button, label, path);
  button.addEventListener("click", clicked);
  return button;
}

/** Gives a button another face; one that has it already keeps its elements. */
export function face(button: HTMLButtonElement, label: string, path: string): void {
  if (button.title === label) return;
  button.title = label;
  button.setAttribute("aria-label", label);
  button.replaceChildren(icon(path));
}

/** `1:02:03` */
export function clockText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3_600);
  const minutes = Math.floor(whole / 60) % 60;
  return `${hours > 0 ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}

/** The menu of one comment. */
import { h } from "../../shared/dom";
import { openPanel } from "./dropdown";

export interface MenuEntry {
  label: string;
  run(): void;
}

/** Shows a menu at a point of the window; `closed` is called when it goes. */
export function openMenu(at: { x: number; y: number }, title: string, entries: MenuEntry[], opener: HTMLElement | undefined, closed: () => void): void {
  const menu = h("div", { class: "menu", role: "menu", "aria-label": title });
  menu.append(h("p", { class: "menu-title" }, title));
  const buttons = entries.map((entry) => {
    const button = h("button", { type: "button", role: "menuitem" }, entry.label);
    button.addEventListener("click", () => {
      close();
      entry.run();
    });
    return button;
  });
  menu.append(...buttons);
  menu.addEventListener("keydown", (event) => moveFocus(event, buttons));
  document.body.append(menu);
  place(menu, at);
  const close = openPanel(menu, opener, () => {
    menu.remove();
    closed();
  });
  buttons[0]?.focus({ preventScroll: true });
}

/** Beside the point, inside the window. */
function place(menu: HTMLElement, { x, y }: { x: number; y: number }): void {
  const { offsetWidth, offsetHeight } = menu;
  menu.style.left = `${Math.max(8, Math.min(x, innerWidth - offsetWidth - 8))}px`;
  menu.style.top = `${Math.max(8, y + offsetHeight + 8 > innerHeight ? y - offsetHeight : y + 8)}px`;
}

function moveFocus(event: KeyboardEvent, buttons: HTMLElement[]): void {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (step === 0) return;
  event.preventDefault();
  const at = buttons.indexOf(document.activeElement as HTMLElement);
  buttons[(at + step + buttons.length) % buttons.length]?.focus();
}

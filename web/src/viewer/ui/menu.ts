/** The menu of one comment. */
import { h } from "../../shared/dom";
import { openPanel } from "./dropdown";

export interface MenuEntry {
  label: string;
  run(): void;
  /** Cannot be undone, or concerns others. */
  grave?: boolean;
}

export interface MenuHost {
  /** The menu lives in here: in full screen only what is inside the picture can be seen. */
  element: HTMLElement;
  /** It keeps inside the element, not only inside the window. */
  confining: boolean;
}

/** Shows a menu at a point of the window; `closed` is called when it goes. */
export function openMenu(host: MenuHost, at: { x: number; y: number }, title: string, entries: MenuEntry[], opener: HTMLElement | undefined, closed: () => void): void {
  const menu = h("div", { class: "menu", role: "menu", "aria-label": title });
  menu.append(h("p", { class: "menu-title", dir: "auto" }, title));
  const buttons = entries.map((entry) => {
    const button = h("button", { type: "button", role: "menuitem", class: entry.grave ? "grave" : undefined }, entry.label);
    button.addEventListener("click", () => {
      close();
      entry.run();
    });
    return button;
  });
  menu.append(...buttons);
  menu.addEventListener("keydown", (event) => moveFocus(event, buttons));
  host.element.append(menu);
  place(menu, host, at);
  const close = openPanel(menu, opener, () => {
    menu.remove();
    closed();
  });
  buttons[0]?.focus({ preventScroll: true });
}

/** Beside the point, inside what is seen of the host. */
function place(menu: HTMLElement, { element, confining }: MenuHost, { x, y }: { x: number; y: number }): void {
  const box = confining ? element.getBoundingClientRect() : new DOMRect(0, 0, innerWidth, innerHeight);
  menu.style.position = confining ? "absolute" : "fixed";
  menu.style.maxHeight = `${box.height - 16}px`;
  const { offsetWidth, offsetHeight } = menu;
  const [left, top] = [x - box.left, y - box.top];
  const beneath = top + offsetHeight + 16 <= box.height;
  menu.style.left = `${Math.max(8, Math.min(left, box.width - offsetWidth - 8))}px`;
  menu.style.top = `${beneath ? top + 8 : Math.max(8, Math.min(top - offsetHeight, box.height - offsetHeight - 8))}px`;
}

function moveFocus(event: KeyboardEvent, buttons: HTMLElement[]): void {
  const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (step === 0) return;
  event.preventDefault();
  const at = buttons.indexOf(document.activeElement as HTMLElement);
  buttons[(at + step + buttons.length) % buttons.length]?.focus();
}

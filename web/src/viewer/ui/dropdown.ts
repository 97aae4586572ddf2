/** A panel that a button opens and that closes at Escape, or at a click elsewhere. One is open at a time. */

let closeOpen: ((returnFocus: boolean) => void) | undefined;

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !closeOpen) return;
  event.preventDefault(); // one Escape closes one thing
  closeOpen(true);
});

/** Makes `panel` open and close by `button`. Returns what closes it. */
export function dropdown(button: HTMLElement, panel: HTMLElement): () => void {
  panel.hidden = true;
  button.setAttribute("aria-haspopup", "dialog");
  button.setAttribute("aria-expanded", "false");
  let close = (): void => undefined;
  button.addEventListener("click", () => {
    if (!panel.hidden) return close();
    button.setAttribute("aria-expanded", "true");
    close = openPanel(panel, button, () => button.setAttribute("aria-expanded", "false"));
  });
  return () => close();
}

/** Opens a panel until it is closed; `opener` gets the focus back. Returns what closes it. */
export function openPanel(panel: HTMLElement, opener: HTMLElement | undefined, closed: () => void): () => void {
  closeOpen?.(false);
  panel.hidden = false;
  const outside = (event: PointerEvent): void => {
    const target = event.target as Node;
    if (!panel.contains(target) && !opener?.contains(target)) close(false);
  };
  const close = (returnFocus: boolean): void => {
    if (closeOpen !== close) return;
    closeOpen = undefined;
    panel.hidden = true;
    document.removeEventListener("pointerdown", outside, true);
    closed();
    if (returnFocus) opener?.focus();
  };
  closeOpen = close;
  document.addEventListener("pointerdown", outside, true);
  return () => close(true);
}

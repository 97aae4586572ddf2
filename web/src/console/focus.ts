/** Keeps the focus in a list whose rows go away under it. */
import { useLayoutEffect, useRef } from "preact/hooks";

/**
 * When the row in focus leaves the list, the focus moves to what took its place: the control with the same
 * `data-action` if there is one, else the row, else the list's fallback. Rows are the `li` of the list.
 */
export function useFocusHeld(list: { current: HTMLElement | null }, fallback?: { current: HTMLElement | null }): void {
  const held = useRef<{ index: number; action: string | undefined } | null>(null);
  useLayoutEffect(() => {
    const focused = document.activeElement;
    if (held.current && (focused === document.body || focused === null)) {
      const rows = [...(list.current?.querySelectorAll<HTMLElement>("li") ?? [])];
      const row = rows[Math.min(held.current.index, rows.length - 1)];
      const { action } = held.current;
      const control = row?.querySelector<HTMLElement>(action === undefined ? "button, a, input" : `[data-action="${action}"]`);
      (control ?? (row?.tabIndex === 0 ? row : undefined) ?? fallback?.current)?.focus();
    }
    return undefined;
  });
  useLayoutEffect(() => {
    const element = list.current;
    const entered = (event: FocusEvent): void => {
      const row = (event.target as Element).closest("li");
      const control = (event.target as Element).closest<HTMLElement>("[data-action]");
      held.current = row && element?.contains(row) ? { index: [...element.querySelectorAll("li")].indexOf(row as HTMLLIElement), action: control?.dataset["action"] } : null;
    };
    // Only somebody who leaves the list on their own lets go of it; a row that is removed tells no one.
    document.addEventListener("focusin", entered);
    return () => document.removeEventListener("focusin", entered);
  }, [list.current]);
}

/**
 * Short notes at the edge of the screen: what was done, or why not, and a way back where there is one. At most four at
 * once, the oldest leaves first. `say` may be called from anywhere; `Toasts` is drawn once by the shell.
 */
import { signal } from "@preact/signals";
import { explain } from "./errors";
import { t } from "./i18n";

type Tone = "good" | "bad";

interface Toast {
  id: number;
  text: string;
  tone: Tone;
  undo?: (() => void) | undefined;
}

/** How long something that can be undone waits for it. */
export const undoMs = 8000;

const toasts = signal<Toast[]>([]);
let last = 0;

export function say(text: string, tone: Tone = "good", undo?: () => void): void {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-3), { id, text, tone, undo }];
  window.setTimeout(() => dismiss(id), undo ? undoMs : tone === "bad" ? 9000 : 3500);
}

/** Runs an action and tells how it went, with a way back when there is one. Resolves to whether it succeeded. */
export async function attempt(action: () => Promise<unknown>, done: string, undo?: () => void): Promise<boolean> {
  try {
    await action();
    say(done, "good", undo);
    return true;
  } catch (error) {
    say(explain(error), "bad");
    return false;
  }
}

/** Takes the last thing back that still can be; tells whether there was one. */
export function undoLast(): boolean {
  const toast = [...toasts.value].reverse().find(({ undo }) => undo !== undefined);
  if (toast === undefined) return false;
  dismiss(toast.id);
  toast.undo?.();
  return true;
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <div key={toast.id} class={`toast toast-${toast.tone}`}>
          <span>{toast.text}</span>
          {toast.undo && (
            <button type="button" onClick={() => (dismiss(toast.id), toast.undo?.())}>
              {t("undo")}
            </button>
          )}
          <button type="button" class="quiet" aria-label={t("dismiss")} onClick={() => dismiss(toast.id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}

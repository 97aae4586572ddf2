/**
 * Short notes at the edge of the screen: what was done, or why not. At most four at once, the oldest leaves first.
 * `say` may be called from anywhere; `Toasts` is drawn once by the shell.
 */
import { signal } from "@preact/signals";
import { explain } from "./errors";

type Tone = "good" | "bad";

interface Toast {
  id: number;
  text: string;
  tone: Tone;
}

const toasts = signal<Toast[]>([]);
let last = 0;

export function say(text: string, tone: Tone = "good"): void {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-3), { id, text, tone }];
  window.setTimeout(() => dismiss(id), tone === "bad" ? 9000 : 3500);
}

/** Runs an action and tells how it went. Resolves to whether it succeeded. */
export async function attempt(action: () => Promise<unknown>, done: string): Promise<boolean> {
  try {
    await action();
    say(done);
    return true;
  } catch (error) {
    say(explain(error), "bad");
    return false;
  }
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <button key={toast.id} type="button" class={`toast toast-${toast.tone}`} onClick={() => dismiss(toast.id)}>
          {toast.text}
        </button>
      ))}
    </div>
  );
}

/** The player's keys. Whoever types, chooses or moves a slider keeps the keys for that. */

export interface KeyHandlers {
  play(): void;
  step(seconds: number): void;
  volume(by: number): void;
  fullscreen(): void;
  mute(): void;
  danmaku(): void;
  theatre(): void;
  write(): void;
}

const TYPING = 'input:not([type="checkbox"], [type="radio"], .seek), textarea, select, [contenteditable="true"]';
/** What takes Enter, Space and the arrows for itself. */
const OWN_KEYS = 'button, a[href], summary, input:not(.seek), [role="log"], [role="menu"], [role="tablist"], [role="dialog"], .timeline-list';

export function listenToKeys(handlers: KeyHandlers, step: { seconds: number; volume: number }): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest(TYPING)) return;
    const run = target.closest(OWN_KEYS) ? undefined : spatial(event.key, handlers, step);
    const chosen = run ?? letter(event.key, handlers);
    if (!chosen) return;
    event.preventDefault();
    if (!event.repeat || run) chosen();
  });
}

function spatial(key: string, handlers: KeyHandlers, { seconds, volume }: { seconds: number; volume: number }): (() => void) | undefined {
  switch (key) {
    case " ":
      return () => handlers.play();
    case "Enter":
      return () => handlers.write();
    case "ArrowLeft":
      return () => handlers.step(-seconds);
    case "ArrowRight":
      return () => handlers.step(seconds);
    case "ArrowUp":
      return () => handlers.volume(volume);
    case "ArrowDown":
      return () => handlers.volume(-volume);
    default:
      return undefined;
  }
}

function letter(key: string, handlers: KeyHandlers): (() => void) | undefined {
  switch (key.toLowerCase()) {
    case "f":
      return () => handlers.fullscreen();
    case "m":
      return () => handlers.mute();
    case "d":
      return () => handlers.danmaku();
    case "t":
      return () => handlers.theatre();
    default:
      return undefined;
  }
}

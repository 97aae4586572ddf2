/**
 * Asks the server for something again and again while a section is on screen.
 * The next question waits for the last answer, a hidden tab asks nothing, and a failure keeps the
 * last good answer beside the error. Used by every list of the console.
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

export interface Polled<T> {
  data: T | null;
  error: unknown;
  /** Asks now, without waiting for the next turn. */
  reload: () => void;
}

/** `everyMs` null asks once, and on `reload`. `key` names what is asked for: when it changes, the old answer is dropped. */
export function usePoll<T>(load: () => Promise<T>, everyMs: number | null, key: string): Polled<T> {
  const [state, setState] = useState<{ key: string; data: T | null; error: unknown }>({ key, data: null, error: null });
  const latest = useRef(load);
  latest.current = load;
  const kick = useRef<() => void>(() => undefined);

  useEffect(() => {
    let stopped = false;
    let timer = 0;
    let turn = 0;
    const ask = () => {
      window.clearTimeout(timer);
      const mine = ++turn;
      const settle = (change: { data?: T; error: unknown }) => {
        // An answer that a newer question has overtaken must not undo it.
        if (stopped || mine !== turn) return;
        setState((old) => ({ key, data: change.data ?? (old.key === key ? old.data : null), error: change.error }));
        if (everyMs !== null) timer = window.setTimeout(tick, everyMs);
      };
      latest.current().then(
        (data) => settle({ data, error: null }),
        (error: unknown) => settle({ error }),
      );
    };
    const tick = () => {
      if (everyMs !== null && document.visibilityState === "visible") ask();
    };
    kick.current = ask;
    document.addEventListener("visibilitychange", tick);
    ask();
    return () => {
      stopped = true;
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, [key, everyMs]);

  const reload = useCallback(() => kick.current(), []);
  const own = state.key === key;
  return { data: own ? state.data : null, error: own ? state.error : null, reload };
}

/**
 * What happens to rows whose buttons were pressed: busy at once, gone when the server agrees, back with an explanation
 * when it does not. What cannot be taken back on the server waits a little, and can be undone until then.
 * Used by every list with actions.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { explain } from "./errors";
import { say, undoMs } from "./toast";

export interface Rows {
  busy: (id: string) => boolean;
  gone: (id: string) => boolean;
  /** Runs one action on each row; a second press while it runs does nothing. `undo` gets the rows that are gone. */
  run: (ids: readonly string[], action: (id: string) => Promise<unknown>, done: string, undo?: (ids: readonly string[]) => void) => Promise<void>;
  /** Hides the rows at once and runs the action when nobody has undone it for a while, or leaves. */
  runLater: (ids: readonly string[], action: (id: string) => Promise<unknown>, done: string) => void;
}

/** Gone rows are remembered until the list no longer has them; this many are enough for any list shown. */
const remembered = 1000;

export function useRows(): Rows {
  const [marks, setMarks] = useState<ReadonlyMap<string, "busy" | "gone">>(new Map());
  const running = useRef(new Set<string>());
  const waiting = useRef(new Set<() => void>());
  const mark = (ids: readonly string[], value: "busy" | "gone" | null) =>
    setMarks((old) => {
      const next = new Map([...old].slice(-remembered));
      for (const id of ids) {
        if (value === null) next.delete(id);
        else next.set(id, value);
      }
      return next;
    });
  const carryOut = async (ids: readonly string[], action: (id: string) => Promise<unknown>): Promise<string[]> => {
    const done: string[] = [];
    for (const id of ids) {
      try {
        await action(id);
        done.push(id);
        mark([id], "gone");
      } catch (error) {
        mark([id], null);
        say(explain(error), "bad");
      } finally {
        running.current.delete(id);
      }
    }
    return done;
  };
  const claim = (ids: readonly string[]): string[] => {
    const free = ids.filter((id) => !running.current.has(id));
    for (const id of free) running.current.add(id);
    return free;
  };
  const run: Rows["run"] = async (ids, action, done, undo) => {
    const mine = claim(ids);
    mark(mine, "busy");
    const gone = await carryOut(mine, action);
    if (gone.length > 0) say(done, "good", undo && (() => (mark(gone, null), undo(gone))));
  };
  const runLater: Rows["runLater"] = (ids, action, done) => {
    const mine = claim(ids);
    if (mine.length === 0) return;
    mark(mine, "gone");
    const now = () => {
      window.clearTimeout(timer);
      if (waiting.current.delete(now)) void carryOut(mine, action);
    };
    const timer = window.setTimeout(now, undoMs);
    waiting.current.add(now);
    say(done, "good", () => {
      window.clearTimeout(timer);
      waiting.current.delete(now);
      for (const id of mine) running.current.delete(id);
      mark(mine, null);
    });
  };
  useEffect(() => {
    const leave = () => [...waiting.current].forEach((now) => now());
    addEventListener("pagehide", leave);
    return () => {
      removeEventListener("pagehide", leave);
      leave();
    };
  }, []);
  return { busy: (id) => marks.get(id) === "busy", gone: (id) => marks.get(id) === "gone", run, runLater };
}

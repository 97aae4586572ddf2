/**
 * What happens to a row whose button was pressed: busy at once, gone when the server agrees,
 * back with an explanation when it does not. Used by every list with actions.
 */
import { useRef, useState } from "preact/hooks";
import { explain } from "./errors";
import { say } from "./toast";

export interface Rows {
  busy: (id: string) => boolean;
  gone: (id: string) => boolean;
  /** Runs one action on a row; a second press while it runs does nothing. */
  run: (id: string, action: () => Promise<unknown>, done: string) => Promise<void>;
}

/** Gone rows are remembered until the list no longer has them; this many are enough for any list shown. */
const remembered = 1000;

export function useRows(): Rows {
  const [marks, setMarks] = useState<ReadonlyMap<string, "busy" | "gone">>(new Map());
  const running = useRef(new Set<string>());
  const mark = (id: string, value: "busy" | "gone" | null) =>
    setMarks((old) => {
      const next = new Map([...old].slice(-remembered));
      if (value === null) next.delete(id);
      else next.set(id, value);
      return next;
    });
  const run = async (id: string, action: () => Promise<unknown>, done: string) => {
    if (running.current.has(id)) return;
    running.current.add(id);
    mark(id, "busy");
    try {
      await action();
      mark(id, "gone");
      say(done);
    } catch (error) {
      mark(id, null);
      say(explain(error), "bad");
    } finally {
      running.current.delete(id);
    }
  };
  return { busy: (id) => marks.get(id) === "busy", gone: (id) => marks.get(id) === "gone", run };
}

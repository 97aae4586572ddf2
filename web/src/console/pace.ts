/**
 * How many comments a second a room publishes, told from outside without joining it (joining would count as a viewer):
 * reads what came since the last look, which the server answers from memory.
 */
import { useRef } from "preact/hooks";
import { readComments } from "./api";
import { usePoll } from "./poll";

const everyMs = 3000;
/** One look reads at most this many comments; a room that is faster shows as "at least". */
const page = 100;

export interface Pace {
  perSecond: number;
  atLeast: boolean;
}

/** Null until two looks have been taken. */
export function usePace(room: string): Pace | null {
  const last = useRef<{ since: string; at: number } | null>(null);
  const look = async (): Promise<Pace | null> => {
    const before = last.current;
    const { comments, latest_id } = await readComments(room, before?.since, 0);
    const now = performance.now();
    last.current = { since: latest_id ?? before?.since ?? "0", at: now };
    if (before === null) return null;
    return { perSecond: (comments.length * 1000) / Math.max(1, now - before.at), atLeast: comments.length >= page };
  };
  return usePoll(look, everyMs, room).data;
}

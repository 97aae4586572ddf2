/**
 * Two transports in a race: the first one starts alone, and when it is not there after a moment the second one starts, too.
 * Whoever opens first carries the connection. Where the first one loses it is left out for an hour, so that a network without
 * UDP costs its head start once. Used as one rung of the client's ladder; the client never learns of the race.
 */
import { CloseCode } from "./codes.js";
import type { Connect, Transport } from "./transport.js";

const HEAD_START_MS = 300;
const REMEMBERED_MS = 3_600_000;
/** A session of the loser that began on the server may replace the winner's, as the same device: for this long. */
const ECHO_MS = 5_000;
const ABNORMAL = 1006;

/** What the race keeps between connections: `localStorage`, or anything like it. */
export interface RaceMemory {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export function raced(first: Connect, second: Connect, memory: RaceMemory = platformMemory()): Connect {
  let label = first.label ?? "custom";
  const connect = (url: string, handlers: Parameters<Connect>[1]): Transport => {
    const key = keyOf(url);
    if (Number(memory.getItem(key) ?? 0) > Date.now()) {
      label = second.label ?? "custom";
      return second(url, handlers);
    }
    const running = new Map<Connect, Transport>();
    let winner: Connect | undefined;
    let openedAt = 0;
    let over = false;
    let failed = 0;
    const start = (entrant: Connect): void => {
      if (winner || over || running.has(entrant)) return;
      const transport = entrant(url, {
        opened() {
          if (winner || over) return;
          winner = entrant;
          openedAt = Date.now();
          label = entrant.label ?? "custom";
          clearTimeout(headStart);
          if (entrant === second) memory.setItem(key, String(Date.now() + REMEMBERED_MS));
          for (const [loser, transport] of running) if (loser !== entrant) transport.close("lost the race");
          handlers.opened();
        },
        received(message) {
          if (winner === entrant && !over) handlers.received(message);
        },
        closed(code, reason) {
          if (over || (winner && winner !== entrant)) return;
          const echo = winner && code === CloseCode.Replaced && running.size > 1 && Date.now() - openedAt < ECHO_MS;
          // The other one may still make it.
          if (!winner && ++failed < 2) return start(second);
          over = true;
          clearTimeout(headStart);
          handlers.closed(echo ? ABNORMAL : code, reason);
        },
      });
      running.set(entrant, transport);
    };
    const headStart = setTimeout(() => start(second), HEAD_START_MS);
    start(first);
    const current = (): Transport | undefined => (winner ? running.get(winner) : undefined);
    return {
      send: (text) => current()?.send(text),
      close(reason) {
        if (over) return;
        clearTimeout(headStart);
        over = true;
        for (const transport of running.values()) transport.close(reason);
        handlers.closed(1000, reason ?? "");
      },
    };
  };
  return Object.defineProperty(connect, "label", { get: () => label });
}

/** One memory for each server and kind of network, as far as the platform tells networks apart. */
function keyOf(url: string): string {
  const network = (globalThis.navigator as { connection?: { type?: string } } | undefined)?.connection?.type ?? "";
  return `barrage.race:${new URL(url).host}:${network}`;
}

/** Pages keep it between visits where they may; everybody else for as long as they run. */
function platformMemory(): RaceMemory {
  const here = new Map<string, string>();
  const own: RaceMemory = { getItem: (key) => here.get(key) ?? null, setItem: (key, value) => void here.set(key, value) };
  try {
    return globalThis.localStorage ?? own;
  } catch {
    return own;
  }
}

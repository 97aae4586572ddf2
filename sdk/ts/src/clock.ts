/**
 * The server's clock as seen from here. Each request/answer round trip bounds the difference between the two
 * clocks by its own duration (Cristian, "Probabilistic clock synchronization", 1989); of the last eight the
 * shortest is believed. Counts on a monotonic clock, so that setting the computer's time changes nothing.
 */

const SAMPLES = 8;

interface Sample {
  offsetMs: number;
  roundTripMs: number;
}

export class ServerClock {
  #samples: Sample[] = [];

  constructor(readonly monotonicMs: () => number = () => performance.now()) {}

  /** Forgets everything; called when another server may be at the other end. */
  reset(): void {
    this.#samples = [];
  }

  /** One round trip: sent and received in this side's monotonic time, answered in the server's. */
  observe(sentMs: number, receivedMs: number, serverTimeMs: number): void {
    const offsetMs = serverTimeMs - (sentMs + receivedMs) / 2;
    this.#samples.push({ offsetMs, roundTripMs: receivedMs - sentMs });
    if (this.#samples.length > SAMPLES) this.#samples.shift();
  }

  /** Server time in Unix milliseconds. Before the first sample, this computer's own. */
  now(): number {
    const best = this.#best();
    return best ? this.monotonicMs() + best.offsetMs : Date.now();
  }

  /** Milliseconds from now until the server's clock shows `serverTimeMs`; negative when it is past. */
  until(serverTimeMs: number): number {
    return serverTimeMs - this.now();
  }

  /** Half the shortest round trip: how wrong `now()` may be. Undefined before the first sample. */
  get errorMs(): number | undefined {
    const best = this.#best();
    return best && best.roundTripMs / 2;
  }

  #best(): Sample | undefined {
    return this.#samples.reduce<Sample | undefined>(
      (best, sample) => (!best || sample.roundTripMs < best.roundTripMs ? sample : best),
      undefined,
    );
  }
}

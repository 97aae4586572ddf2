/**
 * Keeps a connection known to be alive. Owned by the client, started anew for each connection. Sends a beat every
 * interval; when nothing at all has arrived for two intervals, calls `dead`: the network may have
 * gone without a word, and the browser would notice minutes later.
 */
export class Heartbeat {
  #timer: ReturnType<typeof setInterval> | undefined;
  #heard = false;
  #missed = 0;

  constructor(
    private readonly beat: () => void,
    private readonly dead: () => void,
  ) {}

  start(intervalMs: number): void {
    this.stop();
    this.#heard = true;
    this.#missed = 0;
    this.#timer = setInterval(() => this.#tick(), intervalMs);
  }

  /** Anything arrived. */
  heard(): void {
    this.#heard = true;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #tick(): void {
    this.#missed = this.#heard ? 0 : this.#missed + 1;
    this.#heard = false;
    if (this.#missed >= 2) {
      this.stop();
      this.dead();
    } else {
      this.beat();
    }
  }
}

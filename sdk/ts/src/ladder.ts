/**
 * Which transport the next attempt takes. Owned by the client. Starts at the first; one that does not work here makes way for
 * the next, and the client looks now and then whether the first works by now.
 *
 *     WebSocket ──▶ event stream + HTTP ──▶ long polling ──▶ live segments ──▶ WebSocket …
 *
 * A server with too much to do sends its viewers to live segments at once.
 */
import { type Connect, SEGMENTS, UNUSABLE } from "./transport.js";

/** A transport that has worked before is not blocked here: the server is away. This many failures in a row say otherwise. */
const FAILURES_AFTER_SUCCESS = 6;
/** Connections as short as this, so many in a row, are as good as none. */
const SHORT_MS = 10_000;
const SHORT_MAX = 3;
const FIRST_PROBE_MS = 30_000;
/** The first one has worked before: most likely it was the server that was away. */
const PROBE_AFTER_SUCCESS_MS = 2_000;
const PROBE_MAX_MS = 300_000;

export class TransportLadder {
  #index = 0;
  readonly #worked = new Set<Connect>();
  #failures = 0;
  #short = 0;
  #probeMs = FIRST_PROBE_MS;

  constructor(readonly transports: readonly Connect[]) {
    if (transports.length === 0) throw new Error("no transport is available here");
  }

  get current(): Connect {
    return this.transports[this.#index] as Connect;
  }

  /** The one to try out while another is in use; undefined when the first is. */
  get better(): Connect | undefined {
    return this.#index > 0 ? this.transports[0] : undefined;
  }

  /** How long until the better one is tried out (again). */
  nextProbeMs(): number {
    const ms = this.#probeMs;
    this.#probeMs = Math.min(PROBE_MAX_MS, ms * 2);
    return this.better && this.#worked.has(this.better) && ms === FIRST_PROBE_MS ? PROBE_AFTER_SUCCESS_MS : ms;
  }

  /** The better one works: it is the next. */
  climb(): void {
    this.#index = 0;
    this.#failures = 0;
    this.#short = 0;
    this.#probeMs = FIRST_PROBE_MS;
  }

  /** Takes segments for the next. False when they are taken already, or there are none. */
  toSegments(): boolean {
    const index = this.transports.findIndex(({ label }) => label === SEGMENTS);
    if (index < 0 || index === this.#index) return false;
    this.#index = index;
    this.#failures = 0;
    this.#short = 0;
    this.#probeMs = FIRST_PROBE_MS;
    return true;
  }

  /** A connection stood for so long; `undefined` when it never did. */
  ended(livedMs: number | undefined, code: number): void {
    this.#short = livedMs === undefined ? this.#short : livedMs < SHORT_MS ? this.#short + 1 : 0;
    this.#failures = livedMs === undefined ? this.#failures + 1 : 0;
    if (livedMs !== undefined && code !== UNUSABLE) this.#worked.add(this.current);
    const failed = this.#failures >= (this.#worked.has(this.current) ? FAILURES_AFTER_SUCCESS : 1);
    if (code !== UNUSABLE && !failed && this.#short < SHORT_MAX) return;
    this.#index = (this.#index + 1) % this.transports.length;
    this.#failures = 0;
    this.#short = 0;
  }
}

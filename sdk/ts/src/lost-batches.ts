/**
 * Counts batches that never come: each carries the number after the one before it, and networks lose some and swap others.
 * Owned by a WebTransport session. A number that is missing for a while is told as a batch without comments.
 */

/** A batch that is later than this behind its successor is lost. */
const LATE_MS = 400;
/** Numbers waited for at once; when more are missing, the oldest are lost. */
const MISSING_MAX = 1_024;

export class LostBatches {
  #next = 0;
  /** Missing numbers, and since when. */
  readonly #missing = new Map<number, number>();
  #roomId: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly message: (text: string) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** A batch: its number (4 bytes, big-endian) and its message. */
  received(batch: Uint8Array): void {
    if (batch.length < 4) return;
    const seq = new DataView(batch.buffer, batch.byteOffset, 4).getUint32(0);
    if (seq < this.#next) {
      // Late, or here twice.
      if (!this.#missing.delete(seq)) return;
    } else {
      for (let missing = Math.max(this.#next, seq - MISSING_MAX); missing < seq; missing++) this.#missing.set(missing, this.now());
      this.#next = seq + 1;
    }
    const text = new TextDecoder().decode(batch.subarray(4));
    this.#roomId = roomOf(text) ?? this.#roomId;
    this.message(text);
    if (this.#missing.size > 0) this.#timer ??= setTimeout(() => this.#give(), LATE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Gives up what is too late. Nobody knows how many comments a lost batch had: it counts as one. */
  #give(): void {
    this.#timer = undefined;
    const before = this.now() - LATE_MS;
    let omitted = 0;
    for (const [seq, since] of this.#missing) {
      if (since > before && this.#missing.size <= MISSING_MAX) break;
      this.#missing.delete(seq);
      omitted++;
    }
    if (omitted > 0) this.message(JSON.stringify({ type: "comments", room_id: this.#roomId, comments: [], omitted }));
    if (this.#missing.size > 0) this.#timer = setTimeout(() => this.#give(), LATE_MS);
  }
}

function roomOf(text: string): string | undefined {
  try {
    const { room_id } = JSON.parse(text) as { room_id?: unknown };
    return typeof room_id === "string" ? room_id : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Requests that wait for their answer, matched by `ref`. Owned by the client. A request marked `repeatable` survives
 * a lost connection and is sent again on the next one (the server answers a known `client_msg_id` with its
 * first answer); the others are rejected at once, because nobody can say whether they were carried out.
 */
import { BarrageError } from "./codes.js";
import type { AnyMessage, ClientMessage } from "./types.js";

interface Waiting {
  message: ClientMessage;
  repeatable: boolean;
  resolve: (answer: AnyMessage) => void;
  reject: (error: BarrageError) => void;
  timer: ReturnType<typeof setTimeout>;
}

export interface Outgoing {
  ref: string;
  message: ClientMessage;
}

export class PendingRequests {
  readonly #waiting = new Map<string, Waiting>();
  #next = 1;

  constructor(private readonly timeoutMs: number) {}

  /** Registers a request; the caller sends `message` with `ref`. */
  add(message: ClientMessage, repeatable: boolean): { ref: string; answer: Promise<AnyMessage> } {
    const ref = String(this.#next++);
    const answer = new Promise<AnyMessage>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(ref);
        reject(new BarrageError("timeout", `no answer to ${message.type} within ${this.timeoutMs} ms`));
      }, this.timeoutMs);
      this.#waiting.set(ref, { message, repeatable, resolve, reject, timer });
    });
    return { ref, answer };
  }

  /** Settles the request this message answers. False when it answers none. */
  settle(message: AnyMessage): boolean {
    const waiting = message.ref === undefined ? undefined : this.#take(message.ref);
    if (!waiting) return false;
    if (message.type === "error") waiting.reject(errorFrom(message));
    else waiting.resolve(message);
    return true;
  }

  /** The connection is gone: rejects what must not be sent twice. */
  disconnected(): void {
    for (const [ref, waiting] of this.#waiting) {
      if (!waiting.repeatable) {
        this.#take(ref)?.reject(new BarrageError("disconnected", `connection lost while waiting for ${waiting.message.type}`));
      }
    }
  }

  /** What to send (again) on a new connection, oldest first. */
  unanswered(): Outgoing[] {
    return [...this.#waiting].map(([ref, { message }]) => ({ ref, message }));
  }

  rejectAll(error: BarrageError): void {
    for (const ref of [...this.#waiting.keys()]) this.#take(ref)?.reject(error);
  }

  #take(ref: string): Waiting | undefined {
    const waiting = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    clearTimeout(waiting?.timer);
    return waiting;
  }
}

/** The error an `error` message carries; a field of the wrong type reads as absent. */
export function errorFrom(message: AnyMessage): BarrageError {
  const { code, message: text, retry_after_ms: retry, rule } = message;
  return new BarrageError(
    typeof code === "string" ? code : "unknown",
    typeof text === "string" ? text : "the server refused",
    typeof retry === "number" ? retry : undefined,
    undefined,
    typeof rule === "string" && rule !== "" ? rule : undefined,
  );
}

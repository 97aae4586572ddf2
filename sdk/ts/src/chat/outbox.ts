/**
 * What this device has said and the server has not yet acknowledged. Each message is sent until it is, over as many
 * connections as it takes, always with the same `client_msg_id`, so that it is stored once. One at a time per
 * conversation keeps their order. A refusal that time does not heal fails the message; the ones after it go on.
 */
import { BarrageError, isPassing } from "../codes.js";
import type { Id } from "../types.js";
import type { Address, MessageAck, MessageType } from "./types.js";

export interface OutboxEntry {
  client_msg_id: string;
  address: Address;
  content: string;
  msg_type: MessageType;
  created_at: string;
  /** The message that it answers. */
  reply_to?: Id;
  /** Uploads that an encrypted content names. */
  uploads?: Id[];
  /** What `Sealing.seal` makes the content of, at the moment of sending; until then the content is empty. */
  draft?: string;
  /** Why it was refused for good. */
  failed?: { code: string; message: string };
}

/** What the outbox needs of its client and its chat. */
export interface OutboxLink {
  readonly connected: boolean;
  /** One attempt to send it. */
  deliver(entry: OutboxEntry): Promise<MessageAck>;
  acknowledged(entry: OutboxEntry, ack: MessageAck): void;
  /** What is waiting has changed, in this conversation. */
  changed(address: Address): void;
}

/** More than this many unacknowledged messages are refused with `outbox_full`. */
export const OUTBOX_MAX = 1_000;
const RETRY_MS = 2_000;

export function addressKey(address: Address): string {
  return "to_user" in address ? `direct:${address.to_user}` : `group:${address.group_id}`;
}

export class Outbox {
  #entries: OutboxEntry[] = [];
  readonly #inFlight = new Set<string>();
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(private readonly link: OutboxLink) {}

  /** All of it, in the order it was said. */
  get entries(): readonly OutboxEntry[] {
    return this.#entries;
  }

  of(address: Address): OutboxEntry[] {
    const key = addressKey(address);
    return this.#entries.filter((entry) => addressKey(entry.address) === key);
  }

  /** Takes back what an earlier visit left unsent. */
  restore(entries: OutboxEntry[]): void {
    this.#entries = [...entries.slice(0, OUTBOX_MAX), ...this.#entries];
  }

  add(entry: OutboxEntry): void {
    if (this.#entries.length >= OUTBOX_MAX) throw new BarrageError("outbox_full", "too many messages are waiting to be sent");
    this.#entries.push(entry);
    this.link.changed(entry.address);
    this.#pump(entry.address);
  }

  /** Tries a failed one again, with its old id: if it did get through, it is not said twice. */
  retry(clientMsgId: string): void {
    const entry = this.#entries.find(({ client_msg_id }) => client_msg_id === clientMsgId);
    if (!entry?.failed) return;
    delete entry.failed;
    this.link.changed(entry.address);
    this.#pump(entry.address);
  }

  /** Forgets one: it was discarded, or turned up in what the server told us. False when it is not here. */
  remove(clientMsgId: string): boolean {
    const index = this.#entries.findIndex(({ client_msg_id }) => client_msg_id === clientMsgId);
    const [entry] = index < 0 ? [] : this.#entries.splice(index, 1);
    if (entry) this.link.changed(entry.address);
    return entry !== undefined;
  }

  /** There is a connection (again). */
  resume(): void {
    for (const { address } of [...this.#entries]) this.#pump(address);
  }

  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #pump(address: Address): void {
    const key = addressKey(address);
    if (!this.link.connected || this.#inFlight.has(key) || this.#timers.has(key)) return;
    const entry = this.of(address).find(({ failed }) => !failed);
    if (!entry) return;
    this.#inFlight.add(key);
    this.link
      .deliver(entry)
      .then((ack) => this.#acknowledged(entry, ack))
      .catch((error: unknown) => this.#refused(entry, error as BarrageError));
  }

  #acknowledged(entry: OutboxEntry, ack: MessageAck): void {
    this.#inFlight.delete(addressKey(entry.address));
    this.link.acknowledged(entry, ack);
    this.remove(entry.client_msg_id);
    this.#pump(entry.address);
  }

  #refused(entry: OutboxEntry, error: BarrageError): void {
    this.#inFlight.delete(addressKey(entry.address));
    if (error.code === "disconnected" || error.code === "closed") return; // the next connection sends it
    if (isPassing(error)) return this.#later(entry.address, error.retryAfterMs ?? RETRY_MS);
    entry.failed = { code: error.code, message: error.message };
    this.link.changed(entry.address);
    this.#pump(entry.address);
  }

  #later(address: Address, delayMs: number): void {
    const key = addressKey(address);
    const again = (): void => {
      this.#timers.delete(key);
      this.#pump(address);
    };
    this.#timers.set(key, setTimeout(again, delayMs));
  }
}

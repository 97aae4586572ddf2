/**
 * A chat server small enough to reason about: it stores messages in order, gives each a rising id, answers repeats with
 * the first answer, and pushes at most once. A test decides which frames get lost and when connections break.
 */
import type { Api } from "../../src/http.js";
import type { Connect, Transport, TransportHandlers } from "../../src/transport.js";

type Frame = Record<string, unknown>;

interface Stored {
  id: string;
  client_msg_id: string;
  conversation_id: string;
  from_user: string;
  to_user: string;
  content: string;
  msg_type: string;
  status: string;
  created_at: string;
  edited_at?: string;
  /** Who gave which emoji, in the order of their first use. */
  given: Map<string, Set<string>>;
}

interface Change {
  message_id: string;
  conversation_id: string;
  status: string;
  by_user: string;
  at: string;
}

/** What may happen to a frame on its way; `false` loses the connection instead. */
export type Fate = (direction: "up" | "down", frame: Frame) => boolean;

interface Line extends Transport {
  user: string;
  handlers: TransportHandlers;
  open: boolean;
}

export class World {
  readonly stored: Stored[] = [];
  readonly changes: Change[] = [];
  readonly #read = new Map<string, string>();
  readonly #lines = new Set<Line>();
  /** Pushes that are simply lost, though the connection lives on. */
  losesPush: () => boolean = () => false;
  fate: Fate = () => true;
  #clock = 0;

  /** Carries frames between a client and this world, a turn of the event loop apart. */
  readonly connect: Connect = (url, handlers) => {
    const user = new URL(url).searchParams.get("user_id") ?? "";
    const line: Line = {
      user, handlers, open: true,
      send: (text) => this.#soon(() => line.open && this.#up(line, JSON.parse(text) as Frame)),
      close: () => this.#cut(line),
    };
    this.#lines.add(line);
    this.#soon(() => {
      if (!line.open) return;
      handlers.opened();
      this.#down(line, { type: "connected", user_id: user, device_id: "d", connection_id: "c", node_id: "n", heartbeat_s: 3_600, server_time_ms: 0 });
    });
    return line;
  };

  /** What `user` gets over HTTP. */
  http(user: string): Pick<Api, "call" | "absolute"> {
    const call = async (_method: string, path: string, { query = {} }: { query?: Frame } = {}): Promise<unknown> => {
      await Promise.resolve();
      if (path === "/conversations") return { conversations: this.#listOf(user) };
      const id = decodeURIComponent(path.split("/")[2] ?? "");
      return this.#history(user, id, query.before_id as string | undefined, Number(query.limit));
    };
    return { call: call as Api["call"], absolute: (url) => url };
  }

  cutAll(): void {
    for (const line of [...this.#lines]) this.#cut(line);
  }

  get lines(): Line[] {
    return [...this.#lines];
  }

  between(a: string, b: string): Stored[] {
    return this.stored.filter(({ conversation_id }) => conversation_id === conversationOf(a, b));
  }

  store(from_user: string, to_user: string, content: string, client_msg_id = `x${this.stored.length}`): Stored {
    const known = this.stored.find((message) => message.from_user === from_user && message.client_msg_id === client_msg_id);
    if (known) return known;
    const message = {
      id: String(1_000 + this.stored.length), client_msg_id, conversation_id: conversationOf(from_user, to_user), from_user, to_user, content,
      msg_type: "text", status: "delivered", created_at: this.#now(), given: new Map<string, Set<string>>(),
    };
    this.stored.push(message);
    const { id, ...rest } = this.shown(message, from_user);
    this.#push([from_user, to_user], { ...rest, type: "new_message", server_msg_id: id });
    return message;
  }

  /** Later than every time before. */
  #now(): string {
    return new Date(1_700_000_000_000 + ++this.#clock).toISOString();
  }

  #push(users: string[], frame: Frame): void {
    for (const line of this.#lines) if (users.includes(line.user) && !this.losesPush()) this.#soon(() => this.#down(line, frame));
  }

  #soon(action: () => unknown): void {
    setTimeout(action, 0);
  }

  #cut(line: Line): void {
    if (!line.open) return;
    line.open = false;
    this.#lines.delete(line);
    line.handlers.closed(1006, "");
  }

  #down(line: Line, frame: Frame): void {
    if (!line.open) return;
    if (this.fate("down", frame)) line.handlers.received(JSON.stringify(frame));
    else this.#cut(line);
  }

  #up(line: Line, frame: Frame): void {
    if (!this.fate("up", frame)) return this.#cut(line);
    const answer = this.#answer(line.user, frame);
    if (answer) this.#soon(() => this.#down(line, { ...answer, ref: frame.ref }));
  }

  #answer(user: string, frame: Frame): Frame | undefined {
    switch (frame.type) {
      case "send_message": {
        const { id, conversation_id, created_at } = this.store(user, String(frame.to_user), String(frame.content), String(frame.client_msg_id));
        return { type: "message_ack", client_msg_id: frame.client_msg_id, server_msg_id: id, status: "delivered", conversation_id, created_at };
      }
      case "sync_messages":
        return { type: "sync_response", ...this.#sync(user, frame) };
      case "mark_as_read":
        return this.#markRead(user, String(frame.message_id));
      case "recall_message":
        return this.#recall(user, String(frame.message_id));
      case "edit_message":
        return this.#edit(user, String(frame.message_id), String(frame.content));
      case "react":
        return this.#react(user, String(frame.message_id), String(frame.emoji), frame.on === true);
      default:
        return undefined;
    }
  }

  #edit(user: string, id: string, content: string): Frame {
    const message = this.stored.find((stored) => stored.id === id && stored.from_user === user && stored.status !== "recalled");
    if (!message) return { type: "error", code: "not_found", message: "no such message" };
    if (message.content !== content) {
      const edited_at = this.#now();
      Object.assign(message, { content, edited_at });
      this.#changed(message, { status: "edited", by_user: user }, { type: "message_edited", content, edited_at });
    }
    return { type: "edit_ack", message_id: id, edited_at: message.edited_at };
  }

  #react(user: string, id: string, emoji: string, on: boolean): Frame {
    const message = this.stored.find((stored) => stored.id === id && isOf(stored, user) && stored.status !== "recalled");
    if (!message) return { type: "error", code: "not_found", message: "no such message" };
    const by = message.given.get(emoji) ?? new Set();
    if (by.has(user) !== on) {
      if (on) message.given.set(emoji, by.add(user));
      else by.delete(user);
      if (by.size === 0) message.given.delete(emoji);
      this.#changed(message, { status: "reacted", by_user: user }, { type: "message_reacted", user_id: user, emoji, on, count: by.size, change: String(this.changes.length + 1) });
    }
    return { type: "react_ack", message_id: id, emoji, on, count: by.size };
  }

  /** A message as this user sees it now. */
  shown({ given, ...message }: Stored, user: string): Frame {
    const reactions = [...given].map(([emoji, by]) => ({ emoji, count: by.size, mine: by.has(user) }));
    return { ...message, ...(reactions.length > 0 && message.status !== "recalled" ? { reactions } : {}) };
  }

  #sync(user: string, { since_id, since_change, limit }: Frame): Frame {
    const mine = this.stored.filter((message) => isOf(message, user) && Number(message.id) > Number(since_id ?? 0));
    const messages = mine.slice(0, Number(limit));
    const seen = since_change === undefined ? this.changes.length : Number(since_change);
    const changes = this.changes.slice(seen).flatMap((change) => {
      const message = this.stored.find(({ id }) => id === change.message_id);
      if (!message || !isOf(message, user)) return [];
      return [{ ...change, ...(change.status === "edited" || change.status === "reacted" ? { message: this.shown(message, user) } : {}) }];
    });
    return { messages: messages.map((message) => this.shown(message, user)), latest_id: messages.at(-1)?.id ?? since_id ?? "0", changes, latest_change: String(this.changes.length), more: mine.length > messages.length };
  }

  #markRead(user: string, id: string): Frame | undefined {
    const message = this.stored.find((stored) => stored.id === id);
    if (!message) return undefined;
    const key = `${user} ${message.conversation_id}`;
    if (Number(id) > Number(this.#read.get(key) ?? 0)) {
      this.#read.set(key, id);
      this.#changed(message, { status: "read", by_user: user }, { type: "message_read", read_by: user, read_at: message.created_at });
    }
    return { type: "read_ack", message_id: id, conversation_id: message.conversation_id, unread_count: this.#unread(user, message.conversation_id) };
  }

  #recall(user: string, id: string): Frame {
    const message = this.stored.find((stored) => stored.id === id && stored.from_user === user);
    if (!message) return { type: "error", code: "not_found", message: "no such message" };
    Object.assign(message, { content: "", status: "recalled" });
    this.#changed(message, { status: "recalled", by_user: user }, { type: "message_recalled", recalled_by: user, recalled_at: message.created_at });
    return { type: "recall_ack", message_id: id };
  }

  #changed({ id, conversation_id, created_at, from_user, to_user }: Stored, change: Pick<Change, "status" | "by_user">, push: Frame): void {
    this.changes.push({ message_id: id, conversation_id, at: created_at, ...change });
    this.#push([from_user, to_user], { message_id: id, conversation_id, ...push });
  }

  #unread(user: string, conversationId: string): number {
    const read = Number(this.#read.get(`${user} ${conversationId}`) ?? 0);
    return this.stored.filter((m) => m.conversation_id === conversationId && m.from_user !== user && m.status !== "recalled" && Number(m.id) > read).length;
  }

  #listOf(user: string): Frame[] {
    const ids = [...new Set(this.stored.filter((message) => isOf(message, user)).map(({ conversation_id }) => conversation_id).reverse())];
    return ids.map((conversation_id) => {
      const last_message = this.stored.findLast((message) => message.conversation_id === conversation_id);
      const with_user = last_message?.from_user === user ? last_message.to_user : last_message?.from_user;
      const read = (who: string | undefined): Frame => ({ read_id: this.#read.get(`${who} ${conversation_id}`) });
      return {
        conversation_id, kind: "direct", with_user, name: with_user, unread_count: this.#unread(user, conversation_id),
        last_message: last_message ? this.shown(last_message, user) : null,
        ...read(user), peer_read_id: read(with_user).read_id,
      };
    });
  }

  #history(user: string, conversationId: string, before: string | undefined, limit: number): Frame {
    const all = this.stored.filter((m) => m.conversation_id === conversationId && isOf(m, user) && (before === undefined || Number(m.id) < Number(before)));
    return { messages: all.slice(-limit).map((message) => this.shown(message, user)), more: all.length > limit };
  }
}

function isOf({ from_user, to_user }: Stored, user: string): boolean {
  return from_user === user || to_user === user;
}

function conversationOf(a: string, b: string): string {
  return [a, b].sort().join("|");
}

/** Numbers in [0, 1) that are the same for the same seed (mulberry32, T. Ettinger, public domain). */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

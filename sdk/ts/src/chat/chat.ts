/**
 * Private and group chat over one client: the conversations, what is unread in them, who is online. On each new
 * connection it reads the list of conversations, catches up with what was missed, and then lives on what is pushed.
 *
 *     identified ──▶ list ──▶ sync until `more` is false ──▶ live: pushes, and a sync now and then
 *
 * Pushes are sent at most once, so the cursors move only with what sync says: a push that got lost comes with the next
 * one. Whatever way a message arrives, it is merged by its id and told once.
 */
import { BarrageError, isPassing } from "../codes.js";
import type { Client } from "../client.js";
import { Emitter } from "../emitter.js";
import type { AnyMessage, Connected, Id } from "../types.js";
import type { ChatApi, ConversationPage } from "./api.js";
import { Conversation, type ConversationLink, type KeptConversation } from "./conversation.js";
import { compareIds, isUpTo, laterId } from "./ids.js";
import { Names } from "./names.js";
import { addressKey, Outbox, type OutboxEntry, type OutboxLink } from "./outbox.js";
import { type ChatStorage, memoryStorage } from "./storage.js";
import type {
  Address,
  ChatClientMessage,
  ChatPush,
  ConversationInfo,
  EditAck,
  GroupChanged,
  Message,
  MessageAck,
  MessageChange,
  NewMessage,
  Presence,
  PresenceList,
  ReactAck,
  SyncResponse,
} from "./types.js";

export interface ChatOptions {
  /** Where cursors and unsent messages outlive the page. Default: nowhere. */
  storage?: ChatStorage;
  /** Where conversations and their newest messages outlive the page, so that it opens without the network. Default: nowhere. */
  cache?: ChatStorage;
  /** What encrypts messages said with `Conversation.sendSealed`. */
  sealing?: Sealing;
}

/** Encrypts at the moment of sending, so that what is written offline can wait. */
export interface Sealing {
  /** The content to send. A rejection that may pass is tried again later, any other one fails the message. */
  seal(address: Address, draft: string): Promise<string>;
  /** The server has the message: its draft is not needed any more. */
  sent(draft: string): void;
}

export interface ChatEvents {
  /** A message of somebody, or of this user's from another device: each once. */
  message: { message: Message; conversation: Conversation };
  /** A conversation's row or messages are different. */
  conversation: Conversation;
  /** Conversations came, went, or changed places. */
  conversations: undefined;
  /** Somebody watched came or went. */
  presence: Presence;
  /** A group was made, renamed, closed, or has other members or roles. */
  group: GroupChanged;
  /** Everything missed has been told; from now on it is live. */
  live: undefined;
  /** Catching up did not work; it is tried again if the error says it may pass. */
  error: BarrageError;
}

const SYNC_LIMIT = 200;
const LIST_LIMIT = 100;
/** A lost push is made good this long after a later one at most, or this long after silence. */
const SETTLE_MS = 30_000;
const IDLE_MS = 300_000;
const RETRY_MS = 3_000;
const REFRESH_MS = 500;
/** Pushes held back while catching up; beyond it they are dropped, and another sync brings them. */
const HELD_MAX = 1_000;
/** A server takes 16 KiB in one message; some room is left for the rest of the frame. */
const SOCKET_BYTES_MAX = 15_000;
/** The server watches as many. */
const WATCHED_MAX = 200;

/** Pushes that wait while what came before them is read. */
const ORDERED: ReadonlySet<string> = new Set(["new_message", "message_read", "message_recalled", "message_edited", "message_reacted", "message_refreshed"]);

/** Of so many conversations so many messages are kept for a visit without the network. */
const KEPT_CONVERSATIONS = 100;
const KEPT_MESSAGES = 50;
const KEPT_MESSAGES_MIN = 5;
const KEPT_CHARACTERS_MAX = 4_000_000;
const KEEP_MS = 1_000;

/** The cursors are those of these messages: what came later is synced again. */
interface Cached {
  me: string;
  since_id?: Id | undefined;
  since_change?: string | undefined;
  conversations: KeptConversation[];
}

interface Kept {
  since_id?: Id;
  since_change?: string;
  outbox?: OutboxEntry[];
}

export class Chat extends Emitter<ChatEvents> implements ConversationLink, OutboxLink {
  readonly outbox: Outbox;
  readonly names = new Names();
  /** What is known of those watched. */
  readonly presence = new Map<string, Presence>();

  readonly #storage: ChatStorage;
  readonly #cache: ChatStorage | undefined;
  readonly #sealing: Sealing | undefined;
  readonly #conversations = new Map<string, Conversation>();
  readonly #byId = new Map<string, Conversation>();
  readonly #unreported = new Map<Conversation, Id>();
  readonly #off: (() => void)[];
  #me = "";
  #sinceId: Id | undefined;
  #sinceChange: string | undefined;
  #cursor: string | undefined;
  #watched: string[] = [];
  #held: ChatPush[] | undefined;
  #overflowed = false;
  #live = false;
  #connection = 0;
  #settlesAt = 0;
  #timers: Partial<Record<"settle" | "retry" | "refresh" | "save" | "keep", ReturnType<typeof setTimeout>>> = {};

  constructor(
    private readonly client: Pick<Client, "connected" | "identity" | "on" | "request" | "send">,
    readonly api: ChatApi,
    options: ChatOptions = {},
  ) {
    super();
    this.#storage = options.storage ?? memoryStorage();
    this.#cache = options.cache;
    this.#sealing = options.sealing;
    this.outbox = new Outbox(this);
    this.#restore();
    this.#uncache();
    this.#off = [
      client.on("identified", (connected) => this.#identified(connected)),
      client.on("message", (message) => this.#pushed(message)),
      client.on("state", ({ name }) => name !== "connected" && this.#lost()),
    ];
    if (client.connected && client.identity) this.#identified(client.identity);
  }

  /** Stops listening to the client. */
  close(): void {
    this.#lost();
    this.outbox.stop();
    this.#save();
    this.#keep();
    for (const off of this.#off) off();
  }

  /** Stops, and erases what this device kept of it: messages, cursors, and what was not sent. */
  async forget(): Promise<void> {
    this.#lost();
    this.outbox.stop();
    for (const name of ["save", "keep"] as const) this.#clear(name);
    for (const off of this.#off) off();
    await Promise.all([this.#storage, this.#cache].map((kept) => kept && (kept.erase ? kept.erase() : kept.save(""))));
  }

  /** Who this is, as the server said. */
  get me(): string {
    return this.#me;
  }

  get connected(): boolean {
    return this.client.connected;
  }

  /** Whether everything missed has been told. */
  get live(): boolean {
    return this.#live;
  }

  /** Newest activity first. */
  get conversations(): Conversation[] {
    return [...this.#conversations.values()].sort((a, b) => b.lastActivity.localeCompare(a.lastActivity));
  }

  get unread(): number {
    return [...this.#conversations.values()].reduce((sum, { unread }) => sum + unread, 0);
  }

  /** Whether there are older conversations than those here. */
  get hasMore(): boolean {
    return this.#cursor !== undefined;
  }

  /** The conversation with somebody, the same object each time. Writing to it starts it. */
  direct(userId: string): Conversation {
    return this.#conversation({ to_user: userId });
  }

  group(groupId: string): Conversation {
    return this.#conversation({ group_id: groupId });
  }

  /** Only if it is in the list. */
  find(key: string): Conversation | undefined {
    return this.#conversations.get(key);
  }

  async createGroup(name: string, members: string[]): Promise<Conversation> {
    const { group_id } = await this.api.createGroup(name, members);
    const conversation = this.group(group_id);
    conversation.rename(name);
    await this.#list();
    return conversation;
  }

  /** Takes back one's own message; rejects with `too_late` after two minutes. */
  async recall(conversation: Conversation, id: Id): Promise<void> {
    await this.client.request({ type: "recall_message", message_id: id }, false);
    conversation.recalled(id, new Date().toISOString());
  }

  /** Gives one's own message another content; rejects with `too_late` after two minutes. */
  async edit(conversation: Conversation, id: Id, content: string): Promise<void> {
    const edit = { type: "edit_message", message_id: id, content } as const;
    const ack = isTooLong(edit) ? await this.api.edit(id, content) : ((await this.client.request(edit, false)) as unknown as EditAck);
    if (ack.edited_at !== undefined) conversation.edited(id, content, ack.edited_at);
  }

  /** Adds a reaction to a message, or takes it back. */
  async react(conversation: Conversation, id: Id, emoji: string, on: boolean): Promise<void> {
    const ack = (await this.client.request({ type: "react", message_id: id, emoji, on }, false)) as unknown as ReactAck;
    conversation.reacted({ ...ack, user_id: this.#me });
  }

  /** Whose coming and going to be told; replaces those watched before. */
  watchPresence(userIds: string[]): void {
    this.#watched = [...new Set(userIds)].slice(0, WATCHED_MAX);
    if (this.connected && this.#me) void this.#watch();
  }

  /** Adds the next page of older conversations. */
  async loadMore(): Promise<void> {
    if (this.#cursor !== undefined) this.#listed(await this.api.conversations({ limit: LIST_LIMIT, before: this.#cursor }));
  }

  // ---- what conversations and the outbox ask for ------------------------------------------------

  /** Over the socket, or over HTTP what is too long for one of its messages. */
  async deliver(entry: OutboxEntry): Promise<MessageAck> {
    if (entry.draft !== undefined && entry.content === "") await this.#seal(entry, entry.draft);
    const { address, client_msg_id, content, msg_type, reply_to, uploads } = entry;
    const draft = { client_msg_id, content, msg_type, ...address, ...(reply_to ? { reply_to } : {}), ...(uploads ? { uploads } : {}) };
    if (isTooLong(draft)) return this.api.send(draft);
    const type = "to_user" in address ? "send_message" : "send_group_message";
    return (await this.client.request({ type, ...draft } as ChatClientMessage, false)) as unknown as MessageAck;
  }

  tell(message: ChatClientMessage): void {
    this.client.send(message);
  }

  reportRead(conversation: Conversation, id: Id): void {
    const busy = this.#unreported.has(conversation);
    this.#unreported.set(conversation, id);
    if (!busy) void this.#report(conversation);
  }

  refresh(): void {
    this.#timers.refresh ??= setTimeout(() => {
      this.#timers.refresh = undefined;
      this.#list().catch((error: unknown) => this.emit("error", error as BarrageError));
    }, REFRESH_MS);
  }

  acknowledged(entry: OutboxEntry, ack: MessageAck): void {
    if (entry.draft !== undefined) this.#sealing?.sent(entry.draft);
    this.#receive({
      id: ack.server_msg_id, client_msg_id: entry.client_msg_id, conversation_id: ack.conversation_id, from_user: this.#me, ...entry.address,
      content: entry.content, msg_type: entry.msg_type, status: "delivered", created_at: ack.created_at ?? entry.created_at,
      ...(entry.reply_to ? { reply_to: entry.reply_to } : {}),
    });
  }

  changed(address: Address): void {
    this.#conversation(address).outboxChanged();
    this.#timers.save ??= setTimeout(() => this.#save(), 0);
  }

  /** What was encrypted is kept before it leaves: a repeat must be the same message. */
  async #seal(entry: OutboxEntry, draft: string): Promise<void> {
    if (!this.#sealing) throw new BarrageError("sealing_unavailable", "nothing here encrypts");
    entry.content = await this.#sealing.seal(entry.address, draft);
    this.changed(entry.address);
  }

  // ---- coming and going -------------------------------------------------------------------------

  #identified({ user_id }: Connected): void {
    if (user_id === undefined) return;
    if (this.#me !== "" && this.#me !== user_id) this.#startOver();
    this.#me = user_id;
    this.#lost();
    this.outbox.resume();
    if (this.#watched.length > 0) void this.#watch();
    void this.#goLive(this.#connection);
  }

  /** Somebody else's: nothing that was kept here is shown to this user. */
  #startOver(): void {
    this.#conversations.clear();
    this.#byId.clear();
    this.#sinceId = undefined;
    this.#sinceChange = undefined;
    this.emit("conversations", undefined);
  }

  #lost(): void {
    this.#connection++;
    this.#live = false;
    this.#held = undefined;
    for (const name of ["settle", "retry"] as const) this.#clear(name);
  }

  /** List, then sync, then live. `connection` tells whether it is still about the connection it was started for. */
  async #goLive(connection: number): Promise<void> {
    this.#held = [];
    try {
      if (this.#sinceChange === undefined) this.#sinceChange = (await this.#ask({ limit: 1 })).latest_change;
      await this.#list();
      if (connection !== this.#connection) return;
      await this.#catchUp(connection);
      if (connection !== this.#connection) return;
      this.#live = true;
      this.#settleLater(IDLE_MS);
      for (const conversation of this.#unreported.keys()) void this.#report(conversation);
      this.emit("live", undefined);
    } catch (error) {
      if (connection === this.#connection) this.#retryLater(error as BarrageError, connection);
    }
  }

  #retryLater(error: BarrageError, connection: number): void {
    if (error.code === "disconnected" || error.code === "closed") return;
    this.emit("error", error);
    if (isPassing(error)) {
      this.#timers.retry = setTimeout(() => void this.#goLive(connection), error.retryAfterMs ?? RETRY_MS);
    }
  }

  /** Pushes wait until what came before them has been told. */
  async #catchUp(connection: number): Promise<void> {
    this.#held ??= [];
    do {
      this.#overflowed = false;
      for (let more = true; more; ) {
        const answer = await this.#ask({ limit: SYNC_LIMIT, ...(this.#sinceId ? { since_id: this.#sinceId } : {}), ...(this.#sinceChange ? { since_change: this.#sinceChange } : {}) });
        if (connection !== this.#connection) return;
        more = answer.more;
        this.#caughtUp(answer);
      }
    } while (this.#overflowed);
    this.#release();
  }

  #caughtUp({ messages, latest_id, changes, latest_change, expired }: SyncResponse): void {
    if (expired) for (const conversation of this.#conversations.values()) conversation.reset();
    for (const message of messages) this.#receive(message);
    for (const change of changes) this.#applyChange(change);
    this.#sinceId = latest_id;
    this.#sinceChange = latest_change;
    this.#save();
  }

  async #ask(query: { since_id?: Id; since_change?: string; limit: number }): Promise<SyncResponse> {
    return (await this.client.request({ type: "sync_messages", ...query }, false)) as unknown as SyncResponse;
  }

  /** In a while the cursors move past what was pushed, and whatever got lost beside it is noticed. */
  #settleLater(afterMs = SETTLE_MS): void {
    const at = Date.now() + afterMs;
    if (this.#timers.settle !== undefined && this.#settlesAt <= at) return;
    this.#clear("settle");
    this.#settlesAt = at;
    this.#timers.settle = setTimeout(() => void this.#settle(this.#connection), afterMs);
  }

  async #settle(connection: number): Promise<void> {
    this.#timers.settle = undefined;
    try {
      await this.#catchUp(connection);
      if (connection === this.#connection) this.#settleLater(IDLE_MS);
    } catch {
      if (connection !== this.#connection) return; // the next connection catches up anyway
      this.#release();
      this.#settleLater();
    }
  }

  #release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const push of held) this.#apply(push);
  }

  // ---- what the server says -----------------------------------------------------------------------

  #pushed(message: AnyMessage): void {
    const push = message as unknown as ChatPush;
    if (!ORDERED.has(push.type) || !this.#held) return this.#apply(push);
    if (this.#held.length < HELD_MAX) this.#held.push(push);
    else this.#overflowed = true;
  }

  #apply(push: ChatPush): void {
    switch (push.type) {
      case "new_message":
        this.#settleLater();
        return this.#receive(asMessage(push));
      case "message_read":
        this.#settleLater();
        return this.#byId.get(push.conversation_id)?.applyRead(push.read_by, push.message_id);
      case "message_recalled":
        this.#settleLater();
        return this.#byId.get(push.conversation_id)?.recalled(push.message_id, push.recalled_at);
      case "message_edited":
        this.#settleLater();
        return this.#byId.get(push.conversation_id)?.edited(push.message_id, push.content, push.edited_at);
      case "message_refreshed":
        return this.#byId.get(push.conversation_id)?.refreshed(push.message);
      case "message_reacted":
        this.#settleLater();
        if (compareIds(push.change, this.#sinceChange ?? "0") > 0) this.#byId.get(push.conversation_id)?.reacted(push);
        return;
      case "typing":
        return this.#conversationOf(push).applyTyping(push.from_user, push.typing);
      case "presence":
        return this.#present(push);
      case "group_changed":
        return this.#groupChanged(push);
    }
  }

  #applyChange({ message_id, conversation_id, status, by_user, at, message }: MessageChange): void {
    const conversation = this.#byId.get(conversation_id);
    if (message) conversation?.refreshed(message);
    else if (status === "recalled") conversation?.recalled(message_id, at);
    else if (status === "read") conversation?.applyRead(by_user, message_id);
  }

  #receive(message: Message): void {
    const conversation = this.#conversationOf(message);
    const unknown = conversation.conversationId === undefined;
    this.#byId.set(message.conversation_id, conversation);
    const fresh = conversation.receive(message);
    const sentHere = message.from_user === this.#me && this.outbox.remove(message.client_msg_id);
    if (unknown) this.refresh();
    if (fresh && !sentHere) this.emit("message", { message, conversation });
    this.emit("conversations", undefined);
  }

  #conversationOf({ from_user, to_user = "", group_id }: Pick<Message, "from_user" | "to_user" | "group_id">): Conversation {
    return this.#conversation(group_id !== undefined ? { group_id } : { to_user: from_user === this.#me ? to_user : from_user });
  }

  #conversation(address: Address): Conversation {
    const key = addressKey(address);
    const known = this.#conversations.get(key);
    if (known) return known;
    const conversation = new Conversation(address, this);
    conversation.on("changed", () => {
      this.#keepLater();
      this.emit("conversation", conversation);
    });
    this.#conversations.set(key, conversation);
    return conversation;
  }

  async #list(): Promise<void> {
    const page = await this.api.conversations({ limit: LIST_LIMIT });
    if (this.#sinceId === undefined) this.#begin(page.conversations);
    if (page.next_cursor === undefined) this.#forget(page.conversations);
    this.#listed(page);
  }

  /** A new device: what the list shows is known, and the first sync starts after it. What was told before has a gap behind it. */
  #begin(listed: ConversationInfo[]): void {
    this.#sinceId = listed.reduce<Id | undefined>((latest, { last_message }) => laterId(latest, last_message?.id), undefined);
    for (const conversation of this.#conversations.values()) conversation.reset();
  }

  #listed({ conversations, next_cursor }: ConversationPage): void {
    this.#cursor = next_cursor;
    let above = new Date().toISOString();
    for (const info of conversations) {
      const conversation = this.#conversation(addressOf(info));
      this.#byId.set(info.conversation_id, conversation);
      conversation.update(info, above);
      above = conversation.lastActivity;
    }
    this.emit("conversations", undefined);
  }

  /** The list is complete: a group it does not have any more was left on another device, or closed. */
  #forget(listed: ConversationInfo[]): void {
    const kept = new Set(listed.map(({ conversation_id }) => conversation_id));
    for (const { kind, peer, conversationId } of [...this.#conversations.values()]) {
      if (kind === "group" && conversationId !== undefined && !kept.has(conversationId)) this.#drop(peer);
    }
  }

  #drop(groupId: string): void {
    const key = addressKey({ group_id: groupId });
    this.#byId.delete(this.#conversations.get(key)?.conversationId ?? "");
    this.#conversations.delete(key);
  }

  #groupChanged(change: GroupChanged): void {
    const out = change.change === "closed" || ((change.change === "member_removed" || change.change === "member_left") && change.user_ids?.includes(this.#me));
    if (out) {
      this.#drop(change.group_id);
    } else {
      const conversation = this.group(change.group_id);
      if (change.name) conversation.rename(change.name);
      if (conversation.members) conversation.loadMembers().catch((error: unknown) => this.emit("error", error as BarrageError));
      this.refresh();
    }
    this.emit("group", change);
    this.emit("conversations", undefined);
  }

  #present({ user_id, status, last_seen }: Presence): void {
    const presence: Presence = { user_id, status, last_seen: last_seen ?? null };
    if (this.#watched.includes(user_id)) this.presence.set(user_id, presence);
    this.emit("presence", presence);
  }

  async #watch(): Promise<void> {
    try {
      const answer = await this.client.request({ type: "watch_presence", user_ids: this.#watched }, false);
      this.presence.clear();
      for (const user of (answer as unknown as PresenceList).users) this.#present(user);
    } catch {
      // Dots only; the next connection or the next call asks again.
    }
  }

  /** Reports the newest read mark until the server has it; marks made meanwhile go with the next one. */
  async #report(conversation: Conversation): Promise<void> {
    const id = this.#unreported.get(conversation);
    if (id === undefined || !this.connected) return;
    try {
      await this.client.request({ type: "mark_as_read", message_id: id }, false);
      if (conversation.unread > 0) this.refresh(); // what was counted before the mark is counted anew
    } catch (error) {
      const { code, retryAfterMs } = error as BarrageError;
      if (code === "disconnected" || code === "closed") return; // the next time it goes live
      if (isPassing(error as BarrageError)) return void setTimeout(() => void this.#report(conversation), retryAfterMs ?? RETRY_MS);
    }
    const latest = this.#unreported.get(conversation);
    if (isUpTo(latest ?? id, id)) this.#unreported.delete(conversation);
    else void this.#report(conversation);
  }

  // ---- what outlives the page ---------------------------------------------------------------------

  #restore(): void {
    try {
      const kept = JSON.parse(this.#storage.load() ?? "{}") as Kept;
      this.#sinceId = kept.since_id;
      this.#sinceChange = kept.since_change;
      this.outbox.restore(kept.outbox ?? []);
    } catch {
      // Not ours, or of another version: as if this were a new device.
    }
  }

  #save(): void {
    this.#clear("save");
    const kept: Kept = { outbox: [...this.outbox.entries] };
    if (this.#sinceId !== undefined) kept.since_id = this.#sinceId;
    if (this.#sinceChange !== undefined) kept.since_change = this.#sinceChange;
    this.#storage.save(JSON.stringify(kept));
  }

  #keepLater(): void {
    if (this.#cache) this.#timers.keep ??= setTimeout(() => this.#keep(), KEEP_MS);
  }

  /** Only what has been caught up with: while pushes are held back, the messages would be newer than the cursors. */
  #keep(): void {
    this.#clear("keep");
    if (!this.#cache || this.#me === "" || this.#held) return;
    const known = this.conversations.filter(({ conversationId }) => conversationId !== undefined).slice(0, KEPT_CONVERSATIONS);
    for (let messages = KEPT_MESSAGES; messages >= KEPT_MESSAGES_MIN; messages >>= 1) {
      const cached: Cached = { me: this.#me, since_id: this.#sinceId, since_change: this.#sinceChange, conversations: known.map((conversation) => conversation.kept(messages)) };
      const text = JSON.stringify(cached);
      if (text.length <= KEPT_CHARACTERS_MAX) return this.#cache.save(text);
    }
  }

  /** Shows what an earlier visit kept, and goes on from its cursors. */
  #uncache(): void {
    let cached: Cached;
    try {
      cached = JSON.parse(this.#cache?.load() ?? "null") as Cached;
      if (!cached || !Array.isArray(cached.conversations) || cached.since_id === undefined) return;
      this.#me = cached.me;
      for (const kept of cached.conversations) {
        const conversation = this.#conversation(kept.address);
        conversation.restore(kept);
        if (kept.conversation_id !== undefined) this.#byId.set(kept.conversation_id, conversation);
      }
    } catch {
      return this.#conversations.clear(); // not ours, or of another version
    }
    this.#sinceId = cached.since_id;
    this.#sinceChange = cached.since_change;
  }

  #clear(name: "settle" | "retry" | "refresh" | "save" | "keep"): void {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = undefined;
  }
}

/** What does not fit into one message of a socket goes over HTTP. */
function isTooLong(message: object): boolean {
  return new TextEncoder().encode(JSON.stringify(message)).length > SOCKET_BYTES_MAX;
}

function addressOf(info: ConversationInfo): Address {
  return info.kind === "group" ? { group_id: info.group_id ?? "" } : { to_user: info.with_user ?? "" };
}

function asMessage({ server_msg_id: id, ...message }: NewMessage): Message {
  return { ...message, id, status: "delivered" };
}

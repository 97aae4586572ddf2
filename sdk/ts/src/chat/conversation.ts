/**
 * One conversation: its messages, sent and unsent, in order; who has read what; what is unread; who is typing.
 * Made by `Chat`, which feeds it what the server says. Never opens a connection and never asks for what was missed.
 */
import { Emitter } from "../emitter.js";
import { randomId } from "../random.js";
import type { Id } from "../types.js";
import type { ChatApi } from "./api.js";
import { compareIds, isUpTo, laterId } from "./ids.js";
import type { Names } from "./names.js";
import { addressKey, type Outbox, type OutboxEntry } from "./outbox.js";
import { isEditedLater, Thread } from "./thread.js";
import type { Address, ChatClientMessage, ConversationInfo, GroupMember, GroupRole, Message, MessageReacted, MessageType, Reaction, UploadType } from "./types.js";

/** As the sender's device sees it: `sending` and `failed` exist only there, the rest is the server's word. */
export type MessageState = "sending" | "failed" | "delivered" | "read" | "recalled";

/** A message as it is shown. */
export interface ChatMessage extends Omit<Message, "id" | "status" | "conversation_id"> {
  /** Absent until the server has stored it. */
  id?: Id;
  own: boolean;
  state: MessageState;
  /** What an unsent message will be encrypted from; its content is empty until then. */
  draft?: string;
  /** Why it `failed`. */
  error?: { code: string; message: string };
}

export interface ConversationEvents {
  /** Something about it is different: draw it again. */
  changed: undefined;
}

/** A conversation as a device keeps it: enough to show it without the network. */
export interface KeptConversation {
  address: Address;
  conversation_id?: string | undefined;
  name?: string | undefined;
  role?: GroupRole | undefined;
  member_count?: number | undefined;
  started_at: string;
  read_id?: Id | undefined;
  peer_read_id?: Id | undefined;
  unread: number;
  last?: Message | undefined;
  /** The newest ones, an unbroken run. */
  messages: Message[];
}

/** What a conversation needs of its chat. */
export interface ConversationLink {
  readonly me: string;
  readonly api: ChatApi;
  readonly outbox: Outbox;
  readonly names: Names;
  /** Sends what has no answer. */
  tell(message: ChatClientMessage): void;
  /** Reports a read mark; again on the next connection if this one is lost. */
  reportRead(conversation: Conversation, id: Id): void;
  /** The unread count cannot be worked out from here: ask the server. */
  refresh(): void;
}

/** Messages kept while nobody scrolls back. */
const KEPT = 500;
const PAGE = 50;
/** Looking for one message ends after so many pages of the largest size. */
const SEEK_PAGES = 20;
const SEEK_PAGE = 200;
/** Somebody who says nothing more is not typing any more. */
const TYPING_MS = 6_000;
const TYPING_EVERY_MS = 3_000;
const MEMBERS_PAGE = 500;

export class Conversation extends Emitter<ConversationEvents> {
  readonly key: string;
  readonly kind: "direct" | "group";
  /** The other person, or the group. */
  readonly peer: string;
  /** Absent until something has been said. */
  conversationId: string | undefined;
  role: GroupRole | undefined;
  memberCount: number | undefined;
  /** Of a group, once `loadMembers` has been called. */
  members: readonly GroupMember[] | undefined;
  /** False when everything from the first message on is here. */
  hasOlder = true;

  readonly #thread = new Thread();
  #name: string | undefined;
  #startedAt = new Date().toISOString();
  #last: Message | undefined;
  #readId: Id | undefined;
  #peerReadId: Id | undefined;
  /** What the server counted as unread, and up to which message it counted. */
  #counted: { unread: number; upTo: Id | undefined } = { unread: 0, upTo: undefined };
  #kept = KEPT;
  /** Up to where messages were told and then let go. */
  #letGoTo: Id | undefined;
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>();
  #typingToldAt = 0;
  #loading: Promise<void> | undefined;

  constructor(
    readonly address: Address,
    private readonly link: ConversationLink,
  ) {
    super();
    this.key = addressKey(address);
    this.kind = "to_user" in address ? "direct" : "group";
    this.peer = "to_user" in address ? address.to_user : address.group_id;
  }

  /** What it is called: by the server, or as the person called themselves in a message, or else by its id. */
  get name(): string {
    return this.#name ?? (this.kind === "direct" ? this.link.names.get(this.peer) : undefined) ?? this.peer;
  }

  /** What is to be shown, oldest first; what is not yet stored comes last. */
  get messages(): ChatMessage[] {
    const unsent = this.link.outbox.of(this.address).map(({ address, failed, ...entry }): ChatMessage => ({
      ...entry, ...address, from_user: this.link.me, own: true, state: failed ? "failed" : "sending", ...(failed ? { error: failed } : {}),
    }));
    return [...this.#thread.messages.map((message) => this.#shown(message)), ...unsent];
  }

  get lastMessage(): ChatMessage | undefined {
    const unsent = this.link.outbox.of(this.address).length > 0;
    return unsent ? this.messages.at(-1) : this.#last && this.#shown(this.#last);
  }

  /** When something was last said, or else when it began; as an RFC 3339 time. */
  get lastActivity(): string {
    return this.lastMessage?.created_at ?? this.#startedAt;
  }

  /** Up to where this user has read, on any device. */
  get readId(): Id | undefined {
    return this.#readId;
  }

  get unread(): number {
    const after = laterId(this.#counted.upTo, this.#readId);
    const later = this.#thread.messages.filter(({ id, from_user, status }) => from_user !== this.link.me && status === "delivered" && !isUpTo(id, after));
    return this.#counted.unread + later.length;
  }

  /** Who is typing right now. */
  get typing(): string[] {
    return [...this.#typing.keys()];
  }

  /** Says something, perhaps in answer to a message here. It is shown as `sending` at once and sent until the server has it. */
  send(content: string, msgType: MessageType = "text", about: { replyTo?: Id | undefined } = {}): string {
    return this.#say({ content, msg_type: msgType, ...(about.replyTo ? { reply_to: about.replyTo } : {}) });
  }

  /** Says something that is encrypted at the moment of sending, by `ChatOptions.sealing`; `draft` is what that gets. */
  sendSealed(draft: string, about: { replyTo?: Id | undefined; uploads?: Id[] } = {}): string {
    const { replyTo, uploads } = about;
    return this.#say({ content: "", msg_type: "encrypted", draft, ...(replyTo ? { reply_to: replyTo } : {}), ...(uploads ? { uploads } : {}) });
  }

  /** One stored message, if it is here. */
  message(id: Id): ChatMessage | undefined {
    const found = this.#thread.get(id);
    return found && this.#shown(found);
  }

  /** Loads history until this message is here; false when it is not, after some thousand messages. */
  async seek(id: Id): Promise<boolean> {
    for (let page = 0; page < SEEK_PAGES && !this.#thread.get(id); page++) {
      const oldest = this.#thread.oldest;
      if (!this.hasOlder || (oldest && isUpTo(oldest.id, id))) break;
      await this.loadOlder(SEEK_PAGE);
    }
    return this.#thread.get(id) !== undefined;
  }

  /** Uploads a file, then sends the message that shows it. */
  async sendFile(file: Blob & { name?: string }, onProgress?: (share: number) => void): Promise<string> {
    const type = uploadType(file.type);
    return this.send(await this.link.api.store(file, type, onProgress), type);
  }

  /** Says that this user is typing (often), or has stopped. */
  tellTyping(typing = true): void {
    const now = Date.now();
    if (typing ? now - this.#typingToldAt < TYPING_EVERY_MS : this.#typingToldAt === 0) return;
    this.#typingToldAt = typing ? now : 0;
    this.link.tell({ type: "typing", typing, ...this.address });
  }

  /** Everything up to this message (by default the newest) is read, on all of this user's devices. */
  markRead(id: Id | undefined = this.#last?.id): void {
    if (id === undefined || isUpTo(id, this.#readId)) return;
    this.applyRead(this.link.me, id);
    this.link.reportRead(this, id);
  }

  /** Brings one more page of history; the first call brings the newest one. */
  loadOlder(limit = PAGE): Promise<void> {
    this.#loading ??= this.#load(limit).finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  /** Nobody looks at it any more: history that was loaded is let go. */
  release(): void {
    this.#kept = KEPT;
    this.#trim();
  }

  /** The members with their roles and how far each has read; read counts are exact from then on. */
  async loadMembers(): Promise<void> {
    const members: GroupMember[] = [];
    let after: string | undefined;
    do {
      const page = await this.link.api.members(this.peer, { limit: MEMBERS_PAGE, ...(after ? { after } : {}) });
      members.push(...page.members);
      after = page.next_cursor;
    } while (after !== undefined);
    this.members = members;
    this.emit("changed", undefined);
  }

  // ---- for the chat ---------------------------------------------------------------------------

  /** The server's own summary. `above`: the last activity of the one listed before it, for want of a time of its own. */
  update(info: ConversationInfo, above: string): void {
    this.#startedAt = above;
    this.conversationId = info.conversation_id;
    this.rename(info.name);
    if (info.last_message) this.link.names.learn(info.last_message);
    this.role = info.role;
    this.memberCount = info.member_count;
    this.#peerReadId = laterId(this.#peerReadId, info.peer_read_id);
    this.#counted = { unread: info.unread_count, upTo: info.last_message?.id };
    if (info.last_message) this.#showLast(info.last_message);
    const ahead = this.#readId !== undefined && !isUpTo(this.#readId, info.read_id);
    this.#readId = laterId(this.#readId, info.read_id);
    if (ahead) this.#recount();
    this.emit("changed", undefined);
  }

  rename(name: string): void {
    this.#name = name === "" || name === this.peer ? undefined : name;
  }

  /** A message, live or caught up with. False when it was known. */
  receive(message: Message): boolean {
    this.conversationId = message.conversation_id;
    this.link.names.learn(message);
    if (isUpTo(message.id, this.#letGoTo)) return false;
    const fresh = this.#thread.put(message);
    this.#showLast(this.#thread.get(message.id) ?? message);
    this.#stopTyping(message.from_user);
    if (this.#thread.messages.length > this.#kept) this.#trim();
    this.emit("changed", undefined);
    return fresh;
  }

  recalled(id: Id, at: string): void {
    const gone: Partial<Message> = { status: "recalled", content: "", recalled_at: at, reactions: [] };
    this.#thread.change(id, gone);
    if (this.#last?.id === id) this.#last = { ...this.#last, ...gone };
    if (this.#counted.unread > 0 && isUpTo(id, this.#counted.upTo) && !isUpTo(id, this.#readId)) this.link.refresh(); // was it counted?
    this.emit("changed", undefined);
  }

  /** It has another content; an edit that overtook a later one changes nothing. */
  edited(id: Id, content: string, edited_at: string): void {
    this.#change(id, (known) => (isEditedLater({ edited_at }, known) ? { content, edited_at } : {}));
  }

  /** Somebody reacted, or took it back. */
  reacted({ message_id, user_id, emoji, on, count }: Pick<MessageReacted, "message_id" | "user_id" | "emoji" | "on" | "count">): void {
    const own = user_id === this.link.me;
    this.#change(message_id, ({ reactions = [] }) => ({ reactions: withReaction(reactions, emoji, count, own ? on : undefined) }));
  }

  /** The server says how it is now. */
  refreshed(message: Message): void {
    if (message.status === "recalled") return this.recalled(message.id, message.recalled_at ?? message.created_at);
    this.#change(message.id, (known) => ({ reactions: message.reactions ?? [], ...(isEditedLater(message, known) ? { content: message.content, ...(message.edited_at ? { edited_at: message.edited_at } : {}) } : {}) }));
  }

  /** Somebody, perhaps this user on another device, has read up to there. */
  applyRead(by: string, id: Id): void {
    if (by === this.link.me) this.#readHere(id);
    else if (this.kind === "direct") this.#peerReadId = laterId(this.#peerReadId, id);
    else this.members = this.members?.map((member) => (member.user_id === by ? withReadId(member, id) : member));
    this.emit("changed", undefined);
  }

  applyTyping(by: string, typing: boolean): void {
    if (!typing) return this.#stopTyping(by);
    clearTimeout(this.#typing.get(by));
    this.#typing.set(by, setTimeout(() => this.#stopTyping(by), TYPING_MS));
    this.emit("changed", undefined);
  }

  /** What of it is worth keeping, with at most so many messages. */
  kept(messagesMax: number): KeptConversation {
    return {
      address: this.address, conversation_id: this.conversationId, name: this.#name, role: this.role, member_count: this.memberCount,
      started_at: this.#startedAt, read_id: this.#readId, peer_read_id: this.#peerReadId, unread: this.unread, last: this.#last,
      messages: this.#thread.messages.slice(-messagesMax),
    };
  }

  /** Takes back what an earlier visit kept. */
  restore(kept: KeptConversation): void {
    this.conversationId = kept.conversation_id;
    this.#name = kept.name;
    this.role = kept.role;
    this.memberCount = kept.member_count;
    this.#startedAt = kept.started_at;
    this.#readId = kept.read_id;
    this.#peerReadId = kept.peer_read_id;
    for (const message of kept.messages) {
      this.#thread.put(message);
      this.link.names.learn(message);
    }
    this.#last = kept.last;
    this.#counted = { unread: kept.unread, upTo: laterId(kept.last?.id, this.#thread.newest?.id) };
  }

  /** What is held has a gap: the history is to be read again. */
  reset(): void {
    this.#thread.clear();
    this.hasOlder = true;
    this.emit("changed", undefined);
  }

  outboxChanged(): void {
    this.emit("changed", undefined);
  }

  // ---------------------------------------------------------------------------------------------

  #say(said: Pick<OutboxEntry, "content" | "msg_type" | "draft" | "reply_to" | "uploads">): string {
    const client_msg_id = randomId();
    this.#typingToldAt = 0;
    this.link.outbox.add({ client_msg_id, address: this.address, created_at: new Date().toISOString(), ...said });
    return client_msg_id;
  }

  /** Changes a message where it is held; one that was recalled stays as it is. */
  #change(id: Id, part: (known: Message) => Partial<Message>): void {
    const known = this.#thread.get(id) ?? (this.#last?.id === id ? this.#last : undefined);
    if (!known || known.status === "recalled") return;
    this.#thread.change(id, part(known));
    if (this.#last?.id === id) this.#last = { ...this.#last, ...part(known) };
    this.emit("changed", undefined);
  }

  #readHere(id: Id): void {
    if (isUpTo(id, this.#readId)) return;
    this.#readId = id;
    if (!this.#recount()) this.link.refresh();
  }

  /** The server counted from an earlier read mark. False when what is here does not reach back far enough to count again. */
  #recount(): boolean {
    const oldest = this.#thread.oldest;
    const nothingBetween = isUpTo(this.#counted.upTo ?? "0", this.#readId);
    if (!nothingBetween && !(oldest && isUpTo(oldest.id, this.#readId))) return false;
    this.#counted = { unread: 0, upTo: this.#readId };
    return true;
  }


  async #load(limit: number): Promise<void> {
    if (!this.hasOlder || this.conversationId === undefined) return;
    const before = this.#thread.oldest?.id;
    const page = await this.link.api.history(this.conversationId, { limit, ...(before ? { before_id: before } : {}) });
    for (const message of page.messages) {
      this.#thread.put(message);
      this.link.names.learn(message);
    }
    this.hasOlder = page.more;
    this.#kept = Math.max(this.#kept, this.#thread.messages.length + KEPT);
    if (this.#thread.newest) this.#showLast(this.#thread.newest);
    this.emit("changed", undefined);
  }

  #trim(): void {
    const gone = this.#thread.trim(this.#kept);
    if (!gone) return;
    this.hasOlder = true;
    this.#letGoTo = laterId(this.#letGoTo, gone.id);
    if (isUpTo(gone.id, this.#counted.upTo)) return;
    const unread = this.unread;
    this.#counted = { unread, upTo: this.#thread.newest?.id ?? gone.id };
  }

  #showLast(message: Message): void {
    if (!this.#last || compareIds(message.id, this.#last.id) >= 0) this.#last = this.#thread.get(message.id) ?? message;
  }

  #stopTyping(by: string): void {
    clearTimeout(this.#typing.get(by));
    if (this.#typing.delete(by)) this.emit("changed", undefined);
  }

  #shown({ status, ...message }: Message): ChatMessage {
    const own = message.from_user === this.link.me;
    if (!own || status === "recalled") return { ...message, own, state: status };
    if (this.kind === "direct") return { ...message, own, state: isUpTo(message.id, this.#peerReadId) ? "read" : status };
    const read_count = Math.max(message.read_count ?? 0, this.#readers(message));
    const everybody = this.members ? this.members.length - 1 : undefined;
    return { ...message, own, read_count, state: everybody !== undefined && everybody > 0 && read_count >= everybody ? "read" : status };
  }

  #readers(message: Pick<Message, "id" | "created_at">): number {
    const others = this.members?.filter(({ user_id }) => user_id !== this.link.me) ?? [];
    return others.filter(({ read_id, joined_at }) => joined_at <= message.created_at && isUpTo(message.id, read_id)).length;
  }
}

/** In the order of their first use; `mine` undefined leaves it as it is. */
function withReaction(reactions: readonly Reaction[], emoji: string, count: number, mine: boolean | undefined): Reaction[] {
  const known = reactions.find((reaction) => reaction.emoji === emoji);
  const next: Reaction = { emoji, count, mine: mine ?? known?.mine ?? false };
  const all = known ? reactions.map((reaction) => (reaction === known ? next : reaction)) : [...reactions, next];
  return all.filter((reaction) => reaction.count > 0);
}

function withReadId(member: GroupMember, id: Id): GroupMember {
  const read_id = laterId(member.read_id, id);
  return { ...member, ...(read_id ? { read_id } : {}) };
}

/** Which kind of message shows a file of this type. An SVG is a document, not a picture. */
export function uploadType(contentType: string): UploadType {
  if (contentType.startsWith("image/") && !contentType.startsWith("image/svg")) return "image";
  return contentType.startsWith("video/") ? "video" : "file";
}


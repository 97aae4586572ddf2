/** The chat's HTTP endpoints, one typed function each, over an `Api` and its identity. Keeps no state, never retries. */
import type { Api } from "../http.js";
import type { Id } from "../types.js";
import type { Address, ClaimedKey, ConversationInfo, DeviceKeys, EditAck, Group, GroupMember, GroupRole, Message, MessageAck, MessageType, Presence, ReactAck, UploadType } from "./types.js";
import { put } from "./upload.js";

export interface ConversationPage {
  /** Newest activity first. */
  conversations: ConversationInfo[];
  next_cursor?: string;
}

export interface HistoryPage {
  /** Oldest first. */
  messages: Message[];
  more: boolean;
}

export interface FoundMessages {
  messages: Message[];
  next_cursor?: Id;
}

export interface MemberPage {
  members: GroupMember[];
  next_cursor?: string;
}

export interface UploadTicket {
  upload_id: string;
  put_url: string;
  expires_at: string;
  bytes_max: number;
}

export interface Upload {
  upload_id: string;
  /** Signed; may be relative to the server. */
  url: string;
  expires_at: string;
  content_type: string;
  size_bytes: number;
  name?: string | null;
}

export class ChatApi {
  constructor(private readonly api: Pick<Api, "call" | "absolute">) {}

  /** Says something; the same `client_msg_id` gets the first answer again. */
  send(draft: Address & { client_msg_id: string; content: string; msg_type: MessageType; reply_to?: Id; uploads?: Id[] }): Promise<MessageAck> {
    return this.api.call("POST", "/messages", { body: draft });
  }

  /** Gives one's own message another content, within two minutes. */
  edit(id: Id, content: string): Promise<EditAck> {
    return this.api.call("PATCH", `/messages/${encodeURIComponent(id)}`, { body: { content } });
  }

  /** Adds a reaction, or takes it back. */
  react(id: Id, emoji: string, on: boolean): Promise<ReactAck> {
    return this.api.call(on ? "PUT" : "DELETE", `/messages/${encodeURIComponent(id)}/reactions/${encodeURIComponent(emoji)}`);
  }

  /** One's own texts with all of these words, newest first. A page may be empty and still have a cursor. */
  search(q: string, query: { conversation_id?: string; limit?: number; cursor?: Id } = {}): Promise<FoundMessages> {
    return this.api.call("GET", "/messages/search", { query: { q, ...query } });
  }

  conversations(query: { limit?: number; before?: string } = {}): Promise<ConversationPage> {
    return this.api.call("GET", "/conversations", { query });
  }

  history(conversationId: string, query: { before_id?: Id; limit?: number } = {}): Promise<HistoryPage> {
    return this.api.call("GET", `/conversations/${encodeURIComponent(conversationId)}/messages`, { query });
  }

  createGroup(name: string, members: string[]): Promise<{ group_id: string; conversation_id: string }> {
    return this.api.call("POST", "/groups", { body: { name, members } });
  }

  group(groupId: string): Promise<Group> {
    return this.api.call("GET", groupPath(groupId));
  }

  renameGroup(groupId: string, name: string): Promise<unknown> {
    return this.api.call("PATCH", groupPath(groupId), { body: { name } });
  }

  closeGroup(groupId: string): Promise<unknown> {
    return this.api.call("DELETE", groupPath(groupId));
  }

  members(groupId: string, query: { after?: string; limit?: number } = {}): Promise<MemberPage> {
    return this.api.call("GET", `${groupPath(groupId)}/members`, { query });
  }

  /** Those who were in already are not in the answer. */
  addMembers(groupId: string, userIds: string[]): Promise<{ added: string[] }> {
    return this.api.call("POST", `${groupPath(groupId)}/members`, { body: { user_ids: userIds } });
  }

  /** Oneself: leaves. */
  removeMember(groupId: string, userId: string): Promise<unknown> {
    return this.api.call("DELETE", `${groupPath(groupId)}/members/${encodeURIComponent(userId)}`);
  }

  /** `owner` hands the group over. */
  setRole(groupId: string, userId: string, role: GroupRole): Promise<unknown> {
    return this.api.call("PATCH", `${groupPath(groupId)}/members/${encodeURIComponent(userId)}`, { body: { role } });
  }

  presence(userId: string): Promise<Presence> {
    return this.api.call("GET", `${userPath(userId)}/presence`);
  }

  /** Invisible: everybody is told "offline". */
  setVisible(visible: boolean): Promise<unknown> {
    return this.api.call("PUT", "/users/me/presence", { body: { visible } });
  }

  block(userId: string): Promise<unknown> {
    return this.api.call("PUT", `${userPath(userId)}/block`);
  }

  unblock(userId: string): Promise<unknown> {
    return this.api.call("DELETE", `${userPath(userId)}/block`);
  }

  async blocks(): Promise<string[]> {
    return (await this.api.call<{ user_ids: string[] }>("GET", "/blocks")).user_ids;
  }

  /** Publishes this device's keys for end-to-end encryption. */
  publishKeys(deviceId: string, keys: unknown): Promise<{ one_time_key_count: number }> {
    return this.api.call("PUT", `/keys/${encodeURIComponent(deviceId)}`, { body: keys });
  }

  async deviceKeys(userId: string): Promise<DeviceKeys[]> {
    return (await this.api.call<{ devices: DeviceKeys[] }>("GET", `${userPath(userId)}/keys`)).devices;
  }

  /** One-time keys, each handed out once. */
  async claimKeys(userId: string, deviceIds: string[]): Promise<ClaimedKey[]> {
    return (await this.api.call<{ devices: ClaimedKey[] }>("POST", `${userPath(userId)}/keys/claim`, { body: { device_ids: deviceIds } })).devices;
  }

  /** Where an upload can be fetched from, for those who may see it. */
  async upload(uploadId: string): Promise<Upload> {
    const upload = await this.api.call<Upload>("GET", `/uploads/${encodeURIComponent(uploadId)}`);
    return { ...upload, url: this.api.absolute(upload.url) };
  }

  /** Stores a file; the id it resolves to is the content of the message that shows it. `onProgress` is told a share of 1. */
  async store(file: Blob & { name?: string }, msgType: UploadType, onProgress?: (share: number) => void): Promise<string> {
    const content_type = file.type || "application/octet-stream";
    const body = { msg_type: msgType, content_type, size_bytes: file.size, ...(file.name ? { name: file.name } : {}) };
    const ticket = await this.api.call<UploadTicket>("POST", "/uploads", { body });
    await put(this.api.absolute(ticket.put_url), file, content_type, onProgress);
    return ticket.upload_id;
  }
}

function groupPath(groupId: string): string {
  return `/groups/${encodeURIComponent(groupId)}`;
}

function userPath(userId: string): string {
  return `/users/${encodeURIComponent(userId)}`;
}

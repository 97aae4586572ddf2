/** Private and group chat as it is on the wire: messages, conversations, groups, and the frames that carry them. */
import type { Id } from "../types.js";

/** `image`, `video` and `file` have an upload's id as content; `encrypted` an envelope only devices can read. */
export type MessageType = "text" | "image" | "video" | "file" | "encrypted";
export type UploadType = Extract<MessageType, "image" | "video" | "file">;
export type MessageStatus = "delivered" | "read" | "recalled";
export type GroupRole = "owner" | "admin" | "member";

/** Whom a message is for: one person, or a group. */
export type Address = { to_user: string } | { group_id: string };

export interface Message {
  id: Id;
  /** The sender's own id of it. */
  client_msg_id: string;
  conversation_id: string;
  from_user: string;
  from_name?: string;
  to_user?: string;
  group_id?: string;
  /** Empty once recalled. */
  content: string;
  msg_type: MessageType;
  /** Of one's own message: whether the others have read it; of somebody else's: whether oneself has. */
  status: MessageStatus;
  /** Groups, on one's own messages: how many others have read it. */
  read_count?: number;
  /** RFC 3339, UTC, milliseconds. */
  created_at: string;
  recalled_at?: string;
  /** The message that this one answers; it may be recalled or gone. */
  reply_to?: Id;
  /** When its content was last edited; rises with every edit. */
  edited_at?: string;
  reactions?: Reaction[];
}

export interface Reaction {
  emoji: string;
  /** How many people gave it. */
  count: number;
  /** Whether this user did. */
  mine: boolean;
}

export interface ConversationInfo {
  /** Opaque. */
  conversation_id: string;
  kind: "direct" | "group";
  with_user?: string;
  group_id?: string;
  name: string;
  unread_count: number;
  last_message: Message | null;
  /** Up to where the caller has read. */
  read_id?: Id;
  /** Direct: up to where the other has read. */
  peer_read_id?: Id;
  member_count?: number;
  role?: GroupRole;
}

export interface Group {
  group_id: string;
  conversation_id: string;
  name: string;
  owner_id: string;
  member_count: number;
  /** The caller's own. */
  role: GroupRole;
  created_at: string;
}

export interface GroupMember {
  user_id: string;
  username?: string;
  role: GroupRole;
  joined_at: string;
  /** Up to where this member has read. */
  read_id?: Id;
}

export interface Presence {
  user_id: string;
  status: "online" | "offline";
  /** RFC 3339; absent or null when never seen, or hidden. */
  last_seen?: string | null;
}

/** Something that happened to messages already told. */
export interface MessageChange {
  message_id: Id;
  conversation_id: string;
  status: "recalled" | "read" | "edited" | "reacted";
  by_user: string;
  /** RFC 3339. */
  at: string;
  /** Of `edited` and `reacted`: the message as it is now. */
  message?: Message;
}

/** One device's public keys for end-to-end encryption. */
export interface DeviceKeys {
  device_id: string;
  identity_key: string;
  signing_key: string;
  signature: string;
  one_time_key_count: number;
}

/** A key to start a session with one device; null when it has none left. */
export interface ClaimedKey {
  device_id: string;
  one_time_key: { key_id: string; key: string; signature: string; fallback?: boolean } | null;
}

// ---- client to server -------------------------------------------------------------------------

interface Sent {
  client_msg_id: string;
  content: string;
  msg_type: MessageType;
  reply_to?: Id;
  /** Of an encrypted message: the uploads that its content names. */
  uploads?: Id[];
}

export type ChatClientMessage =
  | ({ type: "send_message"; to_user: string } & Sent)
  | ({ type: "send_group_message"; group_id: string } & Sent)
  | { type: "mark_as_read"; message_id: Id }
  | { type: "sync_messages"; since_id?: Id; since_change?: string; limit?: number }
  | { type: "recall_message"; message_id: Id }
  | { type: "edit_message"; message_id: Id; content: string }
  | { type: "react"; message_id: Id; emoji: string; on: boolean }
  | ({ type: "typing"; typing: boolean } & Address)
  | { type: "watch_presence"; user_ids: string[] };

// ---- server to client -------------------------------------------------------------------------

export interface MessageAck {
  type: "message_ack";
  client_msg_id: string;
  server_msg_id: Id;
  status: "delivered";
  conversation_id: string;
  created_at: string;
}

export interface ReadAck {
  type: "read_ack";
  message_id: Id;
  conversation_id: string;
  unread_count: number;
}

export interface EditAck {
  message_id: Id;
  /** Absent when it already had this content and was never edited. */
  edited_at?: string;
}

export interface ReactAck {
  message_id: Id;
  emoji: string;
  on: boolean;
  count: number;
}

export interface SyncResponse {
  type: "sync_response";
  /** Oldest first, own ones from other devices included. */
  messages: Message[];
  latest_id: Id;
  changes: MessageChange[];
  latest_change: string;
  more: boolean;
  /** `since_id` is older than what can be caught up with: the history has the rest. */
  expired?: boolean;
}

export interface PresenceList {
  type: "presence_list";
  users: Presence[];
}

export interface NewMessage extends Omit<Message, "id" | "status" | "read_count" | "recalled_at" | "reactions"> {
  type: "new_message";
  server_msg_id: Id;
}

export interface MessageRead {
  type: "message_read";
  message_id: Id;
  conversation_id: string;
  group_id?: string;
  read_by: string;
  read_at: string;
}

export interface MessageRecalled {
  type: "message_recalled";
  message_id: Id;
  conversation_id: string;
  recalled_by: string;
  recalled_at: string;
}

export interface MessageEdited {
  type: "message_edited";
  message_id: Id;
  conversation_id: string;
  content: string;
  edited_at: string;
}

export interface MessageReacted {
  type: "message_reacted";
  message_id: Id;
  conversation_id: string;
  user_id: string;
  emoji: string;
  on: boolean;
  /** How many people react with it now. */
  count: number;
  /** Its number among the changes: one up to the last `latest_change` is old. */
  change: string;
}

/** A message as it is by now. Only polling over HTTP makes it: it learns of edits and reactions by what they left. */
export interface MessageRefreshed {
  type: "message_refreshed";
  message_id: Id;
  conversation_id: string;
  message: Message;
}

export interface Typing {
  type: "typing";
  from_user: string;
  to_user?: string;
  group_id?: string;
  typing: boolean;
}

export interface GroupChanged {
  type: "group_changed";
  group_id: string;
  conversation_id: string;
  change: "created" | "renamed" | "members_added" | "member_removed" | "member_left" | "role_changed" | "closed";
  by_user: string;
  user_ids?: string[];
  name?: string;
  role?: GroupRole;
}

/** What the server pushes unasked. */
export type ChatPush = NewMessage | MessageRead | MessageRecalled | MessageEdited | MessageReacted | MessageRefreshed | Typing | GroupChanged | ({ type: "presence" } & Presence);

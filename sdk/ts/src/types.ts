/**
 * The JSON messages of `barrage.v1.json`, as they are on the wire: flat objects whose `type` names the message.
 * Field names are the server's own (snake_case), so that a frame in a log and a value in a program look alike.
 * A newer server may add fields and message types; both are ignored here.
 */

import type { ChatClientMessage } from "./chat/types.js";

/** Decimal string of a 63-bit id: never a JavaScript number, which would lose its last digits. */
export type Id = string;

export type Level = "normal" | "vip" | "owner" | "moderator" | "admin";
export type CommentMode = "scroll" | "top" | "bottom";
export type CommentSize = "small" | "normal" | "large";

export interface CommentStyle {
  mode?: CommentMode;
  /** `#RRGGBB`. */
  color?: string;
  size?: CommentSize;
}

export interface Comment {
  id: Id;
  room_id: string;
  session_id?: string;
  user_id: string;
  username: string;
  level: Level;
  content: string;
  style?: CommentStyle;
  /** `comment`: typed by a viewer; `imported`: brought in from a recording. */
  kind?: string;
  mentions?: string[];
  /** RFC 3339, UTC, milliseconds. */
  created_at: string;
  /** Milliseconds since the live session's start. */
  offset_ms: number;
  like_count: number;
  /** More than 1 when identical comments were merged into this one. */
  count?: number;
}

export type RoomState = "idle" | "starting" | "live" | "closing";

export interface RankingEntry {
  rank: number;
  user_id: string;
  username: string;
  score: number;
}

/** What a viewer may say about the stream of a room it joins. Joining again replaces all of it. */
export interface JoinOptions {
  /** At most this many comments a second; the server counts it down to 5, 10, 20, 50, 100 or 200. 0: events only. */
  max_per_s?: number;
  /** Only comments of these users (at most 20). */
  only_user_ids?: string[];
  /** How many recent (or, when resuming, missed) comments to get at once; at most 100. */
  history?: number;
  /** Instead of a number, the comments of the last seconds; at most 60. */
  history_s?: number;
}

export interface CommentDraft {
  content: string;
  style?: CommentStyle;
  mentions?: string[];
  /** Made up when absent. The same id sent twice publishes once. */
  client_msg_id?: string;
  /** With `offset_ms`, a comment on that recording; without, it is live. */
  session_id?: Id;
  /** Milliseconds since that session's start. */
  offset_ms?: number;
}

// ---- client to server -------------------------------------------------------------------------

export type ClientMessage =
  | { type: "login"; token: string; device_id?: string }
  | { type: "logout" }
  | { type: "heartbeat" }
  | ({ type: "join_room"; room_id: string; since_id?: Id } & JoinOptions)
  | { type: "leave_room"; room_id: string }
  | ({ type: "comment"; room_id: string } & CommentDraft)
  | { type: "like"; comment_id: Id }
  | { type: "ack"; event_id: string }
  | ChatClientMessage;

// ---- server to client -------------------------------------------------------------------------

interface Answer {
  /** The `ref` of the request this answers. */
  ref?: string;
}

export interface Connected extends Answer {
  type: "connected";
  /** Absent for an anonymous reader. */
  user_id?: string;
  device_id: string;
  connection_id: string;
  node_id: string;
  heartbeat_s: number;
  server_time_ms: number;
  /** `segments` while the server would rather have viewers read live segments. */
  prefer?: string;
}

export interface HeartbeatAck extends Answer {
  type: "heartbeat_ack";
  server_time_ms: number;
}

export interface RoomJoined extends Answer {
  type: "room_joined";
  room_id: string;
  state: RoomState;
  viewers: number;
  /** Oldest first. */
  history: Comment[];
  omitted?: number;
  pin?: Pin | null;
}

export interface RoomLeft extends Answer {
  type: "room_left";
  room_id: string;
}

export interface CommentAck extends Answer {
  type: "comment_ack";
  client_msg_id?: string;
  id: Id;
  status: "accepted" | "pending_review";
  created_at?: string;
}

export interface LikeAck extends Answer {
  type: "like_ack";
  comment_id: Id;
  like_count: number;
}

export interface CommentsMessage {
  type: "comments";
  room_id: string;
  comments: Comment[];
  /** Comments this viewer was not given: sampled out, merged away, or missed while slow. */
  omitted?: number;
}

export interface ErrorMessage extends Answer {
  type: "error";
  code: string;
  message: string;
  retry_after_ms?: number;
  /** What refused: a key of the room's `moderation`, or `words`, `speakers`, `slow_mode_s`, `hook`, `classifier`. */
  rule?: string;
  /** `segments` where live segments would serve this reader. */
  prefer?: string;
}

interface EventBase {
  type: "event";
  event_id: string;
  room_id?: string;
  /** Repeated by the server until acknowledged. */
  critical?: boolean;
  /** When it happened, RFC 3339. */
  at?: string;
}

export interface AnnouncementEvent extends EventBase {
  kind: "announcement";
  content: string;
}

export interface GiftEvent extends EventBase {
  kind: "gift";
  gift: string;
  user_id: string;
  username: string;
  count: number;
  value: number;
  /** Server time at which every screen plays it, as its sender wrote it. */
  play_at?: number | string;
  /** The same in Unix milliseconds. */
  play_at_ms?: number;
}

export interface CommentDeletedEvent extends EventBase {
  kind: "comment_deleted";
  comment_id: Id;
  /** All of them, when several went at once. */
  comment_ids?: Id[];
}

/** Comments that were hidden and are shown again, in their old places. */
export interface CommentsRestoredEvent extends EventBase {
  kind: "comments_restored";
  comments: Comment[];
}

/** A comment that stands at the top of its room; null: none does any more. */
export interface Pin {
  comment: Comment | null;
  /** RFC 3339; absent until somebody takes it off. */
  until?: string;
}

export interface PinEvent extends EventBase, Pin {
  kind: "pin";
}

export interface PollOption {
  text: string;
  votes: number;
}

export interface Poll {
  poll_id: Id;
  question: string;
  options: PollOption[];
  state: "open" | "closed";
  /** RFC 3339. */
  ends_at: string;
}

export interface PollEvent extends EventBase, Poll {
  kind: "poll";
}

export interface Question {
  question_id: Id;
  user_id: string;
  username: string;
  content: string;
  upvotes: number;
  state: "open" | "answered";
}

export interface QuestionEvent extends EventBase, Question {
  kind: "question";
}

/** The same gift of the same user again. */
export interface ComboEvent extends EventBase {
  kind: "combo";
  user_id: string;
  gift: string;
  /** All of them since the combo began. */
  count: number;
  /** When it is over unless another one comes; RFC 3339, and the same in Unix milliseconds. */
  until?: string;
  until_ms?: number;
}

export interface UserMutedEvent extends EventBase {
  kind: "user_muted";
  user_id: string;
  /** RFC 3339, and the same in Unix milliseconds. */
  until?: string;
  until_ms?: number;
  reason?: string | null;
}

export interface RoomStateEvent extends EventBase {
  kind: "room_state";
  state: RoomState;
  accepts_comments?: boolean;
  speakers?: "everyone" | "vip" | "moderators" | "nobody";
  slow_mode_s?: number;
  session_id?: string | null;
}

export interface RankingEvent extends EventBase {
  kind: "ranking";
  entries: RankingEntry[];
}

export interface HotCommentsEvent extends EventBase {
  kind: "hot_comments";
  comments: Comment[];
}

export interface FollowEvent extends EventBase {
  kind: "follow";
  user_id: string;
  username?: string;
}

/** Something worth telling the viewer, such as that the room is shedding comments. */
export interface NoticeEvent extends EventBase {
  kind: "notice";
  /** Stable name, such as `too_many_comments`. */
  code?: string;
  /** For people. */
  message?: string;
  /** The comment that `appeal_approved` and `appeal_rejected` are about. */
  comment_id?: Id;
  /** Why the appeal was declined: one of the deployment's reasons, such as `spam`. */
  reason?: string;
}

/** What happened in a session, at its time. */
export type RecordedEvent = (PinEvent | PollEvent | QuestionEvent) & { offset_ms: number };

export type RoomEvent =
  | AnnouncementEvent
  | GiftEvent
  | CommentDeletedEvent
  | CommentsRestoredEvent
  | PinEvent
  | PollEvent
  | QuestionEvent
  | ComboEvent
  | UserMutedEvent
  | RoomStateEvent
  | RankingEvent
  | HotCommentsEvent
  | FollowEvent
  | NoticeEvent;

export type EventKind = RoomEvent["kind"];

export type ServerMessage =
  | Connected
  | HeartbeatAck
  | RoomJoined
  | RoomLeft
  | CommentAck
  | LikeAck
  | CommentsMessage
  | RoomEvent
  | ErrorMessage;

/** A message as it came off the wire: an object with a `type`, nothing else proven. */
export interface AnyMessage {
  type: string;
  ref?: string;
  [field: string]: unknown;
}

/** Parses one text frame. Undefined when it is not an object with a `type`: the caller ignores it. */
export function parseMessage(text: string): AnyMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  return typeof (value as AnyMessage).type === "string" ? (value as AnyMessage) : undefined;
}

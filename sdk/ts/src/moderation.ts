/** What moderators read and write over HTTP, as it is on the wire. Types alone; `Api.admin` has the calls. */
import type { Id } from "./types.js";

export type Verdict = "allow" | "mask" | "hold" | "shadow" | "deny";

/** The score from which a label leads to a verdict. */
export interface Threshold {
  verdict: Verdict;
  /** 0 to 1. */
  score: number;
}

/** A room's rules. Absent is off; the room's owner, moderators, helpers and admins are exempt. */
export interface Moderation {
  /** Absent: on when the deployment has a hook. */
  hook?: boolean;
  /** What becomes of a comment about which the hook did not answer; absent: the deployment's. */
  fallback?: "allow" | "hold" | "deny";
  thresholds?: Record<string, Threshold>;
  /** `none`, or the hosts that links may lead to. */
  links?: "none" | string[];
  /** Refuses what is this similar (0 to 1) to one of the room's last 50 comments. */
  similar?: number;
  /** Refuses texts of at least 8 letters of which this share (0 to 1) are capitals. */
  capitals?: number;
  /** `*` stands for any letters. */
  blocked_terms?: string[];
  emoji_only?: boolean;
  followers_only_s?: number;
  account_age_s?: number;
  first_time?: "hold";
  unique_s?: number;
  delay_s?: number;
  verified_only?: boolean;
  /** For normal users, or by level. */
  level_slow_s?: number | Record<string, number>;
  /** Absent: the deployment's. */
  raid_alarm?: boolean;
  shield?: boolean;
}

export type Decided = "pending" | "approved" | "rejected";

export interface LabelScore {
  name: string;
  /** 0 to 1. */
  score: number;
}

/** A comment held for a decision. */
export interface Review {
  id: Id;
  room_id: string;
  user_id: string;
  username?: string;
  content: string;
  created_at: string;
  status: Decided;
  /** The word of the review list that held it. */
  word?: string;
  /** The rule, hook or classifier that held it, or what it said. */
  reason?: string;
  /** What the hook or the classifier found. */
  labels?: LabelScore[];
  /** Who is deciding about it now. */
  claimed_by?: string;
  decided_by?: string;
  decided_at?: string;
}

/** Its author asks for another look at a held, rejected or removed comment. */
export interface Appeal {
  id: Id;
  comment_id: Id;
  room_id: string;
  user_id: string;
  /** What the author says. */
  text: string;
  /** The comment, where its text is still kept. */
  content?: string;
  created_at: string;
  status: Decided;
  decided_by?: string;
}

export interface AuditEntry {
  at: string;
  /** A user id, `admin key`, or what decided by itself: `rule:links`, `hook`, `classifier`. */
  actor: string;
  action: string;
  room_id?: string;
  target: string;
  detail?: string;
}

/** What moderators write about a person, for each other. */
export interface Note {
  id: Id;
  /** Whom it is about. */
  user_id: string;
  /** Absent: the whole deployment. */
  room_id?: string;
  text: string;
  created_at: string;
  /** A user id, or `admin key`; empty once that moderator was erased. */
  created_by: string;
}

export interface NoteDraft {
  /** 1 to 500 characters. */
  text: string;
  /** Absent: the whole deployment. */
  room_id?: string;
}

/** What a list that comes in pages asks for; `cursor` is the `next_cursor` of the page before. */
export interface PageQuery {
  room_id?: string;
  cursor?: string;
  limit?: number;
}

export interface ReviewQuery extends PageQuery {
  status?: Decided;
}

export interface AuditQuery extends PageQuery {
  actor?: string;
  action?: string;
  /** The id of the user, comment, room or whatever else it was done to. */
  target?: string;
  /** RFC 3339; included. */
  since?: string;
  /** RFC 3339; excluded. */
  until?: string;
}

/** A page of a list under its own name; `next_cursor` is absent at the end. */
export type Page<Name extends string, Row> = Record<Name, Row[]> & { next_cursor?: string };

export type RoomRole = "moderator" | "helper" | "auditor";

export interface RoleGiven {
  user_id: string;
  room_id: string;
  /** null takes it. */
  role: RoomRole | null;
}

export interface ShieldState {
  room_id: string;
  on: boolean;
  /** The rules in force. */
  moderation: Moderation | null;
}

/** `said`: everything of those who said it. `account_age_s`: everything of accounts younger than this. */
export type NukeMatch = { text: string } | { regex: string } | { user_id: string } | { said: string } | { account_age_s: number };

export interface NukeRequest {
  match: NukeMatch;
  /** Of the last minutes, 1 to 1,440. */
  minutes: number;
  preview?: boolean;
  /** Mutes the authors in the room too, for so many seconds. */
  mute_s?: number;
  /** One of the deployment's reasons. */
  reason?: string;
}

export interface NukeReport {
  comments: number;
  users?: number;
  /** People who were muted, or whose mute was lifted. */
  muted?: number;
  /** Undoes it; absent in a preview. */
  action_id?: Id;
}

/** What looks like a raid, and what raising the shield would lay over the room's rules. */
export interface Raid {
  room_id: string;
  /** Many newcomers, or many who say nearly the same. */
  kind: "newcomers" | "copies" | (string & {});
  at: string;
  comments: number;
  users: number;
  preset: Moderation;
}

/** A passed comment that was kept for quality control. */
export interface Sample {
  id: Id;
  room_id: string;
  user_id: string;
  username: string;
  content: string;
  created_at: string;
}

export interface SampleQuery extends PageQuery {
  /** RFC 3339; included. */
  since?: string;
  /** RFC 3339; excluded. */
  until?: string;
}

export interface WebhookDraft {
  url: string;
  /** None named is all. */
  kinds?: string[];
  /** None named is all. */
  room_ids?: string[];
}

export interface Webhook {
  id: Id;
  url: string;
  kinds: string[];
  room_ids: string[];
  created_at: string;
  /** Only when it is made or rotated. */
  secret?: string;
}

/** A call that was given up. */
export interface DeadLetter {
  /** The `webhook-id`. */
  message_id: string;
  room_id?: string;
  attempts: number;
  error?: string;
  /** The body. */
  payload: unknown;
}

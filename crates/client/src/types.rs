//! The protocol's objects as clients see them. What a newer server adds is ignored; an event's own fields are kept as they are.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A decimal number of up to 63 bits, as a text. It names something; its order means nothing.
pub type Id = String;

/// Who somebody is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Anybody.
    #[default]
    Normal,
    /// Pays.
    Vip,
    /// Owns the room.
    Owner,
    /// Moderates it.
    Moderator,
    /// Operates the server.
    Admin,
}

/// How a comment crosses the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From right to left.
    #[default]
    Scroll,
    /// Stands at the top.
    Top,
    /// Stands at the bottom.
    Bottom,
}

/// How large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Small.
    Small,
    /// As usual.
    #[default]
    Normal,
    /// Large.
    Large,
}

/// How a comment looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Style {
    /// How it crosses the picture.
    pub mode: Mode,
    /// `#RRGGBB`.
    pub color: String,
    /// How large it is.
    pub size: Size,
}

impl Default for Style {
    fn default() -> Self {
        Self { mode: Mode::Scroll, color: "#FFFFFF".to_owned(), size: Size::Normal }
    }
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Comment {
    /// Its id.
    pub id: Id,
    /// The room.
    pub room_id: String,
    /// The live session or recording that it belongs to.
    #[serde(default)]
    pub session_id: Option<Id>,
    /// Who said it.
    pub user_id: String,
    /// The shown name.
    #[serde(default)]
    pub username: String,
    /// The sender's level at the time.
    #[serde(default)]
    pub level: Level,
    /// The text. It may be anything: never insert it as HTML.
    pub content: String,
    /// How it looks.
    #[serde(default)]
    pub style: Style,
    /// `comment`, `imported` or `recorded`.
    #[serde(default)]
    pub kind: String,
    /// Users whom it mentions.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// Milliseconds since the session's start.
    #[serde(default)]
    pub offset_ms: i64,
    /// Likes at the moment of reading.
    #[serde(default)]
    pub like_count: u64,
    /// For how many identical ones it stands, itself included.
    #[serde(default = "one")]
    pub count: u64,
}

const fn one() -> u64 {
    1
}

/// A comment to be said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CommentDraft {
    /// The text.
    pub content: String,
    /// The sender's own id of it, 1 to 64 bytes; made up where it is absent. The same one again is said once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_msg_id: Option<String>,
    /// How it looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Users who are given it whatever their budget; at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
}

impl From<&str> for CommentDraft {
    fn from(content: &str) -> Self {
        Self { content: content.to_owned(), ..Self::default() }
    }
}

impl From<String> for CommentDraft {
    fn from(content: String) -> Self {
        Self { content, ..Self::default() }
    }
}

/// The answer to a comment: the server has it safely.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CommentAck {
    /// Its id.
    pub id: Id,
    /// `accepted`: it is on its way. `pending_review`: it waits for a moderator.
    pub status: String,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
}

/// The answer to a like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LikeAck {
    /// Likes of the comment by now.
    pub like_count: u64,
}

/// What a reader of a room wants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct JoinOptions {
    /// Comments of history at the first join, at most 100. Absent: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u32>,
    /// Its age limit in seconds, at most 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_s: Option<u32>,
    /// Comments a second at most. 0: events alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_s: Option<u32>,
    /// These users' comments alone, at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_user_ids: Vec<String>,
    /// The last comment seen in an earlier run of the program: history is what came after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_id: Option<Id>,
}

/// The server let us into a room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Joined {
    /// The room.
    pub room_id: String,
    /// `idle` or `live`.
    #[serde(default)]
    pub state: String,
    /// Viewers on all nodes.
    #[serde(default)]
    pub viewers: u64,
    /// What came before, or what was missed; oldest first.
    #[serde(default)]
    pub history: Vec<Comment>,
    /// Comments that were missed and are not in `history`.
    #[serde(default)]
    pub omitted: u64,
    /// The comment at the top of the room, with its end.
    #[serde(default)]
    pub pin: Option<Value>,
}

/// Something that happened in a room, or to this user.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Its id.
    pub event_id: Id,
    /// `announcement`, `gift`, `comment_deleted` and so on.
    pub kind: String,
    /// The room; `:all` when it concerns the user in all rooms.
    #[serde(default)]
    pub room_id: String,
    /// Whether the server repeats it until it is acknowledged. This crate acknowledges.
    #[serde(default)]
    pub critical: bool,
    /// RFC 3339.
    #[serde(default)]
    pub at: String,
    /// The fields of its kind.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// Whom the server takes us for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Connected {
    /// The user.
    pub user_id: String,
    /// The device; one that the server made up where none was given.
    #[serde(default)]
    pub device_id: String,
    /// This connection.
    #[serde(default)]
    pub connection_id: String,
    /// The node.
    #[serde(default)]
    pub node_id: String,
    /// How often to send something, in seconds.
    #[serde(default)]
    pub heartbeat_s: u64,
    /// The server's clock, Unix milliseconds.
    #[serde(default)]
    pub server_time_ms: i64,
}

/// A private or group message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// Its id.
    #[serde(alias = "server_msg_id")]
    pub id: Id,
    /// The sender's own id of it.
    #[serde(default)]
    pub client_msg_id: String,
    /// Opaque.
    #[serde(default)]
    pub conversation_id: String,
    /// Who wrote it.
    pub from_user: String,
    /// The shown name at that time.
    #[serde(default)]
    pub from_name: String,
    /// The recipient of a private message.
    #[serde(default)]
    pub to_user: Option<String>,
    /// The group of a group message.
    #[serde(default)]
    pub group_id: Option<String>,
    /// The text, or what another type defines. Empty once recalled. Never insert it as HTML.
    pub content: String,
    /// `text`, `image`, `video`, `file` or `encrypted`.
    #[serde(default)]
    pub msg_type: String,
    /// `delivered`, `read` or `recalled`; empty in a push, which says nothing of it.
    #[serde(default)]
    pub status: String,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// The message that this one answers.
    #[serde(default)]
    pub reply_to: Option<Id>,
    /// When it was last edited.
    #[serde(default)]
    pub edited_at: Option<String>,
}

/// The answer to a message: the server has stored it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MessageAck {
    /// Its id.
    pub server_msg_id: Id,
    /// Opaque.
    #[serde(default)]
    pub conversation_id: String,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
}

/// Something that happened to messages which were told before.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MessageChange {
    /// The message; of `read`, everything up to it.
    pub message_id: Id,
    /// Opaque.
    #[serde(default)]
    pub conversation_id: String,
    /// `recalled`, `read`, `edited` or `reacted`.
    pub status: String,
    /// Who did it.
    #[serde(default)]
    pub by_user: String,
    /// RFC 3339.
    #[serde(default)]
    pub at: String,
    /// The new text of an edit that was pushed.
    #[serde(default)]
    pub content: Option<String>,
    /// The message as it is now, of `edited` and `reacted` that came by syncing.
    #[serde(default)]
    pub message: Option<Message>,
}

/// A room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoomInfo {
    /// Its id.
    pub room_id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its owner.
    #[serde(default)]
    pub owner_id: Option<String>,
    /// `idle`, `starting`, `live` or `closing`.
    #[serde(default)]
    pub state: String,
    /// Whether it takes comments.
    #[serde(default)]
    pub accepts_comments: bool,
    /// Viewers on all nodes, at most 30 s old.
    #[serde(default)]
    pub viewers: u64,
    /// The session that is on.
    #[serde(default)]
    pub session_id: Option<Id>,
}

/// A live session, past or running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// Its id.
    pub session_id: Id,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    #[serde(default)]
    pub ended_at: Option<String>,
    /// Comments in it.
    #[serde(default)]
    pub comment_count: u64,
}

/// One line of a ranking.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RankingEntry {
    /// 1 is best.
    pub rank: u32,
    /// Who.
    pub user_id: String,
    /// The shown name.
    #[serde(default)]
    pub username: String,
    /// Comments accepted in this session, and the value of gifts.
    pub score: u64,
}

/// A page of a room's comments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CommentPage {
    /// Oldest first.
    pub comments: Vec<Comment>,
    /// The next `since_id`.
    pub latest_id: Id,
}

/// A part of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ReplayQuery {
    /// The session; absent: all of the room's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Id>,
    /// From here, included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// To here, excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// This user's comments alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_user: Option<String>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Comments of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of a recording, by `offset_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReplayPage {
    /// The comments.
    pub comments: Vec<Comment>,
    /// Where the next page begins; absent at the end.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A page of what a device has missed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct SyncPage {
    pub messages: Vec<Message>,
    pub latest_id: Id,
    #[serde(default)]
    pub changes: Vec<MessageChange>,
    #[serde(default)]
    pub latest_change: String,
    #[serde(default)]
    pub more: bool,
    #[serde(default)]
    pub expired: bool,
}

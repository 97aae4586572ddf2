//! The JSON messages of the socket, both directions. One message is one JSON object whose `type`
//! names it; the other fields lie beside it.

use model::{CommentStatus, Event, EventBody, RoomId, RoomState, Snowflake, UserId, WireError, rfc3339_ms};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::chat::{self, ChatCommand, ChatMessage};
use crate::comment::{CommentJson, to_vec};

/// Longest `ref` that is given back, in bytes of JSON.
pub const REF_BYTES_MAX: usize = 128;
/// An error never quotes more of a message than this many characters.
const QUOTED_CHARS_MAX: usize = 200;

/// What a client says, with its `ref`.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Given back in the answer, as it came.
    pub reference: Option<&'a RawValue>,
    /// What it says.
    pub message: ClientMessage,
}

/// The messages a client may send.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // The variants and fields are those of PROTOCOL.md.
pub enum ClientMessage {
    Login {
        token: String,
        device_id: Option<String>,
    },
    Logout,
    Heartbeat,
    JoinRoom(JoinRoom),
    LeaveRoom {
        room_id: RoomId,
    },
    Comment(CommentDraft),
    Like {
        comment_id: Snowflake,
    },
    Ack {
        event_id: Snowflake,
    },
    /// One of private and group chat.
    Chat(ChatCommand),
    /// A type this version does not know: ignored.
    Unknown,
}

/// `join_room`, and the same options in the query of `/ws` and of the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JoinRoom {
    /// The room.
    pub room_id: RoomId,
    /// The last comment seen: what came after it is sent as history. 0 is a reader who saw nothing.
    #[serde(default, deserialize_with = "cursor")]
    pub since_id: Option<Snowflake>,
    /// How many comments of history, at most 100.
    #[serde(default)]
    pub history: Option<u32>,
    /// Or how many seconds of it, at most 60.
    #[serde(default)]
    pub history_s: Option<u32>,
    /// The viewer's budget; 0 is events only.
    #[serde(default)]
    pub max_per_s: Option<u32>,
    /// Only these users' comments, at most 20.
    #[serde(default)]
    pub only_user_ids: Option<Vec<UserId>>,
}

impl JoinRoom {
    /// Joining with every option at its default.
    #[must_use]
    pub fn plain(room_id: RoomId) -> Self {
        Self { room_id, since_id: None, history: None, history_s: None, max_per_s: None, only_user_ids: None }
    }
}

/// A comment's id, or 0 for the beginning.
fn cursor<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Snowflake>, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
    text.map(|text| parse_cursor(&text).ok_or_else(|| D::Error::custom("since_id must be a decimal string")))
        .transpose()
}

/// Parses a `since_id`: a comment's id, or 0 for the beginning.
#[must_use]
pub fn parse_cursor(text: &str) -> Option<Snowflake> {
    if text == "0" { Some(Snowflake(0)) } else { text.parse().ok() }
}

/// A comment as a client drafts it; what is absent has its default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CommentDraft {
    /// The room; absent in a bare `{"content": …}` and over HTTP, where the room is known.
    #[serde(default)]
    pub room_id: Option<RoomId>,
    /// The text.
    pub content: String,
    /// The sender's own id for it, 1–64 bytes; a retry returns the first answer.
    #[serde(default)]
    pub client_msg_id: Option<String>,
    /// How it looks.
    #[serde(default)]
    pub style: Option<model::Style>,
    /// People it addresses, at most 20.
    #[serde(default)]
    pub mentions: Vec<UserId>,
    /// The recording it is about.
    #[serde(default)]
    pub session_id: Option<Snowflake>,
    /// The place in the recording.
    #[serde(default)]
    pub offset_ms: Option<i64>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "ref", borrow, default, deserialize_with = "any_value")]
    reference: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    content: bool,
}

/// Whatever is there, `null` included.
fn any_value<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

/// True when the field is there at all, whatever it holds.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(d).map(|_| true)
}

/// Parses one text message.
///
/// # Errors
/// `invalid_request`, saying what is wrong with it; the `ref`, when it could be read, comes back.
pub fn parse(text: &str) -> Result<Incoming<'_>, (Option<&RawValue>, WireError)> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| (None, invalid("the message", &error)))?;
    let reference = envelope.reference;
    if reference.is_some_and(|r| r.get().len() > REF_BYTES_MAX) {
        return Err((None, WireError::invalid("ref is longer than 128 bytes")));
    }
    let kind = match envelope.kind.as_deref() {
        Some(kind) => kind,
        None if envelope.content => "comment",
        None => return Err((reference, WireError::invalid("the message has no type"))),
    };
    match body(kind, text) {
        Ok(message) => Ok(Incoming { reference, message }),
        Err(error) => Err((reference, invalid(kind, &error))),
    }
}

fn body(kind: &str, text: &str) -> Result<ClientMessage, serde_json::Error> {
    #[derive(Deserialize)]
    struct Login {
        token: String,
        #[serde(default)]
        device_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct LeaveRoom {
        room_id: RoomId,
    }
    #[derive(Deserialize)]
    struct Like {
        comment_id: Snowflake,
    }
    #[derive(Deserialize)]
    struct Ack {
        event_id: Snowflake,
    }
    Ok(match kind {
        "login" => {
            let Login { token, device_id } = serde_json::from_str(text)?;
            ClientMessage::Login { token, device_id }
        }
        "logout" => ClientMessage::Logout,
        "heartbeat" => ClientMessage::Heartbeat,
        "join_room" => ClientMessage::JoinRoom(serde_json::from_str(text)?),
        "leave_room" => ClientMessage::LeaveRoom { room_id: serde_json::from_str::<LeaveRoom>(text)?.room_id },
        "comment" => ClientMessage::Comment(serde_json::from_str(text)?),
        "like" => ClientMessage::Like { comment_id: serde_json::from_str::<Like>(text)?.comment_id },
        "ack" => ClientMessage::Ack { event_id: serde_json::from_str::<Ack>(text)?.event_id },
        _ => chat::command(kind, text)?.map_or(ClientMessage::Unknown, ClientMessage::Chat),
    })
}

fn invalid(what: &str, error: &serde_json::Error) -> WireError {
    // Both may quote what was sent.
    let what: String = what.chars().take(32).collect();
    let error: String = error.to_string().chars().take(QUOTED_CHARS_MAX).collect();
    WireError::invalid(format!("{what}: {error}"))
}

/// What the server says; `ref` is put beside it by [`encode`].
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // The variants and fields are those of PROTOCOL.md.
pub enum ServerMessage<'a> {
    Connected {
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a UserId>,
        device_id: &'a str,
        connection_id: &'a str,
        node_id: &'a str,
        heartbeat_s: u64,
        server_time_ms: i64,
    },
    LoggedOut {},
    HeartbeatAck {
        server_time_ms: i64,
    },
    RoomJoined {
        room_id: &'a RoomId,
        state: RoomState,
        viewers: u64,
        history: Vec<CommentJson<'a>>,
        #[serde(skip_serializing_if = "is_zero")]
        omitted: u64,
    },
    RoomLeft {
        room_id: &'a RoomId,
    },
    CommentAck {
        #[serde(skip_serializing_if = "Option::is_none")]
        client_msg_id: Option<&'a str>,
        id: Snowflake,
        status: CommentStatus,
        #[serde(rename = "created_at", serialize_with = "rfc3339")]
        created_at_ms: i64,
    },
    LikeAck {
        comment_id: Snowflake,
        like_count: u64,
    },
    Error {
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    #[serde(untagged)]
    Chat(ChatMessage<'a>),
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn rfc3339<S: serde::Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339_ms(*at_ms))
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl std::fmt::Debug for CommentJson<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The message as JSON bytes, with the `ref` it answers.
#[must_use]
pub fn encode(message: &ServerMessage<'_>, reference: Option<&RawValue>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Outgoing<'a> {
        #[serde(flatten)]
        message: &'a ServerMessage<'a>,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
    }
    to_vec(&Outgoing { message, reference })
}

/// An `error` message.
#[must_use]
pub fn encode_error(error: &WireError, reference: Option<&RawValue>) -> Vec<u8> {
    let WireError { code, message, retry_after_ms } = error;
    let message = ServerMessage::Error { code: code.as_str(), message, retry_after_ms: *retry_after_ms };
    encode(&message, reference)
}

/// The body of an HTTP error: `{"error": {code, message, retry_after_ms?}}`.
#[must_use]
pub fn error_body(error: &WireError) -> Vec<u8> {
    #[derive(Serialize)]
    struct Inner<'a> {
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    }
    #[derive(Serialize)]
    struct Outer<'a> {
        error: Inner<'a>,
    }
    let WireError { code, message, retry_after_ms } = error;
    to_vec(&Outer { error: Inner { code: code.as_str(), message, retry_after_ms: *retry_after_ms } })
}

/// An `event` message; `critical` is whether it is so for the viewer it is encoded for.
#[must_use]
pub fn encode_event(event: &Event, critical: bool) -> Vec<u8> {
    let mut object = event_fields(&event.body);
    object.insert("type".into(), "event".into());
    object.insert("event_id".into(), event.id.to_string().into());
    object.insert("kind".into(), event.body.kind().into());
    object.insert("room_id".into(), event.room_id.as_str().into());
    object.insert("at".into(), rfc3339_ms(event.at_ms).into());
    if critical {
        object.insert("critical".into(), true.into());
    }
    to_vec(&object)
}

fn event_fields(body: &EventBody) -> serde_json::Map<String, serde_json::Value> {
    use serde_json::json;
    let value = match body {
        EventBody::Announcement { content } => json!({ "content": content }),
        EventBody::Gift(gift) => {
            let mut value = json!({ "gift": gift.gift, "user_id": gift.user_id, "username": gift.username,
                "count": gift.count, "value": gift.value });
            if let Some(play_at) = &gift.play_at {
                value["play_at"] = json!(play_at);
                value["play_at_ms"] = play_at.ms().into();
            }
            value
        }
        EventBody::CommentsDeleted { comment_ids } => {
            json!({ "comment_id": comment_ids.first(), "comment_ids": comment_ids })
        }
        EventBody::UserMuted { user_id, until_ms, reason } => {
            json!({ "user_id": user_id, "until": rfc3339_ms(*until_ms), "until_ms": until_ms, "reason": reason })
        }
        EventBody::RoomState { state, accepts_comments, session_id } => {
            json!({ "state": state, "accepts_comments": accepts_comments, "session_id": session_id })
        }
        EventBody::Ranking { entries } => json!({ "entries": &**entries }),
        EventBody::HotComments { comments } => {
            json!({ "comments": comments.iter().map(|c| CommentJson(c, None)).collect::<Vec<_>>() })
        }
        EventBody::Follow { user_id, username } => {
            json!({ "user_id": user_id, "username": username })
        }
        EventBody::Notice { code, message } => json!({ "code": code, "message": message }),
    };
    match value {
        serde_json::Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    }
}

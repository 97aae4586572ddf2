//! The JSON messages of the socket, in both directions.
//!
//! One message is one JSON object; `type` names it, and the other fields lie beside it. The gateway parses and encodes with
//! this module; [`crate::proto`] translates to the same types. It checks syntax, not rules.

use std::net::IpAddr;

use model::moderation::Pin;
use model::{CommentStatus, Event, EventBody, RoomId, RoomState, Snowflake, UserId, WireError, rfc3339_ms};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::chat::{self, ChatCommand, ChatMessage};
use crate::comment::{CommentJson, to_vec};

/// The longest `ref` that an answer repeats, in bytes of JSON.
pub const REF_BYTES_MAX: usize = 128;
/// An error never quotes more of a message than this many characters.
const QUOTED_CHARS_MAX: usize = 200;

/// A message of a client, with its `ref`.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The `ref` that the answer repeats.
    pub reference: Option<&'a RawValue>,
    /// The message.
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
    /// A command of private and group chat.
    Chat(ChatCommand),
    /// A type this version does not know: ignored.
    Unknown,
}

/// `join_room`, and the same options in the query of `/ws` and of the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRoom {
    /// The room.
    pub room_id: RoomId,
    /// The last comment seen; what followed it is sent as history. 0 means that the reader has seen none.
    #[serde(default, deserialize_with = "cursor", skip_serializing_if = "Option::is_none")]
    pub since_id: Option<Snowflake>,
    /// Comments of history, at most 100.
    #[serde(default)]
    pub history: Option<u32>,
    /// Or seconds of history, at most 60.
    #[serde(default)]
    pub history_s: Option<u32>,
    /// The viewer's budget in comments a second; 0 means events only.
    #[serde(default)]
    pub max_per_s: Option<u32>,
    /// Only these users' comments, at most 20.
    #[serde(default)]
    pub only_user_ids: Option<Vec<UserId>>,
}

impl JoinRoom {
    /// A join with every option at its default.
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
pub struct CommentDraft {
    /// The room; absent in a bare `{"content": …}`, and over HTTP, where the path names it.
    #[serde(default)]
    pub room_id: Option<RoomId>,
    /// The text.
    #[schema(examples("弹幕来了"))]
    pub content: String,
    /// The sender's own id for it, 1–64 bytes; a retry returns the first answer.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub client_msg_id: Option<String>,
    /// Its style.
    #[serde(default)]
    pub style: Option<model::Style>,
    /// Users it mentions, at most 20.
    #[serde(default)]
    #[schema(max_items = 20)]
    pub mentions: Vec<UserId>,
    /// The session that it comments on.
    #[serde(default)]
    pub session_id: Option<Snowflake>,
    /// The offset in that session, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub offset_ms: Option<i64>,
    /// The sender's address, where the door knows it. No message has it.
    #[serde(skip)]
    #[schema(ignore)]
    pub address: Option<IpAddr>,
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

/// Any value, `null` included.
fn any_value<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

/// True when the field is present, whatever its value.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(d).map(|_| true)
}

/// Parses one text message.
///
/// # Errors
/// `invalid_request` with what is wrong, and the `ref` when it could be parsed.
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

/// A message from the server; [`encode`] adds the `ref`.
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
        #[serde(skip_serializing_if = "Option::is_none")]
        prefer: Option<&'static str>,
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
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "pin_json")]
        pin: Option<&'a Pin>,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prefer: Option<&'static str>,
    },
    #[serde(untagged)]
    Chat(ChatMessage<'a>),
}

impl<'a> ServerMessage<'a> {
    /// An `error` message.
    #[must_use]
    pub fn error(error: &'a WireError) -> Self {
        let WireError { code, message, retry_after_ms, rule, .. } = error;
        let (code, retry_after_ms, rule) = (code.as_str(), *retry_after_ms, rule.as_deref());
        Self::Error { code, message, retry_after_ms, rule, prefer: error.prefer() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn rfc3339<S: serde::Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339_ms(*at_ms))
}

#[allow(clippy::ref_option)] // serde's signature
fn pin_json<S: serde::Serializer>(pin: &Option<&Pin>, serializer: S) -> Result<S::Ok, S::Error> {
    pin.map(pin_fields).serialize(serializer)
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
    encode(&ServerMessage::error(error), reference)
}

/// The body of an HTTP error: `{"error": {code, message, retry_after_ms?, rule?, prefer?}}`.
#[must_use]
pub fn error_body(error: &WireError) -> Vec<u8> {
    #[derive(Serialize)]
    struct Inner<'a> {
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prefer: Option<&'static str>,
    }
    #[derive(Serialize)]
    struct Outer<'a> {
        error: Inner<'a>,
    }
    let WireError { code, message, retry_after_ms, rule, .. } = error;
    let (code, retry_after_ms, rule) = (code.as_str(), *retry_after_ms, rule.as_deref());
    to_vec(&Outer { error: Inner { code, message, retry_after_ms, rule, prefer: error.prefer() } })
}

/// An `event` message; `critical` says whether it is so for its viewer.
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

/// A pin's JSON object: the comment and, if it has one, its end.
#[must_use]
pub fn pin_fields(pin: &Pin) -> serde_json::Value {
    let mut value = serde_json::json!({ "comment": CommentJson(&pin.comment, None) });
    if let Some(until_ms) = pin.until_ms {
        value["until"] = rfc3339_ms(until_ms).into();
    }
    value
}

/// A poll's JSON object.
#[must_use]
pub fn poll_fields(poll: &model::Poll) -> serde_json::Value {
    let model::Poll { poll_id, question, options, state, ends_at_ms } = poll;
    serde_json::json!({ "poll_id": poll_id, "question": question, "options": options, "state": state,
        "ends_at": rfc3339_ms(*ends_at_ms) })
}

/// An event's JSON object as a recording has it: its kind and its fields.
#[must_use]
pub fn recorded_event(body: &EventBody) -> serde_json::Map<String, serde_json::Value> {
    let mut fields = event_fields(body);
    fields.insert("kind".into(), body.kind().into());
    fields
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
        EventBody::CommentsDeleted { comment_ids } | EventBody::CommentsHidden { comment_ids } => {
            json!({ "comment_id": comment_ids.first(), "comment_ids": comment_ids })
        }
        EventBody::CommentsRestored { comments } => {
            json!({ "comments": comments.iter().map(|(_, c)| CommentJson(c, None)).collect::<Vec<_>>() })
        }
        EventBody::UserMuted { user_id, until_ms, reason } => {
            json!({ "user_id": user_id, "until": rfc3339_ms(*until_ms), "until_ms": until_ms, "reason": reason })
        }
        EventBody::RoomState { state, accepts_comments, session_id, speakers, slow_mode_s } => {
            json!({ "state": state, "accepts_comments": accepts_comments, "session_id": session_id,
                    "speakers": speakers, "slow_mode_s": slow_mode_s })
        }
        EventBody::Ranking { entries } => json!({ "entries": &**entries }),
        EventBody::HotComments { comments } => {
            json!({ "comments": comments.iter().map(|c| CommentJson(c, None)).collect::<Vec<_>>() })
        }
        EventBody::Follow { user_id, username } => {
            json!({ "user_id": user_id, "username": username })
        }
        EventBody::Notice { code, message, comment_id, reason } => {
            let mut value = json!({ "code": code, "message": message });
            if let Some(id) = comment_id {
                value["comment_id"] = json!(id);
            }
            if let Some(reason) = reason {
                value["reason"] = json!(reason);
            }
            value
        }
        EventBody::Pin { comment, until_ms } => {
            let mut value = json!({ "comment": comment.as_ref().map(|comment| CommentJson(comment, None)) });
            if let Some(until_ms) = until_ms {
                value["until"] = rfc3339_ms(*until_ms).into();
            }
            value
        }
        EventBody::Poll(poll) => poll_fields(poll),
        EventBody::Question(question) => json!(question),
        EventBody::Combo { user_id, gift, count, until_ms } => {
            json!({ "user_id": user_id, "gift": gift, "count": count, "until": rfc3339_ms(*until_ms), "until_ms": until_ms })
        }
    };
    match value {
        serde_json::Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    }
}

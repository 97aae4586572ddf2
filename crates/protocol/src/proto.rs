//! `barrage.v1.proto`: the messages of the socket as Protobuf, one `ClientFrame` or `ServerFrame` of
//! `proto/barrage/v1/client.proto` in each binary WebSocket message.
//!
//! The gateway parses with it; [`crate::encode`] encodes with it. It only translates to and from the types of
//! [`crate::message`], and decides no rule. `build.rs` generates the Protobuf types.

use model::{
    Comment, CommentStatus, Event, EventBody, Kind, Level, Mode, RoomId, RoomState, Size, Snowflake, Speakers, Style,
    UserId, WireError,
};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::message::{ClientMessage, CommentDraft, JoinRoom, ServerMessage};

mod chat;

/// The generated types, named as in the schema.
#[allow(missing_docs, clippy::pedantic)] // Their documentation is the schema's.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/barrage.v1.rs"));
}

use v1::client_frame::Message as In;
use v1::server_frame::Message as Out;

/// `ServerFrame.comments`, `Comments.room_id`, `Comments.comments` and `Comments.omitted`: batches are joined from encoded
/// fragments.
const FRAME_COMMENTS: u32 = 2;
const BATCH_ROOM_ID: u32 = 1;
const BATCH_COMMENTS: u32 = 2;
const BATCH_OMITTED: u32 = 3;
/// The style of a comment without one.
const WHITE: u32 = 0xFF_FF_FF;

// ---- From clients

/// Parses one binary message. The number is its `ref`, 0 when it has none.
///
/// # Errors
/// `invalid_request` with what is wrong, and the `ref` when it could be parsed.
pub fn parse(bytes: &[u8]) -> Result<(u64, ClientMessage), (u64, WireError)> {
    let frame = v1::ClientFrame::decode(bytes)
        .map_err(|_| (0, WireError::invalid("the message is not a ClientFrame of barrage.v1")))?;
    let reference = frame.r#ref;
    match frame.message.map_or(Ok(ClientMessage::Unknown), command) {
        Ok(message) => Ok((reference, message)),
        Err(error) => Err((reference, error)),
    }
}

fn command(message: In) -> Result<ClientMessage, WireError> {
    Ok(match message {
        In::Login(v1::Login { token, device_id }) => ClientMessage::Login { token, device_id: filled(device_id) },
        In::Logout(_) => ClientMessage::Logout,
        In::Heartbeat(_) => ClientMessage::Heartbeat,
        In::JoinRoom(options) => ClientMessage::JoinRoom(join_room(options)?),
        In::LeaveRoom(v1::LeaveRoom { room_id }) => ClientMessage::LeaveRoom { room_id: room(&room_id)? },
        In::Comment(draft) => ClientMessage::Comment(comment_draft(draft)?),
        In::Like(v1::Like { comment_id }) => ClientMessage::Like { comment_id: id("comment_id", comment_id)? },
        In::Ack(v1::Ack { event_id }) => ClientMessage::Ack { event_id: id("event_id", event_id)? },
        In::SendMessage(message) => chat::send_message(message)?,
        In::SendGroupMessage(message) => chat::send_group_message(message)?,
        In::MarkAsRead(message) => chat::mark_as_read(&message)?,
        In::SyncMessages(message) => chat::sync_messages(message)?,
        In::RecallMessage(message) => chat::recall_message(&message)?,
        In::EditMessage(message) => chat::edit_message(message)?,
        In::React(message) => chat::react(&message)?,
        In::Typing(message) => chat::typing(&message)?,
        In::WatchPresence(message) => chat::watch_presence(&message)?,
    })
}

fn join_room(options: v1::JoinRoom) -> Result<JoinRoom, WireError> {
    let v1::JoinRoom { room_id, since_id, history, history_s, max_per_s, only_user_ids } = options;
    let since_id = match since_id {
        Some(0) => Some(Snowflake(0)),
        Some(seen) => Some(id("since_id", seen)?),
        None => None,
    };
    let only_user_ids = if only_user_ids.is_empty() { None } else { Some(users(&only_user_ids)?) };
    Ok(JoinRoom { room_id: room(&room_id)?, since_id, history, history_s, max_per_s, only_user_ids })
}

fn comment_draft(draft: v1::CommentDraft) -> Result<CommentDraft, WireError> {
    let v1::CommentDraft { room_id, content, client_msg_id, style, mentions, session_id, offset_ms } = draft;
    Ok(CommentDraft {
        room_id: if room_id.is_empty() { None } else { Some(room(&room_id)?) },
        content,
        client_msg_id: filled(client_msg_id),
        style: style.map(|style| style_from(&style)).transpose()?,
        mentions: users(&mentions)?,
        session_id: session_id.map(|session| id("session_id", session)).transpose()?,
        offset_ms,
        address: None,
    })
}

fn style_from(style: &v1::Style) -> Result<Style, WireError> {
    let mode = match v1::Mode::try_from(style.mode) {
        Ok(v1::Mode::Scroll) => Mode::Scroll,
        Ok(v1::Mode::Top) => Mode::Top,
        Ok(v1::Mode::Bottom) => Mode::Bottom,
        Err(_) => return Err(WireError::invalid("style.mode is unknown")),
    };
    let size = match v1::Size::try_from(style.size) {
        Ok(v1::Size::Normal) => Size::Normal,
        Ok(v1::Size::Small) => Size::Small,
        Ok(v1::Size::Large) => Size::Large,
        Err(_) => return Err(WireError::invalid("style.size is unknown")),
    };
    match style.color.unwrap_or(WHITE) {
        color @ 0..=WHITE => Ok(Style { mode, color, size }),
        _ => Err(WireError::invalid("style.color must be 0xRRGGBB")),
    }
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn room(text: &str) -> Result<RoomId, WireError> {
    RoomId::new(text).map_err(|error| WireError::invalid(error.to_string()))
}

fn users(texts: &[String]) -> Result<Vec<UserId>, WireError> {
    texts.iter().map(|text| UserId::new(text).map_err(|error| WireError::invalid(error.to_string()))).collect()
}

fn id(what: &'static str, number: u64) -> Result<Snowflake, WireError> {
    match number {
        0 => Err(WireError::invalid(format!("{what} is missing"))),
        id if i64::try_from(id).is_ok() => Ok(Snowflake(id)),
        _ => Err(WireError::invalid(format!("{what} is not a 63-bit number"))),
    }
}

// ---- To clients

/// A `ServerFrame` with the `ref` it answers; 0 is none.
#[must_use]
pub fn encode(message: &ServerMessage<'_>, reference: u64) -> Vec<u8> {
    frame(answer(message), reference)
}

/// An `event`; `critical` says whether it is so for its viewer.
#[must_use]
pub fn encode_event(event: &Event, critical: bool) -> Vec<u8> {
    frame(Out::Event(event_message(event, critical)), 0)
}

/// An event on the wire; `critical` says whether it is so for its viewer.
pub(crate) fn event_message(event: &Event, critical: bool) -> v1::Event {
    v1::Event {
        event_id: event.id.0,
        room_id: event.room_id.as_str().into(),
        at_ms: event.at_ms,
        critical,
        kind: Some(event_kind(&event.body)),
    }
}

fn frame(message: Out, reference: u64) -> Vec<u8> {
    v1::ServerFrame { r#ref: reference, message: Some(message) }.encode_to_vec()
}

fn answer(message: &ServerMessage<'_>) -> Out {
    match *message {
        ServerMessage::Connected {
            user_id,
            device_id,
            connection_id,
            node_id,
            heartbeat_s,
            server_time_ms,
            prefer,
        } => Out::Connected(v1::Connected {
            user_id: user_id.map_or_else(String::new, |user| user.as_str().into()),
            device_id: device_id.into(),
            connection_id: connection_id.into(),
            node_id: node_id.into(),
            heartbeat_s: u32::try_from(heartbeat_s).unwrap_or(u32::MAX),
            server_time_ms,
            prefer: prefer.unwrap_or_default().into(),
        }),
        ServerMessage::LoggedOut {} => Out::LoggedOut(v1::LoggedOut {}),
        ServerMessage::HeartbeatAck { server_time_ms } => Out::HeartbeatAck(v1::HeartbeatAck { server_time_ms }),
        ServerMessage::RoomJoined { room_id, state, viewers, ref history, omitted, pin } => {
            Out::RoomJoined(v1::RoomJoined {
                room_id: room_id.as_str().into(),
                state: room_state(state).into(),
                viewers,
                history: history.iter().map(|shown| comment(shown.0, shown.1)).collect(),
                omitted,
                pin: pin.map(|pin| v1::Pin { comment: Some(comment(&pin.comment, None)), until_ms: pin.until_ms }),
            })
        }
        ServerMessage::RoomLeft { room_id } => Out::RoomLeft(v1::RoomLeft { room_id: room_id.as_str().into() }),
        ServerMessage::CommentAck { client_msg_id, id, status, created_at_ms } => Out::CommentAck(v1::CommentAck {
            client_msg_id: client_msg_id.unwrap_or_default().into(),
            id: id.0,
            status: comment_status(status).into(),
            created_at_ms,
        }),
        ServerMessage::LikeAck { comment_id, like_count } => {
            Out::LikeAck(v1::LikeAck { comment_id: comment_id.0, like_count })
        }
        ServerMessage::Error { code, message, retry_after_ms, rule, prefer } => Out::Error(v1::Error {
            code: code.into(),
            message: message.into(),
            retry_after_ms,
            client_msg_id: String::new(),
            rule: rule.unwrap_or_default().into(),
            prefer: prefer.unwrap_or_default().into(),
        }),
        ServerMessage::Chat(ref message) => chat::answer(message),
    }
}

fn room_state(state: RoomState) -> v1::RoomState {
    match state {
        RoomState::Idle => v1::RoomState::Idle,
        RoomState::Starting => v1::RoomState::Starting,
        RoomState::Live => v1::RoomState::Live,
        RoomState::Closing => v1::RoomState::Closing,
    }
}

fn room_speakers(speakers: Speakers) -> v1::Speakers {
    match speakers {
        Speakers::Everyone => v1::Speakers::Everyone,
        Speakers::Vip => v1::Speakers::Vip,
        Speakers::Moderators => v1::Speakers::Moderators,
        Speakers::Nobody => v1::Speakers::Nobody,
    }
}

fn comment_status(status: CommentStatus) -> v1::CommentStatus {
    match status {
        CommentStatus::Accepted => v1::CommentStatus::Accepted,
        CommentStatus::PendingReview => v1::CommentStatus::PendingReview,
    }
}

fn event_kind(body: &EventBody) -> v1::event::Kind {
    use v1::event::Kind;
    match body {
        EventBody::Announcement { content } => Kind::Announcement(v1::Announcement { content: content.clone() }),
        EventBody::Gift(gift) => Kind::Gift(v1::Gift {
            gift: gift.gift.clone(),
            user_id: gift.user_id.as_str().into(),
            username: gift.username.clone(),
            count: gift.count,
            value: gift.value,
            play_at_ms: gift.play_at.as_ref().map(model::PlayAt::ms),
        }),
        EventBody::CommentsDeleted { comment_ids } | EventBody::CommentsHidden { comment_ids } => {
            Kind::CommentDeleted(v1::CommentDeleted { comment_ids: comment_ids.iter().map(|id| id.0).collect() })
        }
        EventBody::UserMuted { user_id, until_ms, reason } => Kind::UserMuted(v1::UserMuted {
            user_id: user_id.as_str().into(),
            until_ms: *until_ms,
            reason: reason.clone(),
        }),
        EventBody::RoomState { state, accepts_comments, session_id, speakers, slow_mode_s } => {
            Kind::RoomState(v1::RoomStateChanged {
                state: room_state(*state).into(),
                accepts_comments: *accepts_comments,
                session_id: session_id.map(|id| id.0),
                speakers: room_speakers(*speakers).into(),
                slow_mode_s: *slow_mode_s,
            })
        }
        EventBody::Ranking { entries } => {
            let entry = |entry: &model::RankingEntry| v1::RankingEntry {
                rank: entry.rank,
                user_id: entry.user_id.as_str().into(),
                username: entry.username.as_ref().into(),
                score: entry.score,
            };
            Kind::Ranking(v1::Ranking { entries: entries.iter().map(entry).collect() })
        }
        EventBody::HotComments { comments } => {
            Kind::HotComments(v1::HotComments { comments: comments.iter().map(|shown| comment(shown, None)).collect() })
        }
        EventBody::Follow { user_id, username } => {
            Kind::Follow(v1::Follow { user_id: user_id.as_str().into(), username: username.clone() })
        }
        EventBody::Notice { code, message, comment_id, reason } => Kind::Notice(v1::Notice {
            code: code.clone(),
            message: message.clone(),
            comment_id: comment_id.map(|id| id.0),
            reason: reason.clone(),
        }),
        EventBody::CommentsRestored { comments } => Kind::CommentsRestored(v1::CommentsRestored {
            comments: comments.iter().map(|(_, shown)| comment(shown, None)).collect(),
        }),
        EventBody::Pin { comment: pinned, until_ms } => {
            Kind::Pin(v1::Pin { comment: pinned.as_deref().map(|pinned| comment(pinned, None)), until_ms: *until_ms })
        }
        EventBody::Poll(poll) => Kind::Poll(v1::Poll {
            poll_id: poll.poll_id.0,
            question: poll.question.clone(),
            options: poll
                .options
                .iter()
                .map(|option| v1::PollOption { text: option.text.clone(), votes: option.votes })
                .collect(),
            closed: poll.state == model::PollState::Closed,
            ends_at_ms: poll.ends_at_ms,
        }),
        EventBody::Question(question) => Kind::Question(v1::Question {
            question_id: question.question_id.0,
            user_id: question.user_id.as_str().into(),
            username: question.username.clone(),
            content: question.content.clone(),
            upvotes: question.upvotes,
            answered: question.state == model::QuestionState::Answered,
        }),
        EventBody::Combo { user_id, gift, count, until_ms } => Kind::Combo(v1::Combo {
            user_id: user_id.as_str().into(),
            gift: gift.clone(),
            count: *count,
            until_ms: *until_ms,
        }),
    }
}

/// A comment inside a message that names its room.
pub(crate) fn comment(comment: &Comment, count: Option<u32>) -> v1::Comment {
    v1::Comment {
        id: comment.id.0,
        room_id: String::new(),
        user_id: comment.user_id.as_str().into(),
        username: comment.username.as_ref().into(),
        content: comment.content.as_ref().into(),
        created_at_ms: comment.created_at_ms,
        offset_ms: comment.offset_ms,
        session_id: comment.session_id.map(|id| id.0),
        level: level(comment.level).into(),
        style: (comment.style != Style::default()).then(|| style(comment.style)),
        kind: kind(comment.kind).into(),
        mentions: comment.mentions.iter().map(|user| user.as_str().into()).collect(),
        like_count: comment.like_count,
        count: count.filter(|n| *n > 1).unwrap_or(0),
    }
}

/// A `Segment`: six minutes of a session.
#[must_use]
pub fn segment<'a>(
    session_id: Snowflake,
    n: i64,
    from_ms: i64,
    to_ms: i64,
    comments: impl Iterator<Item = &'a Comment>,
) -> Vec<u8> {
    let comments: Vec<_> = comments.map(|one| comment(one, None)).collect();
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    let count = u32::try_from(comments.len()).unwrap_or(u32::MAX);
    v1::Segment { session_id: session_id.0, n, from_ms, to_ms, count, comments }.encode_to_vec()
}

/// A style on the wire.
#[must_use]
pub fn style(style: Style) -> v1::Style {
    let mode = match style.mode {
        Mode::Scroll => v1::Mode::Scroll,
        Mode::Top => v1::Mode::Top,
        Mode::Bottom => v1::Mode::Bottom,
    };
    let size = match style.size {
        Size::Small => v1::Size::Small,
        Size::Normal => v1::Size::Normal,
        Size::Large => v1::Size::Large,
    };
    v1::Style { mode: mode.into(), color: Some(style.color).filter(|color| *color != WHITE), size: size.into() }
}

fn level(level: Level) -> v1::Level {
    match level {
        Level::Normal => v1::Level::Normal,
        Level::Vip => v1::Level::Vip,
        Level::Owner => v1::Level::Owner,
        Level::Moderator => v1::Level::Moderator,
        Level::Admin => v1::Level::Admin,
    }
}

fn kind(kind: Kind) -> v1::CommentKind {
    match kind {
        Kind::Comment => v1::CommentKind::Comment,
        Kind::Imported => v1::CommentKind::Imported,
        Kind::Recorded => v1::CommentKind::Recorded,
    }
}

/// A comment as one element of `Comments.comments`, key and length included, to be joined into batches without
/// encoding it again.
#[must_use]
pub fn fragment(shown: &Comment, count: Option<u32>) -> Vec<u8> {
    let mut out = Vec::with_capacity(96 + shown.content.len());
    prost::encoding::message::encode(BATCH_COMMENTS, &comment(shown, count), &mut out);
    out
}

/// Joins fragments into a `ServerFrame` with one batch.
#[must_use]
pub fn batch<'a>(room_id: &str, fragments: impl Iterator<Item = &'a [u8]> + Clone, omitted: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(80);
    prost::encoding::string::encode(BATCH_ROOM_ID, &room_id.to_owned(), &mut head);
    let omitted_bytes = if omitted == 0 { 0 } else { prost::encoding::uint64::encoded_len(BATCH_OMITTED, &omitted) };
    let bytes = head.len() + fragments.clone().map(<[u8]>::len).sum::<usize>() + omitted_bytes;
    let mut out = Vec::with_capacity(key_len(FRAME_COMMENTS) + encoded_len_varint(bytes as u64) + bytes);
    encode_key(FRAME_COMMENTS, WireType::LengthDelimited, &mut out);
    encode_varint(bytes as u64, &mut out);
    out.extend_from_slice(&head);
    fragments.for_each(|fragment| out.extend_from_slice(fragment));
    if omitted > 0 {
        prost::encoding::uint64::encode(BATCH_OMITTED, &omitted, &mut out);
    }
    out
}

//! What every backend must do: a suite for each noun.
//!
//! A backend's tests call `suite` of each noun with a function that opens a fresh, empty store. A failed expectation panics
//! and says what was expected. A suite asks for no more nouns than its cases need, so a new backend can pass them one by one,
//! in this order: comments, rooms, scores, likes, moderation, events, chat, keys, uploads, maintenance, notes, erasure.

pub mod archive;
pub mod chat;
pub mod comments;
pub mod documents;
pub mod erasure;
pub mod events;
pub mod keys;
pub mod likes;
pub mod maintenance;
pub mod moderation;
pub mod notes;
pub mod rooms;
pub mod samples;
pub mod scores;
pub mod uploads;

use std::sync::Arc;

use model::snowflake::EPOCH_MS;
use model::{Comment, FirstAnswer, Kind, Level, RoomId, RoomSettings, Session, Snowflake, Style, UserId};

use crate::{CommentStore, NewComment, ReplayQuery, RoomStore, StoreError};

/// 2024-01-01T00:00:00Z: ids below are made at small times after it.
const START_MS: i64 = EPOCH_MS;
const DAY_MS: i64 = 86_400_000;

type Case = std::result::Result<(), StoreError>;

/// The `n`th id made at `ms` after [`START_MS`].
#[must_use]
pub fn id_at(ms: u64, n: u64) -> Snowflake {
    Snowflake((ms << 22) + n)
}

/// A room's id.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("a room id")
}

/// A user's id.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("a user id")
}

/// A plain comment of `by` in `in_room`, without a session, made at the time of its id.
#[must_use]
pub fn comment(id: Snowflake, in_room: &str, by: &str) -> Comment {
    Comment {
        id,
        room_id: room(in_room),
        session_id: None,
        user_id: user(by),
        username: format!("name of {by}").into(),
        level: Level::Normal,
        content: format!("comment {id}").into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: Box::default(),
        created_at_ms: model::snowflake::made_at_ms(id),
        offset_ms: 0,
        like_count: 0,
        shadow: false,
    }
}

/// A comment with its position and no `client_msg_id`.
#[must_use]
pub fn positioned(comment: Comment, position: u64) -> NewComment {
    NewComment { comment: Arc::new(comment), position, client_msg_id: None }
}

/// Gives a room that has the defaults these settings.
async fn put(store: &impl RoomStore, name: &str, settings: &RoomSettings) -> crate::Result<bool> {
    store.put_room(&room(name), &RoomSettings::default(), settings).await
}

fn session(id: u64, in_room: &str, explicit: bool) -> Session {
    let started_at_ms = START_MS + 1;
    Session { id: Snowflake(id), room_id: room(in_room), started_at_ms, ended_at_ms: None, explicit }
}

/// A recorded session that is over, with the id 1.
fn over() -> Session {
    Session { ended_at_ms: Some(START_MS + 9_000), ..session(1, "r", true) }
}

/// A comment of the recorded session.
fn recorded(n: u64) -> Arc<Comment> {
    let session_id = Some(Snowflake(1));
    Arc::new(Comment { kind: Kind::Imported, session_id, offset_ms: 7, ..comment(Snowflake(n), "r", "u") })
}

/// All of a room's recording.
#[must_use]
pub fn whole(in_room: &str, limit: usize) -> ReplayQuery {
    ReplayQuery {
        room_id: room(in_room),
        session_id: None,
        from_ms: 0,
        to_ms: i64::MAX,
        by_user: None,
        after: None,
        limit,
    }
}

fn ids<'a>(comments: impl IntoIterator<Item = &'a Arc<Comment>>) -> Vec<u64> {
    comments.into_iter().map(|comment| comment.id.0).collect()
}

async fn after(
    store: &impl CommentStore,
    in_room: &str,
    position: u64,
    limit: usize,
) -> crate::Result<Vec<(u64, u64)>> {
    let found = store.comments_after(&room(in_room), position, limit).await?;
    Ok(found.iter().map(|positioned| (positioned.position, positioned.comment.id.0)).collect())
}

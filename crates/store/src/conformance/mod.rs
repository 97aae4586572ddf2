//! What every backend must do, in one suite. A backend's tests call [`suite`] with a function that
//! opens a fresh, empty store; a failed expectation panics and says what was expected.

pub mod chat;
mod comments;
mod events;
pub mod keys;
mod likes;
mod moderation;
mod rooms;
pub mod uploads;

use std::sync::Arc;

use model::snowflake::EPOCH_MS;
use model::{
    Audience, Comment, Event, EventBody, Kind, Lane, Level, Mode, RoomId, RoomSettings, Score, Session, Size,
    Snowflake, Style, UserId,
};

use self::events::event;
use self::moderation::{ban, review};
use crate::{
    AuditEntry, Ban, BanKind, FirstAnswer, NewComment, ReplayQuery, Review, ReviewStatus, Scores, Store, StoreError,
    WordList,
};

/// 2024-01-01T00:00:00Z: ids below are made at small times after it.
const START_MS: i64 = EPOCH_MS;
const DAY_MS: i64 = 86_400_000;

type Case = std::result::Result<(), StoreError>;

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: Store>(fresh: impl Fn() -> S) -> Case {
    comments::comments_come_back_as_they_were(&fresh()).await?;
    comments::a_run_may_be_repeated(&fresh()).await?;
    comments::the_first_answer_stays(&fresh()).await?;
    comments::cursors_follow_positions(&fresh()).await?;
    comments::replay_pages_meet_every_comment_once(&fresh()).await?;
    comments::replay_narrows(&fresh()).await?;
    comments::deleting_erases_and_keeps_the_place(&fresh()).await?;
    comments::purging_takes_one_user_only(&fresh()).await?;
    comments::imports_have_no_place_in_the_live_order(&fresh()).await?;
    comments::high_water_counts_everything(&fresh()).await?;
    comments::expiry_follows_each_rooms_retention(&fresh()).await?;
    comments::expiry_clears_what_hangs_on_comments(&fresh()).await?;
    rooms::rooms_keep_their_settings(&fresh()).await?;
    rooms::settings_replace_those_they_were_made_from(&fresh()).await?;
    rooms::a_room_has_one_session_on(&fresh()).await?;
    rooms::opening_takes_over_and_reopens(&fresh()).await?;
    rooms::sessions_count_what_is_kept(&fresh()).await?;
    rooms::scores_are_comments_and_gifts(&fresh()).await?;
    likes::a_user_likes_a_comment_once(&fresh()).await?;
    likes::the_most_liked_come_first(&fresh()).await?;
    likes::concurrent_likes_are_all_counted(Arc::new(fresh())).await?;
    moderation::one_moderator_decides(&fresh()).await?;
    moderation::reviews_are_listed(&fresh()).await?;
    moderation::words_are_sets(&fresh()).await?;
    moderation::bans_end(&fresh()).await?;
    moderation::revocations_only_move_forward(&fresh()).await?;
    moderation::the_audit_trail_is_newest_first(&fresh()).await?;
    events::events_wait_for_their_acknowledgement(&fresh()).await
}

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
    }
}

/// A comment with its place and no `client_msg_id`.
#[must_use]
pub fn placed(comment: Comment, position: u64) -> NewComment {
    NewComment { comment: Arc::new(comment), position, client_msg_id: None }
}

/// Gives a room that has the defaults these settings.
async fn put(store: &dyn Store, name: &str, settings: &RoomSettings) -> crate::Result<bool> {
    store.put_room(&room(name), &RoomSettings::default(), settings).await
}

fn session(id: u64, in_room: &str, explicit: bool) -> Session {
    let started_at_ms = START_MS + 1;
    Session { id: Snowflake(id), room_id: room(in_room), started_at_ms, ended_at_ms: None, explicit }
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

async fn after(store: &dyn Store, in_room: &str, position: u64, limit: usize) -> crate::Result<Vec<(u64, u64)>> {
    let found = store.comments_after(&room(in_room), position, limit).await?;
    Ok(found.iter().map(|placed| (placed.position, placed.comment.id.0)).collect())
}

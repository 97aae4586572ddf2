//! Comments for unit tests of rules.

use std::sync::Arc;

use model::{Comment, Kind, Level, Mode, RoomId, Snowflake, Style, UserId};

/// A normal viewer's comment, created at `id` milliseconds.
pub fn comment(id: u64) -> Comment {
    Comment {
        id: Snowflake(id),
        room_id: RoomId::new("room").expect("an id"),
        session_id: None,
        user_id: UserId::new("user").expect("an id"),
        username: "user".into(),
        level: Level::Normal,
        content: "hello".into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: [].into(),
        created_at_ms: id.cast_signed(),
        offset_ms: 0,
        like_count: 0,
        shadow: false,
    }
}

/// A comment of somebody of this level, flying in this mode.
pub fn comment_by(id: u64, level: Level, mode: Mode) -> Arc<Comment> {
    Arc::new(Comment { level, style: Style { mode, ..Style::default() }, ..comment(id) })
}

/// A comment with so many likes.
pub fn liked(id: u64, like_count: u64) -> Arc<Comment> {
    Arc::new(Comment { like_count, ..comment(id) })
}

/// Their ids.
pub fn ids<'a>(comments: impl IntoIterator<Item = &'a Arc<Comment>>) -> Vec<u64> {
    comments.into_iter().map(|comment| comment.id.0).collect()
}

/// A normal viewer's comment by this user.
pub fn said_by(id: u64, user: &str) -> Arc<Comment> {
    Arc::new(Comment { user_id: UserId::new(user).expect("an id"), ..comment(id) })
}

//! A comment's JSON, written once and shared by every batch, answer and page that carries it.

use model::{Comment, Kind, Level, Snowflake, Style, UserId, rfc3339_ms};
use serde::{Serialize, Serializer};

/// A comment as the contract writes it; `count` is present when it stands for more than itself.
pub struct CommentJson<'a>(pub &'a Comment, pub Option<u32>);

#[derive(Serialize)]
struct View<'a> {
    id: Snowflake,
    room_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<Snowflake>,
    user_id: &'a str,
    username: &'a str,
    level: Level,
    content: &'a str,
    style: Style,
    kind: Kind,
    #[serde(skip_serializing_if = "<[UserId]>::is_empty")]
    mentions: &'a [UserId],
    created_at: String,
    offset_ms: i64,
    like_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

impl Serialize for CommentJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(comment, count) = *self;
        View {
            id: comment.id,
            room_id: comment.room_id.as_str(),
            session_id: comment.session_id,
            user_id: comment.user_id.as_str(),
            username: &comment.username,
            level: comment.level,
            content: &comment.content,
            style: comment.style,
            kind: comment.kind,
            mentions: &comment.mentions,
            created_at: rfc3339_ms(comment.created_at_ms),
            offset_ms: comment.offset_ms,
            like_count: comment.like_count,
            count: count.filter(|n| *n > 1),
        }
        .serialize(serializer)
    }
}

/// A comment's JSON object as bytes, to be joined into batches without formatting it again.
#[must_use]
pub fn fragment(comment: &Comment, count: Option<u32>) -> Vec<u8> {
    to_vec(&CommentJson(comment, count))
}

/// Joins comment fragments into a `comments` message: `{"type":"comments","room_id":…,"comments":[…],"omitted"?:n}`.
#[must_use]
pub fn batch<'a>(room_id: &str, fragments: impl Iterator<Item = &'a [u8]>, omitted: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(br#"{"type":"comments","room_id":""#);
    out.extend_from_slice(room_id.as_bytes()); // Its alphabet needs no escapes.
    out.extend_from_slice(br#"","comments":["#);
    for (i, fragment) in fragments.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(fragment);
    }
    out.push(b']');
    if omitted > 0 {
        out.extend_from_slice(br#","omitted":"#);
        out.extend_from_slice(omitted.to_string().as_bytes());
    }
    out.push(b'}');
    out
}

/// JSON of something whose serialisation cannot fail: no maps with odd keys, no failing `Serialize`.
pub(crate) fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| unreachable!("plain data: {error}"))
}

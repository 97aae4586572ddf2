//! A comment's JSON, formatted once and shared by every batch, answer and page that carries it.
//!
//! The gateway and the API join the fragments. Knows no frame and no reader.

use model::{Comment, Kind, Level, Snowflake, Style, UserId, rfc3339_ms};
use serde::{Serialize, Serializer};

/// A comment as JSON; `count` is present when it stands for more than itself.
pub struct CommentJson<'a>(pub &'a Comment, pub Option<u32>);

/// The fields of [`CommentJson`].
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Comment)]
struct View<'a> {
    id: Snowflake,
    #[schema(value_type = model::RoomId)]
    room_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_id: Option<Snowflake>,
    #[schema(value_type = UserId)]
    user_id: &'a str,
    username: &'a str,
    level: Level,
    content: &'a str,
    style: Style,
    kind: Kind,
    #[serde(skip_serializing_if = "<[UserId]>::is_empty")]
    mentions: &'a [UserId],
    #[schema(format = DateTime)]
    created_at: String,
    /// Milliseconds since the session's start.
    offset_ms: i64,
    like_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// More than 1 when identical comments were merged into it.
    #[schema(nullable = false)]
    count: Option<u32>,
}

impl utoipa::PartialSchema for CommentJson<'_> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        View::schema()
    }
}

impl utoipa::ToSchema for CommentJson<'_> {
    fn name() -> std::borrow::Cow<'static, str> {
        View::name()
    }

    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        View::schemas(schemas);
    }
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

//! Live segments: a room cut by the clock into pieces that a plain HTTP cache carries to any number of viewers.
//!
//! The hub records and seals ([`hub::live`]); here they are encoded, once in each form for all who ask.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use hub::live::LiveSegment;
use model::code::PREFER_SEGMENTS;
use model::{Code, RoomId, WireError};
use protocol::comment::CommentJson;
use protocol::encode::EncodeOnce;
use protocol::segment;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::cacheable::{self, Caching, Coding, JSON, PROTOBUF, Representation};
use crate::error::{Answer, Refused, Unknown};
use crate::extract::Path;
use crate::signed_prefix::SegmentCaller;

/// How long a cache may keep a segment, in seconds: what is deleted is gone from caches after this.
const MAX_AGE_S: u32 = 10;
/// Segments older than this are encoded for each request, in milliseconds: only stragglers ask for them.
const ENCODED_MS: i64 = 60_000;
/// Digits of the largest number of a segment.
const SEQ_DIGITS_MAX: usize = 18;

/// Everything about live segments; with and without a signed prefix.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(now)).routes(routes!(one))
}

#[derive(Deserialize)]
struct LiveRoom {
    room_id: RoomId,
}

#[derive(Deserialize)]
struct LivePlace {
    room_id: RoomId,
    seq: String,
}

/// Where a room's live segments stand.
#[derive(Serialize, ToSchema)]
struct LiveNow {
    /// The length of a segment.
    #[schema(minimum = 250, maximum = 2_000)]
    segment_ms: u32,
    /// The segment under way: Unix milliseconds divided by `segment_ms`.
    seq: u64,
    /// The server's clock, Unix milliseconds.
    server_time_ms: i64,
    /// Where segments are, from the root, with `{seq}` for the number.
    url_template: String,
}

/// As [`protocol::segment`] writes it.
#[derive(ToSchema)]
#[schema(as = LiveSegment)]
#[expect(dead_code, reason = "it stands in the reference")]
struct LiveSegmentView<'a> {
    room_id: RoomId,
    seq: u64,
    /// Unix milliseconds.
    from_ms: i64,
    /// Unix milliseconds, excluded.
    to_ms: i64,
    comments: Vec<CommentJson<'a>>,
    /// As a socket's messages of type `event`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<()>,
    /// Comments that were left out.
    omitted: u64,
    /// `segments` while the server would rather have viewers read these than hold sockets.
    #[schema(nullable = false, required = false)]
    prefer: Option<String>,
}

/// Says which live segment is under way
///
/// A room is recorded from the first time somebody asks, until nobody has asked for ten minutes. Where a room needs a token,
/// `url_template` begins with a signed prefix that works until the token's end; ask again then.
#[utoipa::path(
    get, path = "/rooms/{room_id}/live", tag = "rooms", operation_id = "show_live", params(("room_id" = RoomId, Path)),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "The segment under way.", body = LiveNow), Refused),
)]
async fn now(State(app): State<App>, caller: SegmentCaller, Path(at): Path<LiveRoom>) -> Answer {
    let room = at.room_id;
    caller.may_read(&app, &room).await?;
    let prefix = caller.prefix(&app, &room).await;
    let hub::live::LiveNow { segment_ms, seq, server_time_ms } = app.hub.live_now(&room, &caller.opener(&app)).await?;
    let url_template = format!("{prefix}/api/v1/rooms/{room}/live/{{seq}}");
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Json(LiveNow { segment_ms, seq, server_time_ms, url_template })).into_response())
}

/// Shows a live segment
///
/// What the room's viewers were given in this time, composed like any stream of the room. The segment under way and the next
/// one are held until they are sealed. Later numbers, those before the room was first asked for, and those over an hour old
/// are `not_found`. `Accept: application/x-protobuf` gives `LiveSegment` of `client.proto`.
#[utoipa::path(
    get, path = "/rooms/{room_id}/live/{seq}", tag = "rooms", operation_id = "show_live_segment",
    params(("room_id" = RoomId, Path), ("seq" = u64, Path, description = "Unix milliseconds divided by `segment_ms`.")),
    security((), ("bearer" = []), ("token" = [])),
    responses(
        (status = 200, description = "The segment.", body = LiveSegmentView, headers(
            ("ETag" = String, description = "Another one for each form."),
            ("Cache-Control" = String, description = "`public, max-age=10`, or `private` where a token was needed."),
        )),
        (status = 304, description = "The client has it."), Refused, Unknown,
    ),
)]
async fn one(State(app): State<App>, caller: SegmentCaller, Path(at): Path<LivePlace>, headers: HeaderMap) -> Answer {
    let is_public = caller.may_read(&app, &at.room_id).await?;
    let seq = number(&at.seq).ok_or_else(|| WireError::not_found("there is no such segment"))?;
    let mut draining = app.draining.clone();
    let opener = caller.opener(&app);
    let segment = tokio::select! {
        segment = app.hub.live_segment(&at.room_id, seq, &opener) => segment?,
        _ = draining.wait_for(|draining| *draining) => return Err(ends().into()),
    };
    // The room may have been closed to this caller meanwhile.
    caller.may_read(&app, &at.room_id).await?;
    let is_old = segment.to_ms < app.clock.now_ms() - ENCODED_MS;
    let form = represent(&segment, &headers, is_old).ok_or_else(WireError::unavailable)?;
    Ok(form.answer(&headers, Caching { is_public, max_age_s: MAX_AGE_S, is_immutable: false }))
}

/// A number in its one spelling: another one would be kept by caches beside it.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.len() <= SEQ_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain && (text == "0" || !text.starts_with('0')))
}

fn ends() -> WireError {
    WireError::new(Code::Unavailable, "this node ends; ask again").retry_after_ms(1_000)
}

/// The form of a segment that a request asks for.
fn represent(segment: &LiveSegment, headers: &HeaderMap, is_old: bool) -> Option<Representation> {
    let scratch = EncodeOnce::default();
    let encoded = if is_old { &scratch } else { &segment.encoded };
    let media_type = cacheable::chosen_type(headers, &[JSON, PROTOBUF]);
    let (media_type, first, letter) =
        if media_type == PROTOBUF { (PROTOBUF, Coding::COUNT, 'p') } else { (JSON, 0, 'j') };
    let coding = Coding::chosen(headers, &Coding::ALL);
    let plain = encoded.get_or_encode(first, || encode(segment, media_type));
    let body = match coding {
        Coding::Identity => plain.clone(),
        // Compressing in memory does not fail; if it does, the next reader is not given an empty body.
        coding => {
            let body =
                encoded.get_or_encode(first + coding as usize, || coding.encode(plain).unwrap_or_default().into());
            Some(body.clone()).filter(|body| !body.is_empty())?
        }
    };
    let tag = format!("{}-{letter}{}", cacheable::digest(plain), coding.name());
    Some(Representation { body, media_type, coding, tag })
}

fn encode(segment: &LiveSegment, media_type: &str) -> Bytes {
    let &LiveSegment { ref room_id, seq, from_ms, to_ms, omitted, prefer_segments, .. } = segment;
    let prefer = prefer_segments.then_some(PREFER_SEGMENTS);
    let said = segment::LiveSegment { room_id, seq, from_ms, to_ms, omitted, prefer };
    let comments = segment.comments.iter().map(|(comment, count)| (&**comment, *count));
    let events = segment.events.iter().map(|shared| (&*shared.event, shared.is_critical_for(None)));
    if media_type == PROTOBUF { said.proto(comments, events).into() } else { said.json(comments, events).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_one_address() {
        assert_eq!([number("0"), number("17")], [Some(0), Some(17)]);
        for text in ["017", "00", "-1", "+1", "1.5", "", "x", "1e9", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}

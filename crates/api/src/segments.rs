//! A session in segments of six minutes, for caches: a manifest, and one address for each content of each segment.
//!
//! The crate `archive` knows what lies where; this module decides how it looks over HTTP. What is under an address never
//! changes, so it may be cached for a year; who has the address of a replaced content is told that it is gone.

use archive::segment;
use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use model::{RoomId, Session, Snowflake, WireError};
use protocol::comment::CommentJson;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::cacheable::{self, Caching, Coding, JSON, PROTOBUF, Representation};
use crate::error::{Answer, Refused, Unknown, unavailable};
use crate::extract::Path;
use crate::signed_prefix::SegmentCaller;
use crate::{App, Services};

/// The media type of the stored form.
const STORED: &str = "application/vnd.barrage.segment.v1";
/// How long caches keep a manifest, in seconds. With what the server keeps, a change is seen within 15 s.
const MANIFEST_AGE_MAX_S: u32 = 5;
const YEAR_S: u32 = 31_536_000;

/// Everything about segments of sessions; with and without a signed prefix.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(manifest)).routes(routes!(read_segment))
}

#[derive(Deserialize)]
struct SessionPlace {
    room_id: RoomId,
    session_id: Snowflake,
}

#[derive(Deserialize)]
struct SegmentPlace {
    room_id: RoomId,
    session_id: Snowflake,
    n: u32,
    revision: String,
}

#[derive(Serialize, ToSchema)]
struct ManifestView {
    session_id: Snowflake,
    /// The session time that one segment covers.
    segment_ms: i64,
    /// Whether the session has ended.
    complete: bool,
    /// By number; empty ones are left out.
    segments: Vec<SegmentEntry>,
}

#[derive(Serialize, ToSchema)]
struct SegmentEntry {
    /// `from_ms` divided by `segment_ms`.
    n: i64,
    from_ms: i64,
    to_ms: i64,
    count: u64,
    /// Where this content is, from the root.
    url: String,
}

/// Lists a session's segments
///
/// A segment has another address as soon as a comment in it is added, deleted or liked; the others keep theirs.
#[utoipa::path(
    get, path = "/rooms/{room_id}/sessions/{session_id}/segments", tag = "replay", operation_id = "list_segments",
    params(("room_id" = RoomId, Path), ("session_id" = Snowflake, Path)),
    security((), ("bearer" = []), ("token" = [])),
    responses(
        (status = 200, description = "The segments, at most some seconds old.", body = ManifestView),
        (status = 304, description = "Not changed since `If-None-Match`."),
        Refused, Unknown,
    ),
)]
async fn manifest(
    State(app): State<App>,
    caller: SegmentCaller,
    Path(at): Path<SessionPlace>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answer {
    let is_public = caller.may_read(&app, &at.room_id).await? && matches!(caller, SegmentCaller::Caller(_));
    let session = find_session(&app, &at.room_id, at.session_id).await?;
    let manifest = app.archive.manifest(&session).await.map_err(|error| unavailable(error.into()))?;
    // Under the same prefix, so that who could read the manifest can read these.
    let entry = |entry: &archive::serving::Entry| SegmentEntry {
        n: entry.n,
        from_ms: entry.from_ms(),
        to_ms: entry.to_ms(),
        count: entry.count,
        url: format!("{}/{}/{}", uri.path().trim_end_matches('/'), entry.n, entry.revision),
    };
    let view = ManifestView {
        session_id: session.id,
        segment_ms: store::archive::SEGMENT_MS,
        complete: session.ended_at_ms.is_some(),
        segments: manifest.entries.iter().map(entry).collect(),
    };
    let plain = serde_json::to_vec(&view).map_err(|_| WireError::unavailable())?;
    let form = encoded(&headers, &plain, JSON, 'j', &cacheable::digest(&plain)).ok_or_else(WireError::unavailable)?;
    Ok(form.answer(&headers, Caching { is_public, max_age_s: MANIFEST_AGE_MAX_S, is_immutable: false }))
}

/// A segment as JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = Segment)]
struct SegmentView<'a> {
    session_id: Snowflake,
    n: i64,
    from_ms: i64,
    to_ms: i64,
    count: usize,
    /// By `offset_ms`.
    comments: Vec<CommentJson<'a>>,
}

/// Reads one content of a segment
///
/// `application/vnd.barrage.segment.v1` is the stored form, whose layout `docs/archive.md` has.
#[utoipa::path(
    get, path = "/rooms/{room_id}/sessions/{session_id}/segments/{n}/{revision}", tag = "replay",
    operation_id = "read_segment",
    params(
        ("room_id" = RoomId, Path), ("session_id" = Snowflake, Path), ("n" = u32, Path),
        ("revision" = String, Path),
    ),
    security((), ("bearer" = []), ("token" = [])),
    responses(
        (status = 200, description = "The segment, in the form that `Accept` asks for; JSON by default.", content(
            (SegmentView = "application/json"),
            (Vec<u8> = "application/vnd.barrage.segment.v1"),
            (Vec<u8> = "application/x-protobuf"),
        )),
        (status = 304, description = "Not changed since `If-None-Match`."),
        Refused, Unknown,
    ),
)]
async fn read_segment(
    State(app): State<App>,
    caller: SegmentCaller,
    Path(at): Path<SegmentPlace>,
    headers: HeaderMap,
) -> Answer {
    let is_public = caller.may_read(&app, &at.room_id).await?;
    let session = find_session(&app, &at.room_id, at.session_id).await?;
    let found = app.archive.revision(&session, at.n.into(), &at.revision).await;
    let found = found.map_err(|error| unavailable(error.into()))?;
    let found = found.ok_or_else(|| WireError::not_found("there is no such segment any more; see the manifest"))?;
    let (asked, revision) = (headers.clone(), at.revision);
    let form = tokio::task::spawn_blocking(move || represent(&asked, &found, &revision)).await;
    let form = form.ok().flatten().ok_or_else(WireError::unavailable)?;
    Ok(form.answer(&headers, Caching { is_public, max_age_s: YEAR_S, is_immutable: true }))
}

async fn find_session(app: &Services, room: &RoomId, session: Snowflake) -> Result<Session, WireError> {
    let session = app.archive.session(room, session).await.map_err(|error| unavailable(error.into()))?;
    session.ok_or_else(|| WireError::not_found("there is no such session in this room"))
}

/// The form of a segment that a request asks for; JSON where it does not care.
fn represent(headers: &HeaderMap, loaded: &archive::Loaded, revision: &str) -> Option<Representation> {
    let segment = &loaded.segment;
    match cacheable::chosen_type(headers, &[JSON, STORED, PROTOBUF]) {
        STORED => {
            // The object's own bytes, or what is in them.
            let coding = Coding::chosen(headers, &[Coding::Brotli]);
            let body = match coding {
                Coding::Brotli => loaded.object.clone(),
                _ => segment::unwrap(&loaded.object).ok()?.into(),
            };
            let tag = format!("{revision}-s{}", coding.name());
            Some(Representation { body, media_type: STORED, coding, tag })
        }
        PROTOBUF => {
            let comments = segment.comments.iter().map(|one| &*one.comment);
            let (from_ms, to_ms) = (segment.from_ms(), segment.to_ms());
            let plain = protocol::proto::segment(segment.session_id, segment.n, from_ms, to_ms, comments);
            encoded(headers, &plain, PROTOBUF, 'p', revision)
        }
        _ => {
            let comments = segment.comments.iter().map(|one| CommentJson(&one.comment, None));
            let view = SegmentView {
                session_id: segment.session_id,
                n: segment.n,
                from_ms: segment.from_ms(),
                to_ms: segment.to_ms(),
                count: segment.comments.len(),
                comments: comments.collect(),
            };
            encoded(headers, &serde_json::to_vec(&view).ok()?, JSON, 'j', revision)
        }
    }
}

/// In the coding that the client likes best.
fn encoded(
    headers: &HeaderMap,
    plain: &[u8],
    media_type: &'static str,
    letter: char,
    content: &str,
) -> Option<Representation> {
    let coding = Coding::chosen(headers, &Coding::ALL);
    let body = coding.encode(plain).ok()?.into();
    Some(Representation { body, media_type, coding, tag: format!("{content}-{letter}{}", coding.name()) })
}

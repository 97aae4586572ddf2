//! The `<d p="…">` list that most tools read, and its six-minute Protobuf segments.

use api::{ApiError, App, Caller};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::WireError;
use recording::ExportFormat;

use super::{COMMENTS_MAX, Wanted, answer, parameter, query, written};

/// The length of a segment.
const SEGMENT_MS: i64 = 360_000;
/// Comments of one segment.
const SEGMENT_COMMENTS_MAX: usize = 6_000;
/// Segments of the longest recording, a week.
const SEGMENTS_MAX: i64 = 7 * 240;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/compat/bilibili/{file}", get(list))
        .route("/compat/bilibili/{room_id}/seg.so", get(read_segment))
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(file): Path<String>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let room = file.strip_suffix(".xml").ok_or_else(|| WireError::not_found("there is nothing under this path"))?;
    let wanted = Wanted::new(room, query(&parts))?;
    let comments = wanted.comments(&app, &caller, (0, i64::MAX), COMMENTS_MAX).await?;
    Ok(answer("text/xml; charset=utf-8", written(ExportFormat::Xml, &comments)?))
}

async fn read_segment(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<String>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let wanted = Wanted::new(&room, query(&parts))?;
    let index = parameter(query(&parts), "segment_index").map_or(Ok(1), |index| index.parse::<i64>());
    let index = index.ok().filter(|index| *index >= 1);
    let index = index.ok_or_else(|| WireError::invalid("segment_index must be a number from 1"))?;
    let comments = if index > SEGMENTS_MAX {
        caller.may_read(&app, &wanted.room).await?;
        Vec::new()
    } else {
        let range = ((index - 1) * SEGMENT_MS, index * SEGMENT_MS);
        wanted.comments(&app, &caller, range, SEGMENT_COMMENTS_MAX).await?
    };
    Ok(answer("application/octet-stream", recording::bilibili_segment(&comments)).into_response())
}

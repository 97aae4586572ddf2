//! DanDanPlay's comment API, version 2: reading, writing, and finding a room by the name of a file.
//!
//! `cid` is a JSON number and `p` has four fields, because its readers count them. Modes: 1 flies, 4 is bottom, 5 top.

use api::{ApiError, App, Caller};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::{Mode, WireError};
use recording::ExportFormat;
use serde_json::{Value, json};

use super::{COMMENTS_MAX, Said, Wanted, answer, author, color, number, offset_ms, parameter, query, style, written};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/compat/dandanplay/api/v2/comment/{episode_id}", get(read).post(write))
        .route("/compat/dandanplay/api/v2/comment/{episode_id}/app", post(write))
        .route("/compat/dandanplay/api/v2/match", post(find))
}

async fn read(
    State(app): State<App>,
    caller: Result<Caller, ApiError>,
    Path(episode): Path<String>,
    parts: Parts,
) -> Response {
    let read = async {
        let caller = caller.map_err(ApiError::into_wire)?;
        let query = query(&parts);
        let wanted = Wanted::new(&episode, query)?;
        let from: u64 = parameter(query, "from").and_then(|id| id.parse().ok()).unwrap_or(0);
        let mut comments = wanted.comments(&app, &caller, (0, i64::MAX), COMMENTS_MAX).await?;
        comments.retain(|comment| comment.id.0 >= from);
        written(ExportFormat::Dandanplay, &comments)
    };
    read.await.map_or_else(|error| refused(&error), |body| answer("application/json", body))
}

async fn write(
    State(app): State<App>,
    caller: Result<Caller, ApiError>,
    Path(episode): Path<String>,
    parts: Parts,
    body: Bytes,
) -> Response {
    let write = async {
        let caller = caller.map_err(ApiError::into_wire)?;
        let body: Value = serde_json::from_slice(&body).map_err(|_| WireError::invalid("the body is not JSON"))?;
        let wanted = Wanted::new(&episode, query(&parts))?;
        let who = author(&app, &caller, None, body["userName"].as_str())?;
        let mode = match number(&body["mode"]) {
            Some(4.0) => Mode::Bottom,
            Some(5.0) => Mode::Top,
            _ => Mode::Scroll,
        };
        let text = body["comment"].as_str().ok_or_else(|| WireError::invalid("comment is missing"))?;
        let style = style(mode, color(&body["color"])?);
        let (offset_ms, address) = (offset_ms(&body["time"])?, caller.address());
        let said = Said { text: text.to_owned(), style, offset_ms, address };
        wanted.say(&app, &who, said).await
    };
    match write.await {
        // A number, as its clients expect; ours beyond 2^53 are rounded by some of them.
        Ok(said) => {
            Json(json!({ "success": true, "errorCode": 0, "errorMessage": "", "cid": said.id.0 })).into_response()
        }
        Err(error) => refused(&error),
    }
}

/// A file that is named as a room matches that room.
async fn find(State(app): State<App>, caller: Result<Caller, ApiError>, body: Bytes) -> Response {
    let find = async {
        let caller = caller.map_err(ApiError::into_wire)?;
        let body: Value = serde_json::from_slice(&body).map_err(|_| WireError::invalid("the body is not JSON"))?;
        let name = body["fileName"].as_str().unwrap_or_default();
        let candidates = [name, name.rsplit_once('.').map_or(name, |(stem, _)| stem)];
        for candidate in candidates {
            let Ok(wanted) = Wanted::new(candidate, None) else { continue };
            if caller.may_read(&app, &wanted.room).await.is_ok() && wanted.session(&app).await?.is_some() {
                return Ok(Some(wanted.room));
            }
        }
        Ok::<_, WireError>(None)
    };
    match find.await {
        Ok(room) => {
            let matches: Vec<Value> = room
                .iter()
                .map(|room| {
                    let id = room.as_str().parse::<u64>().map_or_else(|_| json!(room), |id| json!(id));
                    json!({ "episodeId": id, "animeId": 0, "animeTitle": room, "episodeTitle": room, "type": "other", "shift": 0 })
                })
                .collect();
            let (found, none) = (!matches.is_empty(), "");
            Json(json!({ "isMatched": found, "matches": matches, "success": true, "errorCode": 0, "errorMessage": none }))
                .into_response()
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &WireError) -> Response {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "success": false, "errorCode": status.as_u16(), "errorMessage": error.message });
    (status, Json(body)).into_response()
}

//! DPlayer's API, version 3: `GET` reads `[time, type, color, author, text]`, `POST` writes one.
//!
//! That player inserts author and text as HTML, so both leave escaped. Refusals are answers with a `code` that is not 0.

use api::{ApiError, App, Caller};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::{Mode, WireError};
use recording::ExportFormat;
use serde_json::{Value, json};

use super::{COMMENTS_MAX, Said, Wanted, answer, author, color, number, offset_ms, parameter, query, style, written};

pub(super) fn router() -> Router<App> {
    let both = get(read).post(write);
    Router::new().route("/compat/dplayer/v3/", both.clone()).route("/compat/dplayer/v3", both)
}

async fn read(State(app): State<App>, caller: Result<Caller, ApiError>, parts: Parts) -> Response {
    let read = async {
        let caller = caller.map_err(ApiError::into_wire)?;
        let query = query(&parts);
        let wanted = Wanted::new(&parameter(query, "id").unwrap_or_default(), query)?;
        // The player says `max`, servers read `limit`.
        let most = parameter(query, "max").or_else(|| parameter(query, "limit"));
        let most = most.and_then(|most| most.parse().ok()).unwrap_or(COMMENTS_MAX).min(COMMENTS_MAX);
        let comments = wanted.comments(&app, &caller, (0, i64::MAX), most).await?;
        written(ExportFormat::Dplayer, &comments)
    };
    read.await.map_or_else(|error| refused(&error), |body| answer("application/json", body))
}

async fn write(State(app): State<App>, caller: Result<Caller, ApiError>, parts: Parts, body: Bytes) -> Response {
    let write = async {
        let caller = caller.map_err(ApiError::into_wire)?;
        let body: Value = serde_json::from_slice(&body).map_err(|_| WireError::invalid("the body is not JSON"))?;
        let text = |name: &str| body[name].as_str();
        let room = body["id"].as_str().map(str::to_owned).or_else(|| body["id"].as_u64().map(|id| id.to_string()));
        let wanted = Wanted::new(&room.unwrap_or_default(), query(&parts))?;
        let who = author(&app, &caller, text("token"), text("author"))?;
        let mode = match number(&body["type"]) {
            Some(1.0) => Mode::Top,
            Some(2.0) => Mode::Bottom,
            _ => Mode::Scroll,
        };
        let said = Said {
            text: text("text").ok_or_else(|| WireError::invalid("text is missing"))?.to_owned(),
            style: style(mode, color(&body["color"])?),
            offset_ms: offset_ms(&body["time"])?,
            address: caller.address(),
        };
        wanted.say(&app, &who, said).await
    };
    match write.await {
        Ok(said) => Json(json!({ "code": 0, "data": { "id": said.id, "status": said.status } })).into_response(),
        Err(error) => refused(&error),
    }
}

/// The player shows `msg` of an answer, and nothing of a failed request.
fn refused(error: &WireError) -> Response {
    Json(json!({ "code": error.code.status(), "msg": error.message, "error": error.code.as_str() })).into_response()
}

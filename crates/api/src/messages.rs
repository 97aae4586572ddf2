//! Messages over HTTP: sending, syncing and waiting for the next, read marks, recalls.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use chat::{Draft, SyncRequest, Synced};
use model::{Identity, Snowflake, WireError};
use protocol::chat::{Acknowledged, MessageDraft, Page};
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::comments::Streaming;
use crate::error::Answer;
use crate::extract::{Json as Body, Path, Query};
use crate::{App, Services};

const PAGE_MAX: usize = 500;
/// Bytes of contents in one page.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Longest poll, in seconds.
const WAIT_S_MAX: u64 = 30;

/// Takes a message; 201 says that it is stored. A repeat gets the first answer.
pub(crate) async fn send(State(app): State<App>, caller: Caller, Body(draft): Body<MessageDraft>) -> Answer {
    let MessageDraft { client_msg_id, to, content, msg_type } = draft;
    let sent = app.chat.send(caller.author()?, Draft { client_msg_id, to, content, msg_type }, None).await?;
    Ok((StatusCode::CREATED, Json(Acknowledged::from(&*sent.message))).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Listing {
    since_id: Option<u64>,
    since_change: Option<u64>,
    limit: Option<usize>,
    wait_s: Option<u64>,
}

impl Listing {
    /// It moves no device's cursor: a program that polls keeps its own.
    fn request(&self) -> Result<SyncRequest, WireError> {
        if [self.since_id, self.since_change].into_iter().flatten().any(|n| i64::try_from(n).is_err()) {
            return Err(WireError::invalid(
                "since_id and since_change must be an answer's latest_id and latest_change, or 0",
            ));
        }
        Ok(SyncRequest {
            since_id: self.since_id.map(Snowflake),
            since_change: self.since_change,
            limit: self.limit.map(|limit| limit.clamp(1, PAGE_MAX)),
            device: None,
        })
    }
}

/// What the caller has got and sent after `since_id`, at once or, with `wait_s`, as soon as there is something.
pub(crate) async fn list(State(app): State<App>, caller: Caller, Query(query): Query<Listing>) -> Answer {
    let synced = next_page(&app, caller.author()?, query).await?;
    Ok(Json(Page::from(&synced).within(PAGE_BYTES_MAX)).into_response())
}

async fn next_page(app: &Services, who: &Identity, query: Listing) -> Result<Synced, WireError> {
    let request = query.request()?;
    let wait = Duration::from_secs(query.wait_s.unwrap_or(0).min(WAIT_S_MAX));
    if wait.is_zero() {
        return Ok(app.chat.sync(who, request).await?);
    }
    let mut draining = app.draining.clone();
    let _waiting = Streaming::of(&app.metrics);
    let told_to_end = async { draining.wait_for(|draining| *draining).await.is_ok() };
    tokio::select! {
        biased;
        _ = told_to_end => Ok(app.chat.sync(who, request.clone()).await?),
        page = app.chat.poll(who, request.clone(), wait) => Ok(page?),
    }
}

#[derive(Serialize)]
struct Read {
    unread_count: u32,
}

/// Marks a message as read, and everything before it in its conversation.
pub(crate) async fn read(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    let ack = app.chat.read(caller.author()?, id, None).await?;
    Ok(Json(Read { unread_count: ack.unread_count }).into_response())
}

/// Takes a message back.
pub(crate) async fn recall(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    app.chat.recall(caller.author()?, id).await?;
    Ok(Json(serde_json::json!({})).into_response())
}

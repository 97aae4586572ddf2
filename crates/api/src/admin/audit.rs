//! The audit trail: who did what to what, when.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{RoomId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::AuditEntry;

use super::{By, list_limit};
use crate::App;
use crate::error::Answer;
use crate::extract::Query;

#[derive(Serialize)]
struct EntryView {
    at: String,
    actor: String,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<RoomId>,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<AuditEntry> for EntryView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { at_ms, actor, action, room_id, target, detail } = entry;
        Self { at: rfc3339_ms(at_ms), actor, action, room_id, target, detail }
    }
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    room_id: Option<RoomId>,
    limit: Option<usize>,
}

/// The trail, newest first; with `room_id` that of one room.
pub(crate) async fn list(State(app): State<App>, By(who): By, Query(asked): Query<Asked>) -> Answer {
    #[derive(Serialize)]
    struct Trail {
        entries: Vec<EntryView>,
    }
    let entries = app.ingest.audit_trail(&who, asked.room_id.as_ref(), list_limit(asked.limit)).await?;
    Ok(Json(Trail { entries: entries.into_iter().map(EntryView::from).collect() }).into_response())
}

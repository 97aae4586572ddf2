//! The audit trail: who did what to what, when.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{RoomId, Snowflake, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::{AuditEntry, AuditQuery, RoomScope};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, ListLimit};
use crate::App;
use crate::error::{Answer, Refused};
use crate::extract::Query;
use crate::params::TimeParam;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct EntryView {
    #[schema(format = DateTime)]
    at: String,
    /// A user id, `admin key`, or what decided by itself.
    actor: String,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    room_id: Option<RoomId>,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

impl From<AuditEntry> for EntryView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { at_ms, actor, action, room_id, target, detail } = entry;
        Self { at: rfc3339_ms(at_ms), actor, action, room_id, target, detail }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// Of one room.
    #[param(nullable = false)]
    room_id: Option<RoomId>,
    /// Of one actor: a user id, `admin key`, `rule:links`, `hook`, `classifier`.
    #[param(nullable = false)]
    actor: Option<String>,
    /// Of one action.
    #[param(nullable = false)]
    action: Option<String>,
    /// About this user, comment, room or whatever else the action was done to, by its id.
    #[param(nullable = false)]
    target: Option<String>,
    /// From this moment on.
    #[param(nullable = false, value_type = Option<String>)]
    since: Option<TimeParam>,
    /// Before this moment.
    #[param(nullable = false, value_type = Option<String>)]
    until: Option<TimeParam>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<Snowflake>,
    #[serde(default)]
    #[param(inline)]
    limit: ListLimit,
}

#[derive(Serialize, ToSchema)]
struct AuditTrail {
    entries: Vec<EntryView>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Lists who did what to what, and when
///
/// Of the rooms whose trail the caller may read. Names and details of people who were erased are empty.
#[utoipa::path(
    get, path = "/admin/audit", tag = "moderation", operation_id = "list_audit", security(("bearer" = [])),
    params(AuditParams),
    responses((status = 200, description = "Newest first.", body = AuditTrail), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<AuditParams>) -> Answer {
    let AuditParams { room_id, actor, action, target, since, until, cursor, limit } = query;
    let (since_ms, until_ms) = (since.map(|TimeParam(ms)| ms), until.map(|TimeParam(ms)| ms));
    let (before, limit) = (cursor.map(|Snowflake(line)| line.cast_signed()), limit.get());
    let of = RoomScope::default();
    let query = AuditQuery { actor, action, target, of, since_ms, until_ms, before, limit: limit + 1 };
    let mut entries = app.ingest.audit_trail(&who, room_id.as_ref(), query).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next_cursor = entries.last().filter(|_| more).map(|(line, _)| Snowflake(line.unsigned_abs()));
    let entries = entries.into_iter().map(|(_, entry)| EntryView::from(entry)).collect();
    Ok(Json(AuditTrail { entries, next_cursor }).into_response())
}

//! Bans and mutes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::NewBan;
use model::{RoomId, Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::{Ban, BanKind};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, ListLimit, SomeModerator};
use crate::App;
use crate::error::{Answer, BodyRefused, Refused, Unknown};
use crate::extract::{JsonBody, Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list, impose)).routes(routes!(lift))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Ban)]
struct BanView {
    id: Snowflake,
    user_id: UserId,
    /// Absent: everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    room_id: Option<RoomId>,
    kind: BanKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    /// A user id, or `admin key`.
    created_by: String,
}

impl From<Ban> for BanView {
    fn from(ban: Ban) -> Self {
        Self {
            id: ban.id,
            user_id: ban.user_id,
            room_id: ban.room_id,
            kind: ban.kind,
            reason: ban.reason,
            created_at: rfc3339_ms(ban.at_ms),
            expires_at: rfc3339_ms(ban.until_ms),
            created_by: ban.by,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct BansQuery {
    /// Of one room.
    #[param(nullable = false)]
    room_id: Option<RoomId>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<Snowflake>,
    #[serde(default)]
    #[param(inline)]
    limit: ListLimit,
}

#[derive(Serialize, ToSchema)]
struct BanList {
    bans: Vec<BanView>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Lists bans and mutes in force
///
/// Of the rooms that the caller moderates.
#[utoipa::path(
    get, path = "/admin/bans", tag = "moderation", operation_id = "list_bans", security(("bearer" = [])),
    params(BansQuery),
    responses((status = 200, description = "Newest first.", body = BanList), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<BansQuery>) -> Answer {
    let limit = query.limit.get();
    let mut bans = app.ingest.bans_in_force(&who, query.room_id.as_ref(), query.cursor, limit + 1).await?;
    let more = bans.len() > limit;
    bans.truncate(limit);
    let next_cursor = bans.last().filter(|_| more).map(|ban| ban.id);
    Ok(Json(BanList { bans: bans.into_iter().map(BanView::from).collect(), next_cursor }).into_response())
}

/// Bans or mutes a user, in force at once
#[utoipa::path(
    post, path = "/admin/bans", tag = "moderation", operation_id = "impose_ban", security(("bearer" = [])),
    request_body = NewBan,
    responses((status = 201, description = "In force.", body = BanView), Refused, BodyRefused),
)]
async fn impose(State(app): State<App>, SomeModerator(who): SomeModerator, JsonBody(new): JsonBody<NewBan>) -> Answer {
    let ban = app.ingest.ban(&who, new).await?;
    Ok((StatusCode::CREATED, Json(BanView::from(ban))).into_response())
}

/// Lifts a ban
#[utoipa::path(
    delete, path = "/admin/bans/{id}", tag = "moderation", operation_id = "lift_ban", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 204, description = "Lifted."), Refused, Unknown),
)]
async fn lift(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    app.ingest.lift_ban(&who, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! Roles in rooms.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use ingest::moderation::RoleGiven;
use model::RoomId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, ListLimit, SomeModerator};
use crate::App;
use crate::error::{Answer, BodyRefused, Refused};
use crate::extract::{JsonBody, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list, give))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RolesQuery {
    /// Of one room.
    #[param(nullable = false)]
    room_id: Option<RoomId>,
    /// Rooms, where none is named.
    #[serde(default)]
    #[param(inline)]
    limit: ListLimit,
}

#[derive(Serialize, ToSchema)]
struct RoleList {
    roles: Vec<RoleGiven>,
}

/// Lists the roles given in a room, or in the caller's rooms
#[utoipa::path(
    get, path = "/admin/roles", tag = "moderation", operation_id = "list_roles", security(("bearer" = [])),
    params(RolesQuery),
    responses((status = 200, description = "The roles.", body = RoleList), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<RolesQuery>) -> Answer {
    let roles = match &query.room_id {
        Some(room) => app.ingest.roles(&who, room).await?,
        None => app.ingest.all_roles(&who, query.limit.get()).await?,
    };
    Ok(Json(RoleList { roles }).into_response())
}

/// Gives somebody a role in a room, or takes it
///
/// Its owner and admins do. A token may also name roles, in the claim `roles`; the higher one counts.
#[utoipa::path(
    put, path = "/admin/roles", tag = "moderation", operation_id = "give_role", security(("bearer" = [])),
    request_body = RoleGiven,
    responses((status = 200, description = "Given, or taken.", body = RoleGiven), Refused, BodyRefused),
)]
async fn give(
    State(app): State<App>,
    SomeModerator(who): SomeModerator,
    JsonBody(given): JsonBody<RoleGiven>,
) -> Answer {
    app.ingest.give_role(&who, &given).await?;
    Ok(Json(given).into_response())
}

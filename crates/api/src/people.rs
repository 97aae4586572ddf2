//! Presence, and the users whose direct messages a user blocks.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{Code, UserId, WireError};
use protocol::chat::PresenceJson;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, BodyRefused, Conflict, RateLimited, Refused, Unknown};
use crate::extract::{JsonBody, Path};
use crate::shared::Done;

/// The caller, in a path.
const ME: &str = "me";

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(presence, set_visibility))
        .routes(routes!(block, unblock))
        .routes(routes!(blocks))
}

/// Tells whether a user is online
#[utoipa::path(
    get, path = "/users/{user_id}/presence", tag = "chat", operation_id = "show_presence",
    params(("user_id" = UserId, Path)),
    responses(
        (status = 200, description = "`last_seen` is null when it is unknown or hidden.", body = PresenceJson),
        Refused, Unknown, RateLimited,
    ),
)]
async fn presence(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    let presence = app.chat.presence(caller.author()?, &user).await?;
    Ok(Json(PresenceJson::from(&presence)).into_response())
}

#[derive(Deserialize, ToSchema)]
struct Visibility {
    visible: bool,
}

/// Shows the caller's presence to others, or hides it
///
/// `user_id` is the caller's own, or `me`. Who hides is offline to everybody.
#[utoipa::path(
    put, path = "/users/{user_id}/presence", tag = "chat", operation_id = "set_visibility",
    params(("user_id" = UserId, Path)), request_body = Visibility,
    responses((status = 200, description = "Done.", body = Done), Refused, BodyRefused, RateLimited),
)]
async fn set_visibility(
    State(app): State<App>,
    caller: Caller,
    Path(user): Path<UserId>,
    JsonBody(visibility): JsonBody<Visibility>,
) -> Answer {
    let who = caller.author()?;
    if user.as_str() != ME && user != who.user_id {
        return Err(WireError::new(Code::Forbidden, "this is somebody else's presence").into());
    }
    app.chat.set_visible(who, visibility.visible).await?;
    Ok(Json(Done {}).into_response())
}

/// Blocks a user's direct messages
///
/// At most 1,000 users. Groups are not affected.
#[utoipa::path(
    put, path = "/users/{user_id}/block", tag = "chat", operation_id = "block_user", params(("user_id" = UserId, Path)),
    responses((status = 200, description = "Done.", body = Done), Refused, Conflict, RateLimited),
)]
async fn block(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    app.chat.block(caller.author()?, &user).await?;
    Ok(Json(Done {}).into_response())
}

/// Unblocks a user
#[utoipa::path(
    delete, path = "/users/{user_id}/block", tag = "chat", operation_id = "unblock_user",
    params(("user_id" = UserId, Path)),
    responses((status = 200, description = "Done.", body = Done), Refused, RateLimited),
)]
async fn unblock(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    app.chat.unblock(caller.author()?, &user).await?;
    Ok(Json(Done {}).into_response())
}

#[derive(Serialize, ToSchema)]
struct BlockList {
    /// By id.
    user_ids: Vec<UserId>,
}

/// Lists whom the caller blocks
#[utoipa::path(
    get, path = "/blocks", tag = "chat", operation_id = "list_blocks",
    responses((status = 200, description = "The users.", body = BlockList), Refused),
)]
async fn blocks(State(app): State<App>, caller: Caller) -> Answer {
    let user_ids = app.chat.blocks(caller.author()?).await?;
    Ok(Json(BlockList { user_ids }).into_response())
}

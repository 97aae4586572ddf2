//! Comments over HTTP: sending one, reading what came after another, waiting for the next, liking.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hub::{Page, Room};
use model::{CommentStatus, RoomId, Snowflake, UserId, WireError, rfc3339_ms};
use protocol::comment::CommentJson;
use protocol::message::CommentDraft;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::caller::Caller;
use crate::error::{Answer, BodyRefused, Conflict, RateLimited, Refused, TextRefused, Unknown};
use crate::extract::{JsonBody, Path, Query};
use crate::params::{Limit, SinceId, WaitS, only_users};
use crate::{App, Services};

type PageLimit = Limit<100, 500>;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(like, unlike))
}

#[derive(Serialize, ToSchema)]
struct CommentCreated {
    id: Snowflake,
    status: CommentStatus,
    #[schema(format = DateTime)]
    created_at: String,
}

/// Sends a comment
///
/// The same `client_msg_id` from the same user gets the first answer again, before any limit is counted. With
/// `session_id` and `offset_ms` it is about a recording.
#[utoipa::path(
    post, path = "/rooms/{room_id}/comments", tag = "rooms", operation_id = "create_comment",
    params(("room_id" = RoomId, Path)), request_body = CommentDraft,
    responses(
        (status = 201, description = "Kept, or held for a moderator.", body = CommentCreated),
        Refused, Unknown, Conflict, BodyRefused, TextRefused, RateLimited,
    ),
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    JsonBody(draft): JsonBody<CommentDraft>,
) -> Answer {
    let draft = CommentDraft { address: Some(caller.address()), ..draft };
    let who = caller.author()?;
    if draft.room_id.as_ref().is_some_and(|named| *named != room) {
        return Err(WireError::invalid("room_id is another room than the path's").into());
    }
    let admitted = app.admission.admit(who, &room, draft).await?;
    let created_at = rfc3339_ms(admitted.created_at_ms);
    Ok((StatusCode::CREATED, Json(CommentCreated { id: admitted.id, status: admitted.status, created_at }))
        .into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CommentsQuery {
    /// The last comment that the reader has. Absent: the newest comments.
    #[param(inline, nullable = false)]
    since_id: Option<SinceId>,
    #[serde(default)]
    #[param(inline)]
    limit: PageLimit,
    #[serde(default)]
    #[param(inline)]
    wait_s: WaitS,
    /// These users' comments alone: at most 20 ids, separated by commas. Others' end no waiting; `latest_id` passes them.
    #[param(nullable = false)]
    only_user_ids: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct CommentPage<'a> {
    /// Oldest first.
    comments: Vec<CommentJson<'a>>,
    /// Pass it as the next `since_id`; "0" when nothing was ever published.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    latest_id: Snowflake,
}

/// Lists comments published after another, and waits for the next
///
/// Follows publication order: a comment approved later comes at its approval. Nothing published is skipped by a reader
/// who keeps passing `latest_id`. Where several nodes serve the room, comments of the 5 s before a `since_id` that
/// this node did not give this user come again, beyond the `limit`: drop those whose id was seen already. Repeats alone
/// end no waiting.
#[utoipa::path(
    get, path = "/rooms/{room_id}/comments", tag = "rooms", operation_id = "list_comments",
    params(("room_id" = RoomId, Path), CommentsQuery),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "A page.", body = CommentPage), Refused),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<CommentsQuery>,
) -> Answer {
    caller.may_read(&app, &room).await?;
    let held = app.hub.hold(&room, &caller.opener(&app)).await?;
    let reader = caller.identity().map(|who| who.user_id.clone());
    let only = query.only_user_ids.as_deref().map(only_users).transpose()?;
    app.hub.check_only(only.as_deref())?;
    let moderates = app.ingest.sees_shadows(caller.reader(&app), &room);
    let page = tokio::select! {
        // First, so that nothing is given after a refusal.
        biased;
        refusal = app.ingest.until_refused(caller.reader(&app), Some(&room)) => {
            return Err(WireError::from(refusal).into());
        }
        page = next_page(&app, &held, (reader, moderates), only, query) => page?,
    };
    let comments = page.comments.iter().map(|comment| CommentJson(comment, None)).collect();
    Ok(Json(CommentPage { comments, latest_id: page.latest_id }).into_response())
}

async fn next_page(
    app: &Services,
    room: &Room,
    (reader, moderates): (Option<UserId>, bool),
    only: Option<Vec<UserId>>,
    query: CommentsQuery,
) -> Result<Page, WireError> {
    let deadline = Instant::now() + query.wait_s.duration();
    let mut draining = app.draining.clone();
    let _waiting = app.shares.stream(reader.as_ref())?;
    // Listening starts before the page is read, so that nothing falls between the two.
    let mut changed = room.changed();
    let poll = app.hub.poll(room, query.since_id.map(|SinceId(id)| id.0), reader, only).await?;
    let mut poll = poll.moderating(moderates);
    loop {
        changed.mark_unchanged();
        let page = poll.page(query.limit.get()).await?;
        if page.has_new || *draining.borrow() {
            return Ok(page);
        }
        tokio::select! {
            biased;
            heard = changed.changed() => if heard.is_err() { return Ok(page) },
            () = tokio::time::sleep_until(deadline) => return Ok(page),
            _ = draining.changed() => return Ok(page),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct LikeCount {
    like_count: u64,
}

/// Likes a comment
///
/// Once a user; a second time is `already_liked`.
#[utoipa::path(
    post, path = "/comments/{id}/like", tag = "rooms", operation_id = "like_comment", params(("id" = Snowflake, Path)),
    responses((status = 200, description = "The comment's likes.", body = LikeCount), Refused, Unknown, Conflict, RateLimited),
)]
async fn like(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    let like_count = app.ingest.like(caller.author()?, id).await?;
    Ok(Json(LikeCount { like_count }).into_response())
}

/// Takes a like back
#[utoipa::path(
    delete, path = "/comments/{id}/like", tag = "rooms", operation_id = "unlike_comment",
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "The comment's likes.", body = LikeCount), Refused, Unknown, RateLimited),
)]
async fn unlike(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    let like_count = app.ingest.unlike(caller.author()?, id).await?;
    Ok(Json(LikeCount { like_count }).into_response())
}

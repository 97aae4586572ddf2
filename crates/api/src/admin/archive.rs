//! The archive as an operator sees it: what it holds, whether its objects are whole, and sessions brought back.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use ingest::Moderator;
use model::{Code, RoomId, Snowflake, WireError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AsModerator;
use crate::App;
use crate::error::{Answer, Refused, Unknown, unavailable};
use crate::extract::{Path, Query};

/// How long a call waits for a session to come back; a longer one goes on, and another call waits on.
const WAIT: Duration = Duration::from_secs(20);

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(verify)).routes(routes!(restore))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Those after this session.
    #[param(nullable = false)]
    after: Option<Snowflake>,
}

#[derive(Serialize, ToSchema)]
struct ArchivedSession {
    session_id: Snowflake,
    room_id: RoomId,
    started_at_ms: i64,
    /// Objects.
    segments: usize,
    comments: u64,
    /// Bytes of the objects.
    bytes: u64,
}

#[derive(Serialize, ToSchema)]
struct ArchivedSessions {
    sessions: Vec<ArchivedSession>,
}

/// Only those who may do everything: the archive spans all rooms.
fn operator(who: &Moderator) -> Result<(), WireError> {
    match who {
        Moderator::Key => Ok(()),
        Moderator::Person(person) if person.level == model::Level::Admin => Ok(()),
        Moderator::Person(_) => Err(WireError::new(Code::Forbidden, "the admin key is needed")),
    }
}

/// Lists archived sessions, by id
#[utoipa::path(
    get, path = "/admin/archive", tag = "admin", operation_id = "list_archive",
    params(ListQuery),
    responses((status = 200, description = "At most 200; ask again after the last.", body = ArchivedSessions), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator, Query(query): Query<ListQuery>) -> Answer {
    operator(&who)?;
    let page = app.archive.list(query.after.unwrap_or(Snowflake(0))).await;
    let page = page.map_err(|error| unavailable(error.into()))?;
    let view = |one: ::archive::Listed| ArchivedSession {
        session_id: one.session_id,
        room_id: one.room_id,
        started_at_ms: one.started_at_ms,
        segments: one.segments,
        comments: one.comments,
        bytes: one.bytes,
    };
    Ok(Json(ArchivedSessions { sessions: page.into_iter().map(view).collect() }).into_response())
}

#[derive(Serialize, ToSchema)]
struct BrokenSegment {
    session_id: Snowflake,
    n: i64,
    what: String,
}

#[derive(Serialize, ToSchema)]
struct Verified {
    /// Segments that cannot be used.
    broken: Vec<BrokenSegment>,
}

/// Reads every object of a session and checks it
#[utoipa::path(
    post, path = "/admin/archive/{session_id}/verify", tag = "admin", operation_id = "verify_archive",
    params(("session_id" = Snowflake, Path)),
    responses((status = 200, description = "What was found.", body = Verified), Refused),
)]
async fn verify(State(app): State<App>, AsModerator(who): AsModerator, Path(session): Path<Snowflake>) -> Answer {
    operator(&who)?;
    let found = app.archive.verify(session).await.map_err(|error| unavailable(error.into()))?;
    let view = |one: ::archive::Found| BrokenSegment { session_id: one.session_id, n: one.n, what: one.what };
    Ok(Json(Verified { broken: found.into_iter().map(view).collect() }).into_response())
}

#[derive(Serialize, ToSchema)]
struct Restored {
    /// False: it goes on; call again to wait on.
    done: bool,
}

/// Brings a session back into the database
#[utoipa::path(
    post, path = "/admin/archive/{session_id}/restore", tag = "admin", operation_id = "restore_archive",
    params(("session_id" = Snowflake, Path)),
    responses((status = 200, description = "It is back, or on its way.", body = Restored), Refused, Unknown),
)]
async fn restore(State(app): State<App>, AsModerator(who): AsModerator, Path(session): Path<Snowflake>) -> Answer {
    operator(&who)?;
    let known = app.store.session(session).await.map_err(unavailable)?;
    if known.is_none() {
        return Err(WireError::not_found("there is no such session").into());
    }
    let archive = app.archive.clone();
    // It goes on when the caller has gone: half-way, a session is still whole, but in two places.
    let work = tokio::spawn(async move { archive.restore(session, |_, _| {}).await });
    match tokio::time::timeout(WAIT, work).await {
        Ok(Ok(Ok(_))) => Ok(Json(Restored { done: true }).into_response()),
        Ok(Ok(Err(error))) => Err(unavailable(error.into()).into()),
        Ok(Err(_)) => Err(WireError::unavailable().into()),
        Err(_) => Ok(Json(Restored { done: false }).into_response()),
    }
}

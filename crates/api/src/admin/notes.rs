//! Notes about a person.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::{RoomId, Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::notes::Note;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, ListLimit, SomeModerator};
use crate::App;
use crate::error::{Answer, BodyRefused, Refused, Unknown};
use crate::extract::{JsonBody, Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list, add)).routes(routes!(remove))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Note)]
struct NoteView {
    id: Snowflake,
    /// Whom it is about.
    user_id: UserId,
    /// Absent: the whole deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    room_id: Option<RoomId>,
    text: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// A user id, or `admin key`; empty once that moderator was erased.
    created_by: String,
}

impl From<Note> for NoteView {
    fn from(note: Note) -> Self {
        let Note { id, user_id, room_id, by, at_ms, text } = note;
        Self { id, user_id, room_id, text, created_at: rfc3339_ms(at_ms), created_by: by }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NotesQuery {
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
struct NoteList {
    notes: Vec<NoteView>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Lists the notes of moderators about a person
///
/// Of the rooms whose reviews the caller may read; an admin also reads those of the whole deployment. Nobody reads notes about
/// oneself.
#[utoipa::path(
    get, path = "/admin/users/{user_id}/notes", tag = "moderation", operation_id = "list_notes", security(("bearer" = [])),
    params(("user_id" = UserId, Path), NotesQuery),
    responses((status = 200, description = "Newest first.", body = NoteList), Refused),
)]
async fn list(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path(user): Path<UserId>,
    Query(query): Query<NotesQuery>,
) -> Answer {
    let NotesQuery { room_id, cursor, limit } = query;
    let limit = limit.get();
    let mut notes = app.ingest.notes(&who, &user, room_id.as_ref(), cursor, limit + 1).await?;
    let more = notes.len() > limit;
    notes.truncate(limit);
    let next_cursor = notes.last().filter(|_| more).map(|note| note.id);
    Ok(Json(NoteList { notes: notes.into_iter().map(NoteView::from).collect(), next_cursor }).into_response())
}

#[derive(Deserialize, ToSchema)]
struct NewNote {
    #[schema(min_length = 1, max_length = 500)]
    text: String,
    /// Absent: the whole deployment.
    #[serde(default)]
    room_id: Option<RoomId>,
}

/// Writes a note about a person
///
/// At most 50 about one person in one room, and 50 outside of rooms. The person is not told.
#[utoipa::path(
    post, path = "/admin/users/{user_id}/notes", tag = "moderation", operation_id = "add_note", security(("bearer" = [])),
    params(("user_id" = UserId, Path)), request_body = NewNote,
    responses((status = 201, description = "Written.", body = NoteView), Refused, BodyRefused),
)]
async fn add(
    State(app): State<App>,
    SomeModerator(who): SomeModerator,
    Path(user): Path<UserId>,
    JsonBody(new): JsonBody<NewNote>,
) -> Answer {
    let note = app.ingest.add_note(&who, &user, new.room_id.as_ref(), &new.text).await?;
    Ok((StatusCode::CREATED, Json(NoteView::from(note))).into_response())
}

/// Removes a note
///
/// Its author does, and who stands above the author in its room.
#[utoipa::path(
    delete, path = "/admin/users/{user_id}/notes/{id}", tag = "moderation", operation_id = "remove_note",
    security(("bearer" = [])), params(("user_id" = UserId, Path), ("id" = Snowflake, Path)),
    responses((status = 204, description = "Removed."), Refused, Unknown),
)]
async fn remove(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path((user, id)): Path<(UserId, Snowflake)>,
) -> Answer {
    app.ingest.remove_note(&who, &user, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

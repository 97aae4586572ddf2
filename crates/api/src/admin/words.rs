//! The word lists.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::{DRY_RUN_COMMENTS_MAX, DryRunReport};
use model::{RoomId, WireError};
use serde::{Deserialize, Serialize};
use store::WordList;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use words::Lists;

use super::{AsModerator, GlobalModerator, SomeModerator};
use crate::App;
use crate::error::{Answer, BodyRefused, Refused, Unknown};
use crate::extract::{JsonBody, Path};

/// Comments that a dry run checks when the request does not say.
const DRY_RUN_DEFAULT: usize = 1_000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(show, replace)).routes(routes!(dry_run)).routes(routes!(add, remove))
}

/// Shows the word lists
#[utoipa::path(
    get, path = "/admin/words", tag = "moderation", operation_id = "show_words", security(("bearer" = [])),
    responses((status = 200, description = "All three.", body = Lists), Refused),
)]
async fn show(State(app): State<App>, AsModerator(who): AsModerator) -> Answer {
    app.ingest.authorise(&who, None).await?;
    Ok(Json(app.ingest.filter.lists()).into_response())
}

/// Replaces the word lists, in force at once
///
/// A list that is absent becomes empty.
#[utoipa::path(
    put, path = "/admin/words", tag = "moderation", operation_id = "replace_words", security(("bearer" = [])),
    request_body = Lists,
    responses((status = 200, description = "All three.", body = Lists), Refused, BodyRefused),
)]
async fn replace(
    State(app): State<App>,
    GlobalModerator(who): GlobalModerator,
    JsonBody(lists): JsonBody<Lists>,
) -> Answer {
    app.ingest.set_words(&who, lists).await?;
    Ok(Json(app.ingest.filter.lists()).into_response())
}

#[derive(Serialize, ToSchema)]
struct WordAdded {
    list: WordList,
    word: String,
}

/// Adds a word, in force at once
#[utoipa::path(
    post, path = "/admin/words/{list}/{word}", tag = "moderation", operation_id = "add_word", security(("bearer" = [])),
    params(("list" = WordList, Path), ("word" = String, Path)),
    responses((status = 201, description = "On the list.", body = WordAdded), Refused),
)]
async fn add(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path((list, word)): Path<(WordList, String)>,
) -> Answer {
    app.ingest.add_word(&who, list, &word).await?;
    Ok((StatusCode::CREATED, Json(WordAdded { list, word })).into_response())
}

/// Removes a word, in force at once
#[utoipa::path(
    delete, path = "/admin/words/{list}/{word}", tag = "moderation", operation_id = "remove_word", security(("bearer" = [])),
    params(("list" = WordList, Path), ("word" = String, Path)),
    responses((status = 204, description = "Not on the list any more."), Refused, Unknown),
)]
async fn remove(
    State(app): State<App>,
    AsModerator(who): AsModerator,
    Path((list, word)): Path<(WordList, String)>,
) -> Answer {
    app.ingest.remove_word(&who, list, &word).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize, ToSchema)]
struct TryWords {
    room_id: RoomId,
    lists: Lists,
    /// Comments to check: the room's newest. Absent: 1,000. More than 10,000 means 10,000.
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_u64)]
    limit: Option<usize>,
}

/// Tries word lists on a room's newest comments
///
/// Changes nothing.
#[utoipa::path(
    post, path = "/admin/words/dry-run", tag = "moderation", operation_id = "try_words", security(("bearer" = [])),
    request_body = TryWords,
    responses((status = 200, description = "What they would have done.", body = DryRunReport), Refused, BodyRefused),
)]
async fn dry_run(
    State(app): State<App>,
    SomeModerator(who): SomeModerator,
    JsonBody(body): JsonBody<TryWords>,
) -> Answer {
    let limit = body.limit.unwrap_or(DRY_RUN_DEFAULT).min(DRY_RUN_COMMENTS_MAX);
    if limit == 0 {
        return Err(WireError::invalid("limit must be a whole number from 1").into());
    }
    let report = app.ingest.dry_run_words(&who, &body.room_id, body.lists, limit).await?;
    Ok(Json(report).into_response())
}

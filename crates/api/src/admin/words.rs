//! The word lists.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::DRY_RUN_COMMENTS_MAX;
use model::RoomId;
use serde::{Deserialize, Serialize};
use store::WordList;
use words::Lists;

use super::By;
use crate::App;
use crate::error::Answer;
use crate::extract::{Json as Body, Path};

/// Comments a dry run looks at when nothing is asked for.
const DRY_RUN_DEFAULT: usize = 1_000;

/// All three lists.
pub(crate) async fn show(State(app): State<App>, By(who): By) -> Answer {
    app.ingest.authorise(&who, None).await?;
    Ok(Json(app.ingest.filter.lists()).into_response())
}

/// Replaces all three lists; one that is absent becomes empty.
pub(crate) async fn replace(State(app): State<App>, By(who): By, Body(lists): Body<Lists>) -> Answer {
    app.ingest.set_words(&who, lists).await?;
    Ok(Json(app.ingest.filter.lists()).into_response())
}

/// Adds a word; one that is there stays once.
pub(crate) async fn add(State(app): State<App>, By(who): By, Path((list, word)): Path<(WordList, String)>) -> Answer {
    #[derive(Serialize)]
    struct Added {
        list: WordList,
        word: String,
    }
    app.ingest.add_word(&who, list, &word).await?;
    Ok((StatusCode::CREATED, Json(Added { list, word })).into_response())
}

/// Removes a word.
pub(crate) async fn remove(
    State(app): State<App>,
    By(who): By,
    Path((list, word)): Path<(WordList, String)>,
) -> Answer {
    app.ingest.remove_word(&who, list, &word).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
pub(crate) struct DryRun {
    room_id: RoomId,
    lists: Lists,
    limit: Option<usize>,
}

/// What lists would have done to a room's newest comments; changes nothing.
pub(crate) async fn dry_run(State(app): State<App>, By(who): By, Body(asked): Body<DryRun>) -> Answer {
    let limit = asked.limit.unwrap_or(DRY_RUN_DEFAULT).clamp(1, DRY_RUN_COMMENTS_MAX);
    let trial = app.ingest.try_words(&who, &asked.room_id, asked.lists, limit).await?;
    Ok(Json(trial).into_response())
}

//! Pins, polls and questions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::NewPoll;
use model::{Question, QuestionState, RoomId, Snowflake};
use protocol::message::{pin_fields, poll_fields};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, BodyRefused, Conflict, RateLimited, Refused, TextRefused, Unknown, unavailable};
use crate::extract::{JsonBody, Path, Query};

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(pin, unpin))
        .routes(routes!(list_polls, open_poll))
        .routes(routes!(show_poll))
        .routes(routes!(vote))
        .routes(routes!(close_poll))
        .routes(routes!(list_questions, ask))
        .routes(routes!(upvote))
        .routes(routes!(answer))
}

#[derive(Deserialize, ToSchema)]
struct NewPin {
    comment_id: Snowflake,
    /// Absent: until it is taken off.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    duration_s: Option<u64>,
}

/// Pins a comment
#[utoipa::path(
    put, path = "/admin/rooms/{room_id}/pin", tag = "moderation", operation_id = "pin_comment", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)), request_body = NewPin,
    responses((status = 200, description = "The pin.", body = Object), Refused, Unknown, BodyRefused),
)]
async fn pin(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    JsonBody(new): JsonBody<NewPin>,
) -> Answer {
    let who = caller.moderator(&app)?;
    let pin = app.ingest.pin(&who, &room, new.comment_id, new.duration_s).await?;
    Ok(Json(pin_fields(&pin)).into_response())
}

/// Takes the pin off
#[utoipa::path(
    delete, path = "/admin/rooms/{room_id}/pin", tag = "moderation", operation_id = "unpin_comment", security(("bearer" = [])),
    params(("room_id" = RoomId, Path)),
    responses((status = 204, description = "Nothing is pinned."), Refused),
)]
async fn unpin(State(app): State<App>, caller: Caller, Path(room): Path<RoomId>) -> Answer {
    app.ingest.unpin(&caller.moderator(&app)?, &room).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Opens a poll
#[utoipa::path(
    post, path = "/rooms/{room_id}/polls", tag = "rooms", operation_id = "open_poll",
    params(("room_id" = RoomId, Path)), request_body = NewPoll,
    responses((status = 201, description = "The poll.", body = Object), Refused, BodyRefused, TextRefused),
)]
async fn open_poll(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    JsonBody(new): JsonBody<NewPoll>,
) -> Answer {
    let who = caller.moderator(&app)?;
    let poll = app.ingest.open_poll(&who, &room, &new).await?;
    Ok((StatusCode::CREATED, Json(poll_fields(&poll))).into_response())
}

#[derive(Serialize, ToSchema)]
struct PollList {
    #[schema(value_type = Vec<Object>)]
    polls: Vec<serde_json::Value>,
}

/// Lists the polls that run
#[utoipa::path(
    get, path = "/rooms/{room_id}/polls", tag = "rooms", operation_id = "list_polls", params(("room_id" = RoomId, Path)),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "Oldest first.", body = PollList), Refused),
)]
async fn list_polls(State(app): State<App>, caller: Caller, Path(room): Path<RoomId>) -> Answer {
    caller.may_read(&app, &room).await?;
    let polls = app.ingest.open_polls(&room).await.map_err(unavailable)?;
    Ok(Json(PollList { polls: polls.iter().map(poll_fields).collect() }).into_response())
}

/// Shows a poll
#[utoipa::path(
    get, path = "/rooms/{room_id}/polls/{poll_id}", tag = "rooms", operation_id = "show_poll",
    params(("room_id" = RoomId, Path), ("poll_id" = Snowflake, Path)),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "The poll.", body = Object), Refused, Unknown),
)]
async fn show_poll(State(app): State<App>, caller: Caller, Path((room, poll)): Path<(RoomId, Snowflake)>) -> Answer {
    caller.may_read(&app, &room).await?;
    Ok(Json(poll_fields(&app.ingest.poll(&room, poll).await?)).into_response())
}

#[derive(Deserialize, ToSchema)]
struct Vote {
    /// The number of the option, from 0.
    #[schema(minimum = 0, maximum = 19)]
    option: usize,
}

/// Votes in a poll
///
/// Once a user; a second time is `already_voted`.
#[utoipa::path(
    post, path = "/rooms/{room_id}/polls/{poll_id}/votes", tag = "rooms", operation_id = "vote_in_poll",
    params(("room_id" = RoomId, Path), ("poll_id" = Snowflake, Path)), request_body = Vote,
    responses((status = 200, description = "The poll.", body = Object), Refused, Unknown, Conflict, BodyRefused),
)]
async fn vote(
    State(app): State<App>,
    caller: Caller,
    Path((room, poll)): Path<(RoomId, Snowflake)>,
    JsonBody(vote): JsonBody<Vote>,
) -> Answer {
    let poll = app.ingest.vote(caller.author()?, &room, poll, vote.option).await?;
    Ok(Json(poll_fields(&poll)).into_response())
}

/// Closes a poll before its end
#[utoipa::path(
    post, path = "/rooms/{room_id}/polls/{poll_id}/close", tag = "rooms", operation_id = "close_poll",
    params(("room_id" = RoomId, Path), ("poll_id" = Snowflake, Path)),
    responses((status = 200, description = "The final numbers.", body = Object), Refused, Unknown, Conflict),
)]
async fn close_poll(State(app): State<App>, caller: Caller, Path((room, poll)): Path<(RoomId, Snowflake)>) -> Answer {
    let poll = app.ingest.close_poll(&caller.moderator(&app)?, &room, poll).await?;
    Ok(Json(poll_fields(&poll)).into_response())
}

#[derive(Deserialize, ToSchema)]
struct NewQuestion {
    content: String,
}

/// Asks the house something
///
/// Under the words and rules of comments.
#[utoipa::path(
    post, path = "/rooms/{room_id}/questions", tag = "rooms", operation_id = "ask_question",
    params(("room_id" = RoomId, Path)), request_body = NewQuestion,
    responses((status = 201, description = "The question.", body = Question), Refused, BodyRefused, Conflict, TextRefused, RateLimited),
)]
async fn ask(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    JsonBody(new): JsonBody<NewQuestion>,
) -> Answer {
    let question = app.ingest.ask(caller.author()?, &room, &new.content).await?;
    Ok((StatusCode::CREATED, Json(question)).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct QuestionsQuery {
    /// Absent: `open`.
    #[param(nullable = false)]
    state: Option<QuestionState>,
}

#[derive(Serialize, ToSchema)]
struct QuestionList {
    questions: Vec<Question>,
}

/// Lists questions
#[utoipa::path(
    get, path = "/rooms/{room_id}/questions", tag = "rooms", operation_id = "list_questions",
    params(("room_id" = RoomId, Path), QuestionsQuery),
    security((), ("bearer" = []), ("token" = [])),
    responses((status = 200, description = "Those with most upvotes first.", body = QuestionList), Refused),
)]
async fn list_questions(
    State(app): State<App>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<QuestionsQuery>,
) -> Answer {
    caller.may_read(&app, &room).await?;
    let state = query.state.unwrap_or(QuestionState::Open);
    let questions = app.ingest.questions(&room, state).await.map_err(unavailable)?;
    Ok(Json(QuestionList { questions }).into_response())
}

/// Says that a question is one's own too
///
/// Once a user; a second time is `already_voted`.
#[utoipa::path(
    post, path = "/rooms/{room_id}/questions/{question_id}/upvote", tag = "rooms", operation_id = "upvote_question",
    params(("room_id" = RoomId, Path), ("question_id" = Snowflake, Path)),
    responses((status = 200, description = "The question.", body = Question), Refused, Unknown, Conflict),
)]
async fn upvote(State(app): State<App>, caller: Caller, Path((room, question)): Path<(RoomId, Snowflake)>) -> Answer {
    Ok(Json(app.ingest.upvote(caller.author()?, &room, question).await?).into_response())
}

/// Notes that a question was answered
#[utoipa::path(
    post, path = "/rooms/{room_id}/questions/{question_id}/answer", tag = "rooms", operation_id = "answer_question",
    params(("room_id" = RoomId, Path), ("question_id" = Snowflake, Path)),
    responses((status = 200, description = "The question.", body = Question), Refused, Unknown, Conflict),
)]
async fn answer(State(app): State<App>, caller: Caller, Path((room, question)): Path<(RoomId, Snowflake)>) -> Answer {
    Ok(Json(app.ingest.answer(&caller.moderator(&app)?, &room, question).await?).into_response())
}

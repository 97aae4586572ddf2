//! Messages over HTTP: sending, syncing and waiting for the next, read marks, recalls, edits, reactions, search.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use chat::{SyncRequest, Synced};
use ingest::Reader;
use model::chat::ConversationId;
use model::{Emoji, Identity, Snowflake, WireError};
use protocol::chat::{Acknowledged, EditAck, MessageDraft, MessageJson, Page, ReactAck};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::caller::Caller;
use crate::error::{Answer, BodyRefused, Conflict, RateLimited, Refused, TextRefused, Unknown};
use crate::extract::{JsonBody, Path, Query};
use crate::params::{Limit, SinceId, WaitS};
use crate::shared::Done;
use crate::{App, Services};

/// Bytes of contents in one page.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

type PageLimit = Limit<100, 500>;

pub(crate) fn router(body_bytes_max: usize) -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list, send).layer(DefaultBodyLimit::max(body_bytes_max)))
        .routes(routes!(delete, edit).layer(DefaultBodyLimit::max(body_bytes_max)))
        .routes(routes!(react, unreact))
        .routes(routes!(search))
        .routes(routes!(recall))
        .routes(routes!(read))
}

/// Sends a message
///
/// A repeat of its `client_msg_id` gets the first answer again, and nobody is notified a second time.
#[utoipa::path(
    post, path = "/messages", tag = "chat", operation_id = "send_message", request_body = MessageDraft,
    responses(
        (status = 201, description = "The message is stored.", body = Acknowledged),
        Refused, Unknown, Conflict, BodyRefused, TextRefused, RateLimited,
    ),
)]
async fn send(State(app): State<App>, caller: Caller, JsonBody(draft): JsonBody<MessageDraft>) -> Answer {
    let sent = app.chat.send(caller.author()?, draft, None).await?;
    Ok((StatusCode::CREATED, Json(Acknowledged::from(&*sent.message))).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MessagesQuery {
    /// The last message that the caller has. Absent: the beginning.
    #[param(inline, nullable = false)]
    since_id: Option<SinceId>,
    /// The last change that the caller has. Absent: no changes.
    #[param(inline, nullable = false)]
    since_change: Option<SinceId>,
    #[serde(default)]
    #[param(inline)]
    limit: PageLimit,
    #[serde(default)]
    #[param(inline)]
    wait_s: WaitS,
}

impl MessagesQuery {
    /// It moves no device's cursor: a program that polls keeps its own.
    fn request(&self) -> SyncRequest {
        SyncRequest {
            since_id: self.since_id.map(|SinceId(id)| id),
            since_change: self.since_change.map(|SinceId(change)| change.0),
            limit: Some(self.limit.get()),
            device: None,
        }
    }
}

/// Lists what the caller has got and sent, and waits for the next
///
/// The messages of the last seven days, oldest first, and a page has at most about 1 MiB of them. Nothing is skipped by
/// a caller who keeps passing `latest_id` and `latest_change`. It moves no device's cursor.
#[utoipa::path(
    get, path = "/messages", tag = "chat", operation_id = "list_messages", params(MessagesQuery),
    responses((status = 200, description = "A page.", body = Page), Refused),
)]
async fn list(State(app): State<App>, caller: Caller, Query(query): Query<MessagesQuery>) -> Answer {
    let synced = next_page(&app, caller.author()?, query).await?;
    Ok(Json(Page::from(&synced).within(PAGE_BYTES_MAX)).into_response())
}

async fn next_page(app: &Services, who: &Identity, query: MessagesQuery) -> Result<Synced, WireError> {
    let request = query.request();
    let wait = query.wait_s.duration();
    if wait.is_zero() {
        return Ok(app.chat.sync(who, request).await?);
    }
    let mut draining = app.draining.clone();
    let _waiting = app.shares.stream(Some(&who.user_id))?;
    let server_drains = async { draining.wait_for(|draining| *draining).await.is_ok() };
    tokio::select! {
        // First, so that nothing is given after a refusal.
        biased;
        refusal = app.ingest.until_refused(Reader::User(who), None) => Err(refusal.into()),
        _ = server_drains => Ok(app.chat.sync(who, request.clone()).await?),
        page = app.chat.poll(who, request.clone(), wait) => Ok(page?),
    }
}

#[derive(Serialize, ToSchema)]
struct UnreadCount {
    unread_count: u32,
}

/// Marks a message as read, and all before it in its conversation
///
/// A mark never goes back.
#[utoipa::path(
    post, path = "/messages/{id}/read", tag = "chat", operation_id = "mark_as_read", params(("id" = Snowflake, Path)),
    responses((status = 200, description = "How many are left unread there.", body = UnreadCount), Refused, Unknown, RateLimited),
)]
async fn read(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    let ack = app.chat.mark_as_read(caller.author()?, id, None).await?;
    Ok(Json(UnreadCount { unread_count: ack.unread_count }).into_response())
}

/// Recalls a message
///
/// Its sender may for two minutes, then it is `too_late`; to its recipient it is `forbidden`.
#[utoipa::path(
    post, path = "/messages/{id}/recall", tag = "chat", operation_id = "recall_message",
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "It is recalled, now or already.", body = Done), Refused, Unknown, Conflict, RateLimited),
)]
async fn recall(State(app): State<App>, caller: Caller, Path(id): Path<Snowflake>) -> Answer {
    app.chat.recall(caller.author()?, id).await?;
    Ok(Json(Done {}).into_response())
}

/// Recalls a message
///
/// The same as `POST /messages/{id}/recall`.
#[utoipa::path(
    delete, path = "/messages/{id}", tag = "chat", operation_id = "delete_message", params(("id" = Snowflake, Path)),
    responses((status = 200, description = "It is recalled, now or already.", body = Done), Refused, Unknown, Conflict, RateLimited),
)]
async fn delete(app: State<App>, caller: Caller, id: Path<Snowflake>) -> Answer {
    recall(app, caller, id).await
}

/// The new content of a message.
#[derive(Deserialize, ToSchema)]
struct MessageEdit {
    /// As of a new message: up to 4,000 characters. Of an encrypted message: the new envelope.
    content: String,
}

/// Edits a message
///
/// Its sender may for two minutes, then it is `too_late`; to its recipient it is `forbidden`. What holds for new
/// messages holds for the content. Everybody in the conversation is told, and sees that it was edited.
#[utoipa::path(
    patch, path = "/messages/{id}", tag = "chat", operation_id = "edit_message", params(("id" = Snowflake, Path)),
    request_body = MessageEdit,
    responses(
        (status = 200, description = "It has this content, now or already.", body = EditAck),
        Refused, Unknown, Conflict, BodyRefused, TextRefused, RateLimited,
    ),
)]
async fn edit(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Snowflake>,
    JsonBody(edit): JsonBody<MessageEdit>,
) -> Answer {
    Ok(Json(app.chat.edit(caller.author()?, id, &edit.content).await?).into_response())
}

/// Reacts to a message
///
/// Each person counts once for each emoji; a message may have 20 kinds. Encrypted messages take none.
#[utoipa::path(
    put, path = "/messages/{id}/reactions/{emoji}", tag = "chat", operation_id = "react",
    params(("id" = Snowflake, Path), ("emoji" = Emoji, Path)),
    responses(
        (status = 200, description = "The reaction is there, now or already.", body = ReactAck),
        Refused, Unknown, Conflict, TextRefused, RateLimited,
    ),
)]
async fn react(State(app): State<App>, caller: Caller, Path((id, emoji)): Path<(Snowflake, Emoji)>) -> Answer {
    Ok(Json(app.chat.react(caller.author()?, id, emoji, true).await?).into_response())
}

/// Takes a reaction back
#[utoipa::path(
    delete, path = "/messages/{id}/reactions/{emoji}", tag = "chat", operation_id = "take_reaction_back",
    params(("id" = Snowflake, Path), ("emoji" = Emoji, Path)),
    responses(
        (status = 200, description = "The reaction is gone, now or already.", body = ReactAck),
        Refused, Unknown, Conflict, RateLimited,
    ),
)]
async fn unreact(State(app): State<App>, caller: Caller, Path((id, emoji)): Path<(Snowflake, Emoji)>) -> Answer {
    Ok(Json(app.chat.react(caller.author()?, id, emoji, false).await?).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SearchParams {
    /// Words that the text must have, in any order and case, also inside its own words.
    #[param(min_length = 1, max_length = 100, pattern = "^[^ \\s]+$")]
    q: String,
    /// Absent: all conversations of the caller.
    #[param(nullable = false)]
    conversation_id: Option<ConversationId>,
    #[serde(default)]
    #[param(inline)]
    limit: Limit<20, 100>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<Snowflake>,
}

#[derive(Serialize, ToSchema)]
struct FoundMessages<'a> {
    messages: Vec<MessageJson<'a>>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<Snowflake>,
}

/// Searches the caller's own messages
///
/// Newest first. A page looks at about a thousand messages, so it may be empty and still have a `next_cursor`. Encrypted
/// and recalled messages are not found.
#[utoipa::path(
    get, path = "/messages/search", tag = "chat", operation_id = "search_messages", params(SearchParams),
    responses((status = 200, description = "A page.", body = FoundMessages), Refused, Unknown, RateLimited),
)]
async fn search(State(app): State<App>, caller: Caller, Query(query): Query<SearchParams>) -> Answer {
    let SearchParams { q, conversation_id, limit, cursor } = query;
    let page = app.chat.search(caller.author()?, &q, conversation_id, cursor, Some(limit.get())).await?;
    let messages = page.messages.iter().map(MessageJson).collect();
    Ok(Json(FoundMessages { messages, next_cursor: page.next }).into_response())
}

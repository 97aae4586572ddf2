//! A user's conversations, and each one's past.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::Snowflake;
use model::chat::{ConversationCursor, ConversationId};
use protocol::chat::{ConversationJson, MessageJson};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, Refused, Unknown};
use crate::extract::{Path, Query};
use crate::params::Limit;

type PageLimit = Limit<50, 200>;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(history))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ConversationsQuery {
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    before: Option<ConversationCursor>,
    #[serde(default)]
    #[param(inline)]
    limit: PageLimit,
}

#[derive(Serialize, ToSchema)]
struct ConversationList<'a> {
    conversations: Vec<ConversationJson<'a>>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<ConversationCursor>,
}

/// Lists the caller's conversations
#[utoipa::path(
    get, path = "/conversations", tag = "chat", operation_id = "list_conversations", params(ConversationsQuery),
    responses((status = 200, description = "Newest activity first.", body = ConversationList), Refused),
)]
async fn list(State(app): State<App>, caller: Caller, Query(query): Query<ConversationsQuery>) -> Answer {
    let page = app.chat.conversations(caller.author()?, query.before, Some(query.limit.get())).await?;
    let conversations = page.conversations.iter().map(ConversationJson).collect();
    Ok(Json(ConversationList { conversations, next_cursor: page.next_cursor }).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Absent: the newest.
    #[param(nullable = false)]
    before_id: Option<Snowflake>,
    #[serde(default)]
    #[param(inline)]
    limit: PageLimit,
}

#[derive(Serialize, ToSchema)]
struct HistoryPage<'a> {
    messages: Vec<MessageJson<'a>>,
    more: bool,
}

/// Reads a conversation backwards
#[utoipa::path(
    get, path = "/conversations/{id}/messages", tag = "chat", operation_id = "read_history",
    params(("id" = ConversationId, Path), HistoryQuery),
    responses(
        (status = 200, description = "The newest before `before_id`, oldest of them first.", body = HistoryPage),
        Refused, Unknown,
    ),
)]
async fn history(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ConversationId>,
    Query(query): Query<HistoryQuery>,
) -> Answer {
    let page = app.chat.history(caller.author()?, id, query.before_id, Some(query.limit.get())).await?;
    Ok(Json(HistoryPage { messages: page.messages.iter().map(MessageJson).collect(), more: page.more }).into_response())
}

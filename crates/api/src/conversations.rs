//! A user's conversations, and each one's past.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::Snowflake;
use model::chat::{ConversationCursor, ConversationId};
use protocol::chat::{ConversationJson, MessageJson};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::caller::Caller;
use crate::error::Answer;
use crate::extract::{Path, Query};

const PAGE_MAX: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Listing {
    before: Option<ConversationCursor>,
    limit: Option<usize>,
}

/// The caller's conversations, newest activity first.
pub(crate) async fn list(State(app): State<App>, caller: Caller, Query(query): Query<Listing>) -> Answer {
    #[derive(Serialize)]
    struct Listed<'a> {
        conversations: Vec<ConversationJson<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<ConversationCursor>,
    }
    let limit = query.limit.map(|limit| limit.clamp(1, PAGE_MAX));
    let page = app.chat.conversations(caller.author()?, query.before, limit).await?;
    let conversations = page.conversations.iter().map(ConversationJson).collect();
    Ok(Json(Listed { conversations, next_cursor: page.next_cursor }).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Backwards {
    before_id: Option<Snowflake>,
    limit: Option<usize>,
}

/// The newest messages of a conversation before one of them, oldest first.
pub(crate) async fn history(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ConversationId>,
    Query(query): Query<Backwards>,
) -> Answer {
    #[derive(Serialize)]
    struct Listed<'a> {
        messages: Vec<MessageJson<'a>>,
        more: bool,
    }
    let limit = query.limit.map(|limit| limit.clamp(1, PAGE_MAX));
    let page = app.chat.history(caller.author()?, id, query.before_id, limit).await?;
    Ok(Json(Listed { messages: page.messages.iter().map(MessageJson).collect(), more: page.more }).into_response())
}

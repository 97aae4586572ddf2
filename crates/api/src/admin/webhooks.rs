//! Webhooks out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::DeadLetter;
use ingest::webhooks::Subscription;
use model::{RoomId, Snowflake, rfc3339_ms};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AsModerator, GlobalModerator};
use crate::App;
use crate::error::{Answer, BodyRefused, Refused, Unknown};
use crate::extract::{JsonBody, Path};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(remove))
        .routes(routes!(test))
        .routes(routes!(rotate))
        .routes(routes!(dead_letters))
        .routes(routes!(replay))
}

#[derive(Deserialize, ToSchema)]
struct NewWebhook {
    /// Where to post to.
    #[schema(max_length = 2048)]
    url: String,
    /// Of what; none named is everything: comment, comment_deleted, review, decision, ban, appeal, shield, nuke, room_state,
    /// gift.
    #[serde(default)]
    kinds: Option<Vec<String>>,
    /// Of which rooms; none named is all.
    #[serde(default)]
    room_ids: Option<Vec<RoomId>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
struct WebhookView {
    id: Snowflake,
    url: String,
    kinds: Vec<String>,
    room_ids: Vec<RoomId>,
    #[schema(format = DateTime)]
    created_at: String,
    /// Only when it is made or rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

impl WebhookView {
    fn new(webhook: Subscription, shows_secret: bool) -> Self {
        let Subscription { id, url, kinds, room_ids, secret, created_at_ms, .. } = webhook;
        let secret = shows_secret.then_some(secret);
        Self { id, url, kinds, room_ids, created_at: rfc3339_ms(created_at_ms), secret }
    }
}

#[derive(Serialize, ToSchema)]
struct WebhookList {
    webhooks: Vec<WebhookView>,
}

/// Lists webhooks
#[utoipa::path(
    get, path = "/admin/webhooks", tag = "moderation", operation_id = "list_webhooks", security(("bearer" = [])),
    responses((status = 200, description = "Oldest first.", body = WebhookList), Refused),
)]
async fn list(State(app): State<App>, AsModerator(who): AsModerator) -> Answer {
    let webhooks = app.ingest.webhooks(&who).await?;
    let webhooks = webhooks.into_iter().map(|webhook| WebhookView::new(webhook, false)).collect();
    Ok(Json(WebhookList { webhooks }).into_response())
}

/// Adds a webhook
///
/// Calls carry the headers of Standard Webhooks, signed with the secret of the answer. A service that does not answer with
/// 2xx is called again under the same `webhook-id`.
#[utoipa::path(
    post, path = "/admin/webhooks", tag = "moderation", operation_id = "add_webhook", security(("bearer" = [])),
    request_body = NewWebhook,
    responses((status = 201, description = "Added.", body = WebhookView), Refused, BodyRefused),
)]
async fn create(
    State(app): State<App>,
    GlobalModerator(who): GlobalModerator,
    JsonBody(new): JsonBody<NewWebhook>,
) -> Answer {
    let (kinds, rooms) = (new.kinds.unwrap_or_default(), new.room_ids.unwrap_or_default());
    let webhook = app.ingest.add_webhook(&who, &new.url, kinds, rooms).await?;
    Ok((StatusCode::CREATED, Json(WebhookView::new(webhook, true))).into_response())
}

/// Removes a webhook with its calls
#[utoipa::path(
    delete, path = "/admin/webhooks/{id}", tag = "moderation", operation_id = "remove_webhook", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 204, description = "Removed."), Refused, Unknown),
)]
async fn remove(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    app.ingest.remove_webhook(&who, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize, ToSchema)]
struct TestCall {
    /// The `webhook-id` of the call.
    message_id: String,
}

/// Queues a call of the kind `test`
#[utoipa::path(
    post, path = "/admin/webhooks/{id}/test", tag = "moderation", operation_id = "test_webhook", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "On its way.", body = TestCall), Refused, Unknown),
)]
async fn test(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(TestCall { message_id: app.ingest.test_webhook(&who, id).await? }).into_response())
}

#[derive(Serialize, ToSchema)]
struct NewSecret {
    id: Snowflake,
    secret: String,
}

/// Gives a webhook a new secret
///
/// For a day calls are signed with both.
#[utoipa::path(
    post, path = "/admin/webhooks/{id}/rotate", tag = "moderation", operation_id = "rotate_webhook", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "The new secret.", body = NewSecret), Refused, Unknown),
)]
async fn rotate(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(NewSecret { id, secret: app.ingest.rotate_webhook(&who, id).await? }).into_response())
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
struct DeadLetterView {
    /// The `webhook-id`.
    message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    room_id: Option<RoomId>,
    attempts: u32,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// The body.
    payload: serde_json::Value,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(DeadLetter { room_id, call, .. }: DeadLetter) -> Self {
        let (message_id, attempts, error, payload) = (call.message_id, call.attempts, call.error, call.payload);
        Self { message_id, room_id, attempts, error, payload }
    }
}

#[derive(Serialize, ToSchema)]
struct DeadLetters {
    dead_letters: Vec<DeadLetterView>,
}

/// Lists the calls that were given up
#[utoipa::path(
    get, path = "/admin/webhooks/{id}/dead-letters", tag = "moderation", operation_id = "list_dead_letters",
    security(("bearer" = [])), params(("id" = Snowflake, Path)),
    responses((status = 200, description = "Oldest first.", body = DeadLetters), Refused, Unknown),
)]
async fn dead_letters(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    let letters = app.ingest.dead_letters(&who, id).await?;
    Ok(Json(DeadLetters { dead_letters: letters.into_iter().map(DeadLetterView::from).collect() }).into_response())
}

#[derive(Serialize, ToSchema)]
struct Replayed {
    replayed: usize,
}

/// Queues the calls again that were given up
///
/// Under the `webhook-id` that they had.
#[utoipa::path(
    post, path = "/admin/webhooks/{id}/replay", tag = "moderation", operation_id = "replay_webhook", security(("bearer" = [])),
    params(("id" = Snowflake, Path)),
    responses((status = 200, description = "How many.", body = Replayed), Refused, Unknown),
)]
async fn replay(State(app): State<App>, AsModerator(who): AsModerator, Path(id): Path<Snowflake>) -> Answer {
    Ok(Json(Replayed { replayed: app.ingest.replay_webhook(&who, id).await? }).into_response())
}

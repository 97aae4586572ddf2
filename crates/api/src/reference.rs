//! The API's reference (<https://spec.openapis.org/oas/v3.1.0>), derived from the handlers and their types.
//!
//! [`crate::router`] serves it at `/api/openapi.json`. A route is registered with its description, so none is missing
//! from it; `scripts/test` asks a running server whether what it says is true.

use axum::Router;
use axum::body::Bytes;
use model::chat::{ConversationCursor, ConversationId, GroupId};
use model::{Code, DeviceId, RoomId, Snowflake, UserId};
use store::{ReviewStatus, WordList};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use crate::App;
use crate::error::ErrorBody;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Barrage",
        version = "1",
        description = "Live comments (弹幕, danmaku) and chat over HTTP. PROTOCOL.md describes sockets. Unknown fields \
            and unknown names in the query are ignored; a name in the query without a value counts as absent. On a \
            server started with --dev, `user_id`, `username` and `level` in the query say who calls."
    ),
    // Parameters refer to these; bodies bring their own.
    components(schemas(
        Code, ConversationCursor, ConversationId, DeviceId, ErrorBody, GroupId, ReviewStatus, RoomId, Snowflake,
        UserId, WordList,
    )),
    tags(
        (name = "rooms", description = "Live rooms: comments, likes, rankings."),
        (name = "replay", description = "Sessions that have been recorded."),
        (name = "chat", description = "Private and group chat, presence, uploads, keys of end-to-end encryption."),
        (name = "moderation", description = "For the admin key, and for tokens that may moderate."),
        (name = "service", description = "For operators and programs."),
    ),
    security(("bearer" = []), ("token" = [])),
    modifiers(&SecuritySchemes),
)]
struct Reference;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, reference: &mut utoipa::openapi::OpenApi) {
        let components = reference.components.get_or_insert_default();
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token (JWT), or the admin key."));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        let query = ApiKeyValue::with_description("token", "A token, for clients that cannot set headers.");
        components.add_security_scheme("token", SecurityScheme::ApiKey(ApiKey::Query(query)));
    }
}

/// A router whose routes are added to the reference.
pub(crate) fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Reference::openapi())
}

/// The routes, and the reference as JSON.
pub(crate) fn split(router: OpenApiRouter<App>) -> (Router<App>, Bytes) {
    let (router, reference) = router.split_for_parts();
    let json = reference.to_json().unwrap_or_else(|error| unreachable!("plain data: {error}"));
    (router, Bytes::from(json))
}

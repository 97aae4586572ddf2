//! HTTP: rooms, comments, event streams, replay, chat, administration, health and the pages.
//!
//! Owns no state and no rule: who may do what is `ingest`'s and `chat`'s, what a room shows is `room`'s,
//! what lasts is `store`'s. This crate reads requests, asks them, and writes answers in the one shape the
//! contract gives every error. One file per resource; [`caller`] says who asks, [`error`] how a
//! refusal is written, [`extract`] how requests are read.

#![forbid(unsafe_code)]

mod admin;
mod caller;
mod comments;
mod conversations;
mod dependencies;
mod error;
mod extract;
mod groups;
mod guard;
mod keys;
mod messages;
mod ops;
mod origins;
mod pages;
mod people;
mod replay;
mod rooms;
mod sse;
mod uploads;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use axum::{Router, middleware};
use chat::{Chat, Keys, Uploads};
use ingest::{Admission, Ingest, Tokens};
use model::{Clock, Metrics};
use prometheus_client::registry::Registry;
use room::Hub;
use room::boards::Boards;
use state::Heat;
use store::Store;
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;

pub use dependencies::{Dependencies, SpoolDepth, Standing};
pub use origins::Origins;

/// Longest body of an import, in bytes; larger files come in several calls.
const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the API works with.
#[derive(Clone)]
pub struct Services {
    /// The rules.
    pub ingest: Arc<Ingest>,
    /// Where comments are decided about.
    pub admission: Admission,
    /// The rules of private and group chat.
    pub chat: Arc<Chat>,
    /// The key directory of end-to-end encryption.
    pub keys: Arc<Keys>,
    /// Pictures, videos and files.
    pub uploads: Arc<Uploads>,
    /// The rooms held here.
    pub hub: Arc<Hub>,
    /// Rankings and hot comments.
    pub boards: Arc<Boards>,
    /// Which rooms are hot.
    pub heat: Arc<Heat>,
    /// What lasts.
    pub store: Arc<dyn Store>,
    /// Who somebody is.
    pub tokens: Arc<Tokens>,
    /// What this node leans on.
    pub dependencies: Arc<Dependencies>,
    /// Time on the wire and of tokens.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What is configured.
    pub settings: Arc<ApiSettings>,
    /// Turns true when the server drains: long polls answer, event streams end, `/readyz` says so.
    pub draining: watch::Receiver<bool>,
}

/// What the API can be told by configuration.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// This node's name.
    pub node_id: String,
    /// The program's version.
    pub version: String,
    /// Whether the API and the pages are served, or health and metrics alone.
    pub serves_api: bool,
    /// Identities may come from the query, and the admin API needs no key.
    pub dev: bool,
    /// Rooms that are not private may be read without an identity.
    pub anonymous_read: bool,
    /// Opens the admin API as `Authorization: Bearer`.
    pub admin_key: Option<String>,
    /// Which hosts and origins are served.
    pub origins: Origins,
    /// Longest body of any request but an import, in bytes.
    pub body_bytes_max: usize,
    /// Longest body of a message, in bytes: encrypted ones are longer than anything else that is said.
    pub message_body_bytes_max: usize,
}

/// What every handler is given.
type App = Arc<Services>;

/// The whole HTTP side but `/ws`, ready to serve.
pub fn router(services: Services) -> Router {
    let app = Arc::new(services);
    let origins = app.settings.origins.clone();
    let mut router = Router::new();
    let ApiSettings { serves_api, body_bytes_max, message_body_bytes_max, .. } = *app.settings;
    for (path, methods) in if serves_api { routes(body_bytes_max, message_body_bytes_max) } else { health() } {
        router = router.route(path, methods);
    }
    // The last layer is met first.
    router
        .fallback(error::nothing_here)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(middleware::from_fn(guard::finish_changes))
        .layer(middleware::from_fn(guard::answer_in_time))
        .layer(origins.cors())
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn_with_state(Arc::new(origins), guard::known_site))
        .layer(middleware::from_fn(guard::safe_headers))
        .with_state(app)
}

/// Every path with its methods. `openapi.json` is held against this table by a test.
fn routes(body_bytes_max: usize, message_body_bytes_max: usize) -> Vec<(&'static str, MethodRouter<App>)> {
    let mut routes = health();
    routes.extend(pages());
    routes.extend(live_rooms());
    routes.extend(private_chat());
    routes.extend(administration());
    let small = DefaultBodyLimit::max(body_bytes_max);
    let mut routes: Vec<_> = routes.into_iter().map(|(path, methods)| (path, methods.layer(small))).collect();
    let import = post(admin::import::import).layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX));
    routes.push(("/api/v1/admin/rooms/{room_id}/import", import));
    let send = post(messages::send).layer(DefaultBodyLimit::max(message_body_bytes_max));
    routes.push(("/api/v1/messages", send.get(messages::list)));
    routes
}

fn health() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![("/healthz", get(ops::healthz)), ("/readyz", get(ops::readyz)), ("/metrics", get(ops::metrics))]
}

fn pages() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/", get(pages::rooms)),
        ("/rooms/{room_id}", get(pages::room)),
        ("/admin", get(pages::admin)),
        ("/chat", get(pages::chat)),
        ("/assets/{*path}", get(pages::asset)),
        ("/api/openapi.json", get(ops::openapi)),
    ]
}

fn live_rooms() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/api/v1/server", get(ops::server)),
        ("/api/v1/rooms", get(rooms::list)),
        ("/api/v1/rooms/{room_id}", get(rooms::show)),
        ("/api/v1/rooms/{room_id}/comments", get(comments::list).post(comments::create)),
        ("/api/v1/rooms/{room_id}/events", get(sse::events)),
        ("/api/v1/rooms/{room_id}/hot", get(rooms::hot)),
        ("/api/v1/rooms/{room_id}/ranking", get(rooms::ranking)),
        ("/api/v1/rooms/{room_id}/sessions", get(replay::sessions)),
        ("/api/v1/rooms/{room_id}/replay", get(replay::replay)),
        ("/api/v1/comments/{id}/like", post(comments::like).delete(comments::unlike)),
    ]
}

fn private_chat() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/api/v1/messages/{id}", delete(messages::recall)),
        ("/api/v1/messages/{id}/recall", post(messages::recall)),
        ("/api/v1/messages/{id}/read", post(messages::read)),
        ("/api/v1/conversations", get(conversations::list)),
        ("/api/v1/conversations/{id}/messages", get(conversations::history)),
        ("/api/v1/groups", post(groups::create)),
        ("/api/v1/groups/{id}", get(groups::show).patch(groups::rename).delete(groups::close)),
        ("/api/v1/groups/{id}/members", get(groups::members).post(groups::add)),
        ("/api/v1/groups/{id}/members/{user_id}", patch(groups::set_role).delete(groups::remove)),
        ("/api/v1/users/{user_id}/presence", get(people::presence).put(people::show_presence)),
        ("/api/v1/users/{user_id}/block", put(people::block).delete(people::unblock)),
        ("/api/v1/blocks", get(people::blocks)),
        ("/api/v1/uploads", post(uploads::announce)),
        ("/api/v1/uploads/{upload_id}", get(uploads::show)),
        ("/api/v1/uploads/{upload_id}/content", get(uploads::read).put(uploads::take)),
        ("/api/v1/keys/{device_id}", put(keys::publish).delete(keys::remove)),
        ("/api/v1/users/{user_id}/keys", get(keys::devices)),
        ("/api/v1/users/{user_id}/keys/claim", post(keys::claim)),
    ]
}

fn administration() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/api/v1/admin/rooms/{room_id}", get(admin::rooms::show).put(admin::rooms::save)),
        ("/api/v1/admin/rooms/{room_id}/open", post(admin::rooms::open)),
        ("/api/v1/admin/rooms/{room_id}/close", post(admin::rooms::close)),
        ("/api/v1/admin/rooms/{room_id}/announcements", post(admin::events::announce)),
        ("/api/v1/admin/rooms/{room_id}/events", post(admin::events::show)),
        ("/api/v1/admin/rooms/{room_id}/gifts", post(admin::events::give)),
        ("/api/v1/admin/reviews", get(admin::reviews::list)),
        ("/api/v1/admin/reviews/{id}/approve", post(admin::reviews::approve)),
        ("/api/v1/admin/reviews/{id}/reject", post(admin::reviews::reject)),
        ("/api/v1/admin/words", get(admin::words::show).put(admin::words::replace)),
        ("/api/v1/admin/words/dry-run", post(admin::words::dry_run)),
        ("/api/v1/admin/words/{list}/{word}", post(admin::words::add).delete(admin::words::remove)),
        ("/api/v1/admin/bans", get(admin::bans::list).post(admin::bans::impose)),
        ("/api/v1/admin/bans/{id}", delete(admin::bans::lift)),
        ("/api/v1/admin/comments/{id}", delete(admin::comments::remove)),
        ("/api/v1/admin/tokens/revoke", post(admin::tokens::revoke)),
        ("/api/v1/admin/audit", get(admin::audit::list)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn the_reference_names_exactly_the_paths_that_exist() {
        let reference: serde_json::Value = serde_json::from_str(crate::ops::OPENAPI).expect("JSON");
        let told: BTreeSet<&str> = reference["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
        let routes = super::routes(1, 1);
        let served: BTreeSet<&str> = routes.iter().map(|(path, _)| *path).filter(|path| !is_page(path)).collect();
        assert_eq!(told, served);
    }

    fn is_page(path: &str) -> bool {
        matches!(path, "/" | "/rooms/{room_id}" | "/admin" | "/chat" | "/assets/{*path}" | "/api/openapi.json")
    }
}

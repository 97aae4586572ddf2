//! The HTTP side of a node: rooms, comments, event streams, replay, chat, moderation, health and the pages.
//!
//! `server` builds [`Services`] and serves [`router`]. One file per resource, each with its own router; [`caller`] says
//! who asks, [`extract`] reads requests, [`error`] writes refusals, [`reference`] describes it all. This crate holds no
//! state and decides nothing: `ingest` and `chat` have the rules, `hub` what a room shows, `store` what is kept.

#![forbid(unsafe_code)]

mod address;
mod admin;
mod admin_key;
mod cacheable;
mod caller;
mod comments;
mod conversations;
mod dependencies;
mod error;
mod extract;
mod groups;
mod guard;
mod interactions;
mod keys;
mod live;
mod messages;
mod ops;
mod origins;
mod pages;
mod params;
mod people;
mod ranking_bodies;
mod reference;
mod replay;
mod rooms;
mod segments;
mod shared;
mod shares;
mod signed_prefix;
mod sse;
mod uploads;

use std::sync::Arc;

use archive::Archive;
use axum::extract::DefaultBodyLimit;
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::routing::get;
use axum::{Router, middleware};
use chat::{Chat, Keys, Uploads};
use hub::Hub;
use ingest::{Admission, Ingest};
use model::{Clock, Metrics};
use prometheus_client::registry::Registry;
use state::{Addresses, HotRooms};
use store::Store;
use tokio::sync::{Notify, watch};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};
use utoipa_axum::router::OpenApiRouter;
use worker::leaderboards::Leaderboards;

pub use admin::delete_comment;
pub use admin_key::AdminKey;
pub use caller::Caller;
pub use dependencies::{Dependencies, Readiness, SpoolDepth};
pub use error::ApiError;
pub use ops::WebTransportInfo;
pub use origins::{InvalidOrigin, Origins};
pub use pages::EmbeddedPages;
pub use replay::add_shadows;
pub use shares::ReaderShares;
pub use signed_prefix::SegmentSigner;

/// What the handlers work with.
#[derive(Clone)]
pub struct Services {
    /// The rules.
    pub ingest: Arc<Ingest>,
    /// Decides about comments, here or on another node.
    pub admission: Admission,
    /// The rules of private and group chat.
    pub chat: Arc<Chat>,
    /// The key directory of end-to-end encryption.
    pub keys: Arc<Keys>,
    /// Pictures, videos and files.
    pub uploads: Arc<Uploads>,
    /// Which address a client has, and its limits.
    pub addresses: Arc<Addresses>,
    /// What one reader may use.
    pub shares: Arc<ReaderShares>,
    /// The rooms held here.
    pub hub: Arc<Hub>,
    /// Rankings and hot comments.
    pub boards: Arc<Leaderboards>,
    /// Which rooms are hot.
    pub heat: Arc<HotRooms>,
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// Past sessions.
    pub archive: Arc<Archive>,
    /// What this node depends on.
    pub dependencies: Arc<Dependencies>,
    /// Time on the wire and of tokens.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// The configuration.
    pub settings: Arc<ApiSettings>,
    /// Turns true when the server drains: long polls answer, event streams end, `/readyz` says so.
    pub draining: watch::Receiver<bool>,
    /// Notified to end this node as SIGTERM does.
    pub shutdown: Arc<Notify>,
}

/// The configuration of the HTTP side.
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
    /// Opens the admin API as `Authorization: Bearer`.
    pub admin_key: Option<Arc<AdminKey>>,
    /// Which hosts and origins are served.
    pub origins: Origins,
    /// How WebTransport is reached, where it is accepted.
    pub webtransport: Option<WebTransportInfo>,
    /// Pages for other sites and for streaming programs.
    pub embedded_pages: EmbeddedPages,
    /// Longest body of any request but an import, in bytes.
    pub body_bytes_max: usize,
    /// Longest body of a message, in bytes; encrypted ones are the longest.
    pub message_body_bytes_max: usize,
    /// Signs the prefixes that open segments.
    pub segment_signer: SegmentSigner,
}

/// The state of every handler.
pub type App = Arc<Services>;

/// Every HTTP route but `/ws`, ready to serve.
pub fn router(services: Services) -> Router {
    router_with(Arc::new(services), |routes| routes)
}

/// As [`router`], with more routes under the same guards; a process that does not serve the API has none of them.
pub fn router_with(app: App, more: impl FnOnce(Router<App>) -> Router<App>) -> Router {
    let (origins, metrics) = (app.settings.origins.clone(), app.metrics.clone());
    // The last layer is met first.
    routes(&app.settings, more)
        .fallback(error::fallback)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(middleware::from_fn(guard::finish_changes))
        .layer(middleware::from_fn(guard::answer_in_time))
        .layer(middleware::from_fn_with_state(app.clone(), address::count))
        .layer(origins.cors())
        .layer(CompressionLayer::new().compress_when(compressible()))
        .layer(middleware::from_fn(cacheable::share))
        .layer(middleware::from_fn_with_state(Arc::new(origins), guard::known_site))
        .layer(middleware::from_fn_with_state(metrics, guard::surround))
        .with_state(app)
}

/// What the compression layer compresses: what is large enough, and not finished already.
fn compressible() -> impl Predicate {
    let is_unfinished =
        |_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions| !cacheable::is_encoded(extensions);
    DefaultPredicate::new().and(is_unfinished)
}

fn routes(settings: &ApiSettings, more: impl FnOnce(Router<App>) -> Router<App>) -> Router<App> {
    if !settings.serves_api {
        return ops::health_router().into();
    }
    let described = reference::described().merge(ops::health_router()).nest("/api/v1", api(settings));
    let (router, reference) = reference::split(described);
    // Answers are made for one reader, and compressed as cheaply as can be: pages, for many, are by the outer layer.
    let router = router.layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(compressible()));
    let reference = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], reference) });
    let signed = Router::new().nest("/s/{signature}/api/v1", segments().into());
    more(router.route("/api/openapi.json", reference).merge(signed).merge(pages::router(settings.embedded_pages)))
        .layer(DefaultBodyLimit::max(settings.body_bytes_max))
}

/// What a signed prefix opens.
fn segments() -> OpenApiRouter<App> {
    live::router().merge(segments::router())
}

fn api(settings: &ApiSettings) -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .merge(ops::router())
        .merge(rooms::router())
        .merge(segments())
        .merge(comments::router())
        .merge(sse::router())
        .merge(replay::router())
        .merge(interactions::router())
        .merge(messages::router(settings.message_body_bytes_max))
        .merge(conversations::router())
        .merge(groups::router())
        .merge(people::router())
        .merge(uploads::router())
        .merge(keys::router())
        .merge(admin::router())
}

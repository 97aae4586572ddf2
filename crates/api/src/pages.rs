//! The pages, built into the binary: rooms, viewer, messenger, console, what other sites embed, and their assets.
//!
//! Served to browsers; the pages ask the API for everything else. Never inserts anything into a page.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;

use crate::App;
use crate::error::no_such_path;

/// The built bundle. It is checked in, so that building the server needs no Node.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Bundle;

/// The name of an asset carries a hash of its content, so it never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// A page names the assets of one version: the browser asks each time whether there is a newer page.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// What a page's scripts may fetch: this server.
const OWN: &str = "'self' ws: wss:";
/// The viewer's also fetch the playlists and segments of HLS, from whatever origin a room's owner names; `media-src` does
/// not cover what a script fetches.
const OWN_AND_MEDIA: &str = "'self' ws: wss: https:";

/// Only our own scripts and WebAssembly run; a room's video and pictures may come from anywhere.
fn policy(connect: &str, ancestors: &str) -> String {
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
         style-src 'self' 'unsafe-inline'; media-src * blob: data:; img-src 'self' data: blob: https:; \
         connect-src {connect}; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
    )
}

/// Which of the pages for other sites are served.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedPages {
    /// `/embed.js` and `/embed/{room_id}`.
    pub embed: bool,
    /// `/overlay/{room_id}`, and `/overlay`, which builds its address.
    pub overlay: bool,
}

pub(crate) fn router(embedded: EmbeddedPages) -> Router<App> {
    let mut router = Router::new()
        .route("/", get(rooms))
        .route("/rooms/{room_id}", get(room))
        .route("/admin", get(admin))
        .route("/chat", get(chat))
        .route("/chat-worker.js", get(chat_worker))
        .route("/assets/{*path}", get(asset));
    if embedded.embed {
        router = router.route("/embed.js", get(embed_script)).route("/embed/{room_id}", get(embed));
    }
    if embedded.overlay {
        router = router.route("/overlay", get(overlay)).route("/overlay/{room_id}", get(overlay));
    }
    router
}

async fn rooms(headers: HeaderMap) -> Response {
    page("index.html", &headers).await
}

/// The viewer reads the room's id from its own address.
async fn room(headers: HeaderMap) -> Response {
    page_with("room.html", &headers, &policy(OWN_AND_MEDIA, "'none'")).await
}

async fn admin(headers: HeaderMap) -> Response {
    page("admin.html", &headers).await
}

async fn chat(headers: HeaderMap) -> Response {
    page("chat.html", &headers).await
}

/// The messenger's service worker, which opens it without the network. It lies here because a worker may serve no page above
/// its own path.
async fn chat_worker(headers: HeaderMap) -> Response {
    file("chat-worker.js", REVALIDATE, &headers).await
}

/// The module of the sites that embed a room. Its name stays, so its content may change.
async fn embed_script(headers: HeaderMap) -> Response {
    file("embed.js", REVALIDATE, &headers).await
}

async fn embed(State(app): State<App>, headers: HeaderMap) -> Response {
    page_with("embed.html", &headers, &policy(OWN, &app.settings.origins.frame_ancestors())).await
}

/// What a streaming program shows; with `?builder` the form that makes its address, and shows it in a frame.
async fn overlay(headers: HeaderMap) -> Response {
    page_with("overlay.html", &headers, &policy(OWN, "'self'")).await
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{path}"), FOREVER, &headers).await
}

async fn page(name: &str, headers: &HeaderMap) -> Response {
    page_with(name, headers, &policy(OWN, "'none'")).await
}

async fn page_with(name: &str, headers: &HeaderMap, policy: &str) -> Response {
    let mut response = file(name, REVALIDATE, headers).await;
    if let Ok(policy) = HeaderValue::from_str(policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn file(name: &str, cache: HeaderValue, headers: &HeaderMap) -> Response {
    let Some(file) = Bundle::get(name) else { return no_such_path().await.into_response() };
    let etag = etag(&file.metadata.sha256_hash());
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|sent| sent.as_bytes() == etag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = HeaderValue::from_str(file.metadata.mimetype());
        let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
        ([(header::CONTENT_TYPE, kind)], Body::from(file.data)).into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// Weak, because what is sent may be compressed: `W/"…"` of the first 16 bytes of the hash.
fn etag(hash: &[u8; 32]) -> String {
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_viewer_may_fetch_from_other_origins() {
        for (name, fetches_media) in [("room", true), ("index", false), ("chat", false), ("admin", false)] {
            let headers = HeaderMap::new();
            let response = match name {
                "room" => room(headers).await,
                "chat" => chat(headers).await,
                "admin" => admin(headers).await,
                _ => rooms(headers).await,
            };
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
            let connect = policy.split("; ").find(|part| part.starts_with("connect-src")).expect("a part");
            assert_eq!(connect.ends_with(" https:"), fetches_media, "{name}: {connect}");
        }
    }
}

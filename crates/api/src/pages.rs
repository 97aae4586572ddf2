//! The pages, built into the binary: rooms, viewer, console, and what they load.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::error::no_such_path;

/// The built bundle. It is checked in, so that building the server needs no Node.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Bundle;

/// Names of assets carry a hash of what is in them, so they never change.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Pages name the assets of one version: ask each time whether there is a newer one.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");
/// Scripts are ours alone, and so is the WebAssembly of end-to-end encryption; pictures and videos may come from anywhere a room's owner says.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; \
     media-src * blob: data:; img-src 'self' data: blob: https:; connect-src 'self' ws: wss:; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
/// `/`: the rooms.
pub(crate) async fn rooms(headers: HeaderMap) -> Response {
    page("index.html", &headers).await
}

/// `/rooms/{room_id}`: the viewer. It reads the room's id from its own address.
pub(crate) async fn room(headers: HeaderMap) -> Response {
    page("room.html", &headers).await
}

/// `/admin`: the console.
pub(crate) async fn admin(headers: HeaderMap) -> Response {
    page("admin.html", &headers).await
}

/// `/chat`: the messenger.
pub(crate) async fn chat(headers: HeaderMap) -> Response {
    page("chat.html", &headers).await
}

/// What the pages load.
pub(crate) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{path}"), FOREVER, &headers).await
}

async fn page(name: &str, headers: &HeaderMap) -> Response {
    let mut response = file(name, ASK, headers).await;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
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

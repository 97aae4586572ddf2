//! For operators and programs: health, readiness, metrics, what this server is, and its reference.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use model::WireError;
use serde_json::json;

use crate::App;
use crate::error::Answer;

/// The reference of this API (<https://spec.openapis.org/oas/v3.1.0>).
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");
/// The content type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process is alive; says nothing of what it depends on.
pub(crate) async fn healthz() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

/// Whether to send traffic here: each dependency with its state. A node that serves in a lesser way is ready.
pub(crate) async fn readyz(State(app): State<App>) -> impl IntoResponse {
    let standing = app.dependencies.look().await;
    let draining = *app.draining.borrow();
    let status = if draining { "draining" } else { standing.status() };
    let ready = standing.can_serve && !draining;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": status,
        "degraded": standing.is_degraded(),
        "shape": standing.shape,
        "node_id": app.settings.node_id,
        "dependencies": standing.to_json(),
    });
    (code, Json(body))
}

/// Every metric as text.
pub(crate) async fn metrics(State(app): State<App>) -> Answer {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &app.registry).map_err(|_| WireError::unavailable())?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

/// What kind of server this is; asked by the pages before anything else.
pub(crate) async fn server(State(app): State<App>) -> impl IntoResponse {
    let settings = &app.settings;
    Json(json!({
        "dev": settings.dev,
        "anonymous_read": settings.anonymous_read,
        "version": settings.version,
        "node_id": settings.node_id,
    }))
}

/// The reference.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

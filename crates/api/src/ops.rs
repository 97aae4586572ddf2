//! Health, readiness, metrics, and what kind of server this is: for operators, load balancers and the pages.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use model::WireError;
use model::code::PREFER_SEGMENTS;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::dependencies::DependencyState;
use crate::error::{Answer, ErrorBody};

/// The content type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus's older text format.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes of every node, whatever its roles.
pub(crate) fn health_router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(server))
}

#[derive(Serialize, ToSchema)]
struct Alive {
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// Says that the process is alive
///
/// It asks no dependency.
#[utoipa::path(
    get, path = "/healthz", tag = "service", operation_id = "healthz", security(()),
    responses((status = 200, description = "Alive.", body = Alive)),
)]
async fn healthz() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

#[derive(Serialize, ToSchema)]
struct Readiness<'a> {
    #[schema(pattern = "^(ready|degraded|draining|unavailable)$")]
    status: &'static str,
    /// Some dependency is away, or records wait in the spool: everything is served, some of it in a lesser way.
    degraded: bool,
    shape: &'static str,
    node_id: &'a str,
    dependencies: BTreeMap<&'static str, DependencyState>,
}

/// Says whether to send traffic here
///
/// Names each dependency and its state. A degraded node is ready.
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "readyz", security(()),
    responses(
        (status = 200, description = "Ready, or degraded.", body = Readiness),
        (status = 503, description = "Draining, or a dependency is away without which the node cannot serve.", body = Readiness),
    ),
)]
async fn readyz(State(app): State<App>) -> impl IntoResponse {
    let readiness = app.dependencies.check().await;
    let draining = *app.draining.borrow();
    let status = if draining { "draining" } else { readiness.status() };
    let ready = readiness.can_serve && !draining;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = Readiness {
        status,
        degraded: readiness.is_degraded(),
        shape: readiness.shape,
        node_id: &app.settings.node_id,
        dependencies: readiness.states(),
    };
    (code, Json(readiness)).into_response()
}

/// Shows every metric
///
/// Asked for as `application/openmetrics-text`, the histogram of the time to sockets names traces as exemplars. Asked for as
/// `text/plain`, it is the older format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "metrics", security(()),
    responses(
        (status = 200, description = "The OpenMetrics text format.", body = String, content_type = "application/openmetrics-text"),
        (status = 503, description = "`unavailable`", body = ErrorBody),
    ),
)]
async fn metrics(State(app): State<App>, headers: HeaderMap) -> Answer {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &app.registry).map_err(|_| WireError::unavailable())?;
    let accepts = |kind: &str| {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accepted.flat_map(|value| value.split(',')).any(|one| {
            let mut parts = one.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(kind)) && !parts.any(|part| part == "q=0")
        })
    };
    let (content_type, text) = if accepts("application/openmetrics-text") {
        (OPENMETRICS, text)
    } else if accepts("text/plain") {
        (PLAIN, plain(&text))
    } else {
        (OPENMETRICS, text.lines().flat_map(|line| [without_exemplar(line), "\n"]).collect())
    };
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

/// A sample without what only a reader of OpenMetrics expects behind it.
fn without_exemplar(line: &str) -> &str {
    line.split_once(" # {trace_id=").map_or(line, |(sample, _)| sample)
}

/// The older text format: there the type of a counter carries the name of its samples, and units and the end are not said.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT"), ..) | (Some("#"), Some("EOF"), ..) => continue,
            (Some("#"), Some("TYPE"), Some(name), Some("counter")) => {
                plain.extend(["# TYPE ", name, "_total counter"]);
            }
            _ => plain.push_str(without_exemplar(line)),
        }
        plain.push('\n');
    }
    plain
}

#[derive(Serialize, ToSchema)]
struct ServerInfo<'a> {
    dev: bool,
    anonymous_read: bool,
    version: &'a str,
    node_id: &'a str,
    /// Present where WebTransport is accepted at `/wt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    webtransport: Option<&'a WebTransportInfo>,
    /// `segments` while this node would rather have viewers read live segments than hold sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    prefer: Option<&'static str>,
}

/// How this server is reached over WebTransport.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WebTransportInfo {
    /// The UDP port, where it is not the port of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub port: Option<u16>,
    /// The SHA-256 of a certificate made for this run, in hexadecimal: for `serverCertificateHashes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub certificate_hash: Option<String>,
}

/// Says what kind of server this is
///
/// The pages ask it first.
#[utoipa::path(
    get, path = "/server", tag = "service", operation_id = "show_server", security(()),
    responses((status = 200, description = "This server.", body = ServerInfo)),
)]
async fn server(State(app): State<App>) -> impl IntoResponse {
    let settings = &app.settings;
    let info = ServerInfo {
        dev: settings.dev,
        anonymous_read: app.ingest.anonymous_read,
        version: &settings.version,
        node_id: &settings.node_id,
        webtransport: settings.webtransport.as_ref(),
        prefer: app.hub.prefers_segments().then_some(PREFER_SEGMENTS),
    };
    Json(info).into_response()
}

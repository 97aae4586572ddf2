//! A collector of traces: a web service that takes OTLP over HTTP and keeps what it is posted.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use testkit::eventually;

/// Clones share what was posted.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    /// Starts it. Returns the base of its URL, as `telemetry.otlp_url` wants it.
    pub async fn start() -> (Self, String) {
        let collector = Self::default();
        let keeping = collector.clone();
        let take = async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
            keeping.0.lock().unwrap().push(request);
            StatusCode::OK
        };
        let app = Router::new().route("/base/v1/traces", post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (collector, url)
    }

    /// Everything that was posted.
    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.0.lock().unwrap().clone()
    }

    /// All spans with the node that sent them.
    pub fn spans(&self) -> Vec<(String, Span)> {
        let mut spans = Vec::new();
        for of in self.requests().iter().flat_map(|request| &request.resource_spans) {
            let node = text(&of.resource.as_ref().expect("a resource").attributes, "service.instance.id");
            spans.extend(of.scope_spans.iter().flat_map(|scope| &scope.spans).map(|span| (node.clone(), span.clone())));
        }
        spans
    }

    /// Waits for so many spans of a name.
    pub async fn has(&self, name: &str, count: usize) -> Vec<(String, Span)> {
        eventually(name, async || {
            let spans: Vec<_> = self.spans().into_iter().filter(|(_, span)| span.name == name).collect();
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

/// An attribute that is a text.
pub fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

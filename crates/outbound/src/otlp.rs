//! Sends spans to a collector: OTLP over HTTP with Protobuf bodies.
//!
//! One task takes what [`model::trace::Tracer`] keeps and posts it every second. A collector that is slow or away costs spans,
//! which are counted, and one line in the log a minute; nothing ever waits for it. Started by the server's `telemetry`.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Metrics;
use model::metrics::count_by;
use model::trace::{Span, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan};
use prost::Message as _;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::guard;

/// How often spans are sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// Spans of one request: some 100 KB.
const SPANS_MAX: usize = 512;
/// How long the collector may take for a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last spans.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the log mentions a collector that takes nothing.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Who sends: the same for all spans of a process.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The deployment.
    pub namespace: String,
    /// The node.
    pub node_id: String,
    /// The program's version.
    pub version: &'static str,
}

/// The running task.
pub struct Exporter {
    task: JoinHandle<()>,
    ending: watch::Sender<bool>,
}

impl Exporter {
    /// Starts sending what `metrics.tracer` keeps to `{base}/v1/traces`.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn start(base: &str, sender: &Sender, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = guard::client(true, ANSWER_TIMEOUT)?;
        let (ending, ended) = watch::channel(false);
        let url = format!("{}/v1/traces", base.trim_end_matches('/'));
        let post = Post { client, url, resource: resource(sender), version: sender.version, complained: None };
        Ok(Self { task: tokio::spawn(run(post, metrics, ended)), ending })
    }

    /// Sends what is left, as far as that goes within half a second.
    pub async fn finish(self) {
        self.ending.send_replace(true);
        // What is not sent by then is lost with the process, as spans may be.
        let _ = timeout(FINISH_TIMEOUT, self.task).await;
    }
}

async fn run(mut post: Post, metrics: Arc<Metrics>, mut ending: watch::Receiver<bool>) {
    let mut is_last = false;
    while !is_last {
        tokio::select! {
            () = sleep(INTERVAL) => {}
            _ = ending.changed() => is_last = true,
        }
        let spans = metrics.tracer.take();
        let mut rest = spans.chunks(SPANS_MAX);
        while let Some(chunk) = rest.next() {
            let sent = post.send(chunk).await;
            let failed = if sent { 0 } else { chunk.len() + rest.by_ref().map(<[Span]>::len).sum::<usize>() };
            for (outcome, n) in [("exported", if sent { chunk.len() } else { 0 }), ("failed", failed)] {
                if n > 0 {
                    count_by(&metrics.trace_spans, "outcome", outcome, n as u64);
                }
            }
        }
    }
}

/// Where and how to send.
struct Post {
    client: Client,
    url: String,
    resource: Resource,
    version: &'static str,
    /// When the log last mentioned a failure.
    complained: Option<Instant>,
}

impl Post {
    /// Posts some spans. False when the collector did not take them.
    async fn send(&mut self, spans: &[Span]) -> bool {
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/x-protobuf").body(self.body(spans));
        let failure = match request.send().await {
            Ok(answer) if answer.status().is_success() => return true,
            Ok(answer) => format!("it answered {}", answer.status()),
            Err(error) => with_causes(&error.without_url()),
        };
        let now = Instant::now();
        if self.complained.is_none_or(|at| now.duration_since(at) >= COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            tracing::warn!(error = failure, "the collector of traces takes no spans; they are dropped and counted");
        }
        false
    }

    fn body(&self, spans: &[Span]) -> Vec<u8> {
        let scope = InstrumentationScope { name: "barrage".into(), version: self.version.into(), ..Default::default() };
        let scope_spans =
            ScopeSpans { scope: Some(scope), spans: spans.iter().map(proto_span).collect(), schema_url: String::new() };
        let resource_spans = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scope_spans],
            schema_url: String::new(),
        };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
    }
}

fn resource(sender: &Sender) -> Resource {
    let attributes = [
        ("service.name", "barrage"),
        ("service.namespace", &*sender.namespace),
        ("service.instance.id", &*sender.node_id),
        ("service.version", sender.version),
    ];
    let attributes = attributes.into_iter().map(|(key, value)| attribute(key, &Value::Text(value.into()))).collect();
    Resource { attributes, ..Default::default() }
}

fn proto_span(span: &Span) -> ProtoSpan {
    let kind = if span.parent.is_none() { SpanKind::Producer } else { SpanKind::Consumer };
    ProtoSpan {
        trace_id: span.trace.id().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name.into(),
        kind: kind.into(),
        start_time_unix_nano: unix_nanos(span.begun),
        end_time_unix_nano: unix_nanos(span.ended),
        attributes: span.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        // Sampled, by the flags of W3C Trace Context.
        flags: 1,
        ..Default::default()
    }
}

fn attribute(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Number(number) => any_value::Value::IntValue(*number),
    };
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn unix_nanos(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// An error of the client with what led to it; by itself it says no more than that something failed.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

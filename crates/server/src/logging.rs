//! The log: lines on standard error, each with the name of this node.
//!
//! As text a line is for people. As JSON each line is an object with the keys `timestamp`, `level`, `target`, `node_id` and
//! `fields`, whoever writes it: [`model::stderr`] writes panics and failed starts in the same form. Errors go to Sentry as well,
//! where one is configured.

use std::fmt;
use std::io::{IsTerminal, Write as _};

use anyhow::Context as _;
use model::reports::{self, Fault};
use model::stderr::{self, LogWriter};
use outbound::sentry::{Dsn, Sentry, Source};
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{self, Log, LogFormat};
use crate::log_limit::LogLimit;

/// Starts logging; called once.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter: EnvFilter = log.level.parse().context("log.level")?;
    let limit = LogLimit::default();
    limit.start_counting();
    let registry = tracing_subscriber::registry().with(filter).with(limit).with(Reports);
    match log.format {
        LogFormat::Text => {
            // A line that cannot be written is counted; a complaint about it could not be written either.
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(|| LogWriter)
                .log_internal_errors(false);
            registry.with(lines.map_event_format(Text)).init();
        }
        LogFormat::Json => {
            stderr::write_json();
            registry.with(Json).init();
        }
    }
    Ok(())
}

/// Reports errors from here on, if the configuration says where.
pub fn start_reports(sentry: &config::Sentry) -> anyhow::Result<()> {
    let Some(dsn) = Dsn::parse(&sentry.dsn) else { return Ok(()) };
    let source = Source { environment: sentry.environment.clone(), version: env!("CARGO_PKG_VERSION") };
    let sender = Sentry::start(dsn, source).map_err(anyhow::Error::from_boxed).context("sentry.dsn")?;
    reports::report_to(sender);
    Ok(())
}

/// Reports each line that is an error.
struct Reports;

impl<S: Subscriber> Layer<S> for Reports {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR || !reports::are_wanted() {
            return;
        }
        let (target, mut fields) = read(event);
        let message = match fields.remove("message") {
            Some(Value::String(message)) => message,
            other => other.map(|message| message.to_string()).unwrap_or_default(),
        };
        reports::report(Fault { target, message, fields });
    }
}

/// Writes the name before the line.
struct Text<F>(F);

impl<S, N, F> FormatEvent<S, N> for Text<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if let Some(node) = stderr::node() {
            write!(writer, "{node} ")?;
        }
        self.0.format_event(context, writer, event)
    }
}

/// Writes each line as an object.
struct Json;

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (target, fields) = read(event);
        let line = stderr::json_line(event.metadata().level().as_str(), &target, fields);
        // The writer counts what it cannot write.
        let _ = LogWriter.write_all(line.as_bytes());
    }
}

/// Where a line comes from, and its fields.
fn read(event: &Event<'_>) -> (String, Map<String, Value>) {
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    // The `log` crate, by which libraries speak, has its target among the fields.
    let said = fields.0.remove("log.target");
    fields.0.retain(|name, _| !name.starts_with("log."));
    let target = said.as_ref().and_then(Value::as_str).unwrap_or(event.metadata().target());
    (target.to_owned(), fields.0)
}

/// The fields of a line.
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().trim_start_matches("r#").to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}

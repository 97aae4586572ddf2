//! Lines on standard error, each with the name of this node.
//!
//! The name is set once the node has it, and again when its number changes; lines from before have none.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Log, LogFormat};

static NODE: RwLock<Option<Arc<str>>> = RwLock::new(None);

/// The name of this node, from now on.
pub fn name_node(name: &str) {
    *NODE.write().unwrap_or_else(PoisonError::into_inner) = Some(name.into());
}

fn node() -> Option<Arc<str>> {
    NODE.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Starts logging. To be called once.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter: EnvFilter = log.level.parse().context("log.level")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.map_event_format(Text).init(),
        LogFormat::Json => lines.json().map_event_format(Json).init(),
    }
    Ok(())
}

/// The name stands before the line.
struct Text<F>(F);

/// The name is the line's first field, `node_id`.
struct Json<F>(F);

impl<S, N, F> FormatEvent<S, N> for Text<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if let Some(node) = node() {
            write!(writer, "{node} ")?;
        }
        self.0.format_event(context, writer, event)
    }
}

impl<S, N, F> FormatEvent<S, N> for Json<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match (node(), line.strip_prefix('{')) {
            (Some(node), Some(fields)) => write!(writer, "{{\"node_id\":{},{fields}", serde_json::json!(node)),
            _ => writer.write_str(&line),
        }
    }
}

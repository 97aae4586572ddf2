//! Traces to a collector, as `[telemetry]` says, and what the process may use.

use std::sync::Arc;

use anyhow::Context as _;
use model::Metrics;
use model::trace::Tracer;
use outbound::otlp::{Exporter, Sender};

use crate::config::Config;
use crate::server::Core;

/// What is followed: nothing without a collector.
pub fn tracer(config: &Config, metrics: &Metrics) -> Tracer {
    if config.telemetry.otlp_url.is_empty() {
        return Tracer::default();
    }
    Tracer::new(&config.server.namespace, config.telemetry.sample_one_in, metrics.trace_spans.clone())
}

/// Starts sending spans, if anything is followed.
pub fn start(core: &Core<'_>) -> anyhow::Result<Option<Exporter>> {
    let metrics: Arc<Metrics> = core.metrics.clone();
    if !metrics.tracer.is_on() {
        return Ok(None);
    }
    let sender = Sender {
        namespace: core.config.server.namespace.clone(),
        node_id: core.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Exporter::start(&core.config.telemetry.otlp_url, &sender, metrics).context("telemetry.otlp_url").map(Some)
}

/// Files and sockets that this process may have open, if the system says.
pub fn open_files_max() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit fills the struct it is given, which lives here.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    (answer == 0).then_some(limit.rlim_cur)
}

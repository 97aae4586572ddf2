//! Where faults are reported besides the log: to nobody, unless the server names a reporter.
//!
//! The log's errors and [`crate::stderr::complain`] report here. A reporter never waits and never fails: what it cannot take is
//! dropped and counted.

use std::sync::{LazyLock, OnceLock};

use prometheus_client::metrics::family::Family;
use serde_json::{Map, Value};

use crate::metrics::Labelled;

static REPORTER: OnceLock<Box<dyn Reporter>> = OnceLock::new();
static COUNTS: LazyLock<Labelled> = LazyLock::new(Family::default);

/// Takes reports.
pub trait Reporter: Send + Sync {
    /// Takes one, at once.
    fn report(&self, fault: Fault);

    /// Waits, for a bounded time, until what was taken is on its way. The process ends next.
    fn flush(&self);
}

/// What is reported.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The part of the program; `panic` for panics.
    pub target: String,
    /// What happened, the same text for the same cause.
    pub message: String,
    /// What the line is about.
    pub fields: Map<String, Value>,
}

/// Names the reporter; the first one stays.
pub fn report_to(reporter: impl Reporter + 'static) {
    // Called once, by the server's start.
    let _ = REPORTER.set(Box::new(reporter));
}

/// Whether anybody is told.
#[must_use]
pub fn are_wanted() -> bool {
    REPORTER.get().is_some()
}

/// Reports a fault, if anybody is told.
pub fn report(fault: Fault) {
    if let Some(reporter) = REPORTER.get() {
        reporter.report(fault);
    }
}

/// Waits for the reporter, for a bounded time.
pub fn flush() {
    if let Some(reporter) = REPORTER.get() {
        reporter.flush();
    }
}

/// Reports by `outcome`: sent, failed, dropped.
#[must_use]
pub fn counts() -> Labelled {
    COUNTS.clone()
}

//! Standard error, for a process that must not depend on it.
//!
//! The log and the panic hook write here. Lines wait in a bounded queue for a thread of their own: a full disk, a closed
//! pipe or a reader that stands still costs lines, which are counted, and neither stops a caller nor ends the process.
//! Once the log is JSON, everything that is said here is: [`complain`] writes what cannot go through the log as it does.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value, json};

use crate::reports::{self, Fault};

/// Lines that may wait.
const WAITING_MAX: usize = 4_096;
/// How long the end of the process waits for them.
const FLUSH_MAX: Duration = Duration::from_millis(500);

static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);
/// Whether lines are JSON objects.
static IS_JSON: AtomicBool = AtomicBool::new(false);
/// The name of this node, once it has one.
static NODE: RwLock<Option<Arc<str>>> = RwLock::new(None);
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// `None` when the thread could not be started: then callers write themselves.
static QUEUE: LazyLock<Option<SyncSender<Vec<u8>>>> = LazyLock::new(|| {
    let (queue, lines) = sync_channel(WAITING_MAX);
    std::thread::Builder::new().name("log".into()).spawn(move || write_all(&lines)).ok().map(|_| queue)
});

/// Lines that could not be written, to standard error or standard output.
#[must_use]
pub fn dropped() -> Counter {
    DROPPED.clone()
}

/// Makes every line from here on a JSON object.
pub fn write_json() {
    IS_JSON.store(true, Ordering::Release);
}

/// Sets the name of this node. It is set again when the node's number changes.
pub fn name_node(name: &str) {
    *NODE.write().unwrap_or_else(PoisonError::into_inner) = Some(name.into());
}

/// The name of this node, once it has one.
#[must_use]
pub fn node() -> Option<Arc<str>> {
    NODE.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A line of the log as JSON: every line has the same keys.
#[must_use]
pub fn json_line(level: &str, target: &str, fields: Map<String, Value>) -> String {
    let timestamp = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    let (target, node_id, fields) =
        (json!(target), json!(node().as_deref().unwrap_or_default()), Value::Object(fields));
    format!(
        "{{\"timestamp\":\"{timestamp:.6}\",\"level\":\"{level}\",\"target\":{target},\"node_id\":{node_id},\"fields\":{fields}}}\n"
    )
}

/// Writes and reports an error that does not come through the log: a start that failed, a panic. `text` may have several
/// lines.
pub fn complain(target: &str, text: &str) {
    reports::report(Fault { target: target.into(), message: text.into(), fields: Map::new() });
    if IS_JSON.load(Ordering::Acquire) {
        let fields = Map::from_iter([("message".to_owned(), text.into())]);
        write(json_line("ERROR", target, fields).as_bytes());
    } else {
        write(format!("barrage: {text}\n").as_bytes());
    }
}

/// Writes bytes that end with a line feed. Never blocks and never fails.
pub fn write(line: &[u8]) {
    let Some(queue) = &*QUEUE else { return write_now(line) };
    WAITING.fetch_add(1, Ordering::AcqRel);
    if queue.try_send(line.to_vec()).is_err() {
        WAITING.fetch_sub(1, Ordering::AcqRel);
        DROPPED.inc();
    }
}

/// Writes one line to standard output, or counts it as dropped.
pub fn print(line: &str) {
    if writeln!(io::stdout(), "{line}").is_err() {
        DROPPED.inc();
    }
}

/// Waits until what was written has left, half a second at most. Called before the process ends.
#[allow(clippy::disallowed_methods)] // The process ends: no other work waits for this thread.
pub fn flush() {
    let begun = Instant::now();
    while WAITING.load(Ordering::Acquire) > 0 && begun.elapsed() < FLUSH_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn write_all(lines: &Receiver<Vec<u8>>) {
    for line in lines {
        write_now(&line);
        WAITING.fetch_sub(1, Ordering::AcqRel);
    }
}

fn write_now(line: &[u8]) {
    if io::stderr().write_all(line).is_err() {
        DROPPED.inc();
    }
}

/// A writer for the log: each write is one or more whole lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

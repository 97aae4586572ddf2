//! Reports faults to Sentry, or to a service that speaks its protocol: envelopes over HTTP.
//!
//! A thread of its own posts what waits in a short queue, so that a panic that ends the process can still be reported. A
//! service that is slow or away costs reports, which are counted, and one line in the log a minute; nothing ever waits for it
//! but the end of the process, half a second. Reports carry what the log's lines carry: no texts of people, no names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::metrics::count;
use model::reports::{self, Fault, Reporter};
use model::stderr;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::guard;

/// Reports that may wait.
const WAITING_MAX: usize = 64;
/// Reports of one minute. Further ones are dropped: the log has them.
const PER_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// How long the service may take for one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// Nothing is sent for this time after a failure, doubling with each.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest pause that the service may ask for.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// The log names a service that takes nothing so often.
const COMPLAINT_INTERVAL: Duration = MINUTE;
/// Longest message and field in bytes.
const TEXT_MAX: usize = 8_192;

/// The address of a project, as its operator copies it: `https://key@host/project`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    endpoint: Url,
    key: String,
}

/// Where reports come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Such as "production".
    pub environment: String,
    /// The program's version.
    pub version: &'static str,
}

/// Sends reports; see [`reports::report_to`].
pub struct Sentry {
    queue: SyncSender<Fault>,
    waiting: Arc<AtomicUsize>,
}

impl Dsn {
    /// Reads one. Nothing when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
        let (path, project) = url.path().rsplit_once('/')?;
        if url.username().is_empty() || project.is_empty() || url.query().is_some() {
            return None;
        }
        let mut endpoint = url.clone();
        // Addresses with a host take them.
        endpoint.set_username("").and_then(|()| endpoint.set_password(None)).ok()?;
        endpoint.set_path(&format!("{path}/api/{project}/envelope/"));
        Some(Self { endpoint, key: url.username().to_owned() })
    }
}

impl Sentry {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// When there can be no thread, or the system's certificates cannot be read.
    pub fn start(dsn: Dsn, source: Source) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (queue, faults) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = guard::client(true, ANSWER_TIMEOUT)?;
        let post = Post { client, dsn, source, limit: Limit::new(Instant::now()), complained: None };
        let left = waiting.clone();
        std::thread::Builder::new().name("reports".into()).spawn(move || send_all(&faults, post, &runtime, &left))?;
        Ok(Self { queue, waiting })
    }
}

impl Reporter for Sentry {
    fn report(&self, fault: Fault) {
        // What this sender itself says about a service that is away would be one more report.
        if fault.target.starts_with(module_path!()) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(fault).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            count(&reports::counts(), "outcome", "dropped");
        }
    }

    fn flush(&self) {
        let until = Instant::now() + FLUSH_TIMEOUT;
        while self.waiting.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            // The process ends: nothing else waits on this thread.
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn send_all(faults: &Receiver<Fault>, mut post: Post, runtime: &Runtime, waiting: &AtomicUsize) {
    while let Ok(fault) = faults.recv() {
        let outcome = match post.limit.allows(Instant::now()) {
            true => runtime.block_on(post.send(&fault)),
            false => "dropped",
        };
        count(&reports::counts(), "outcome", outcome);
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much may be sent.
struct Limit {
    minute: Instant,
    sent: u32,
    /// Nothing before this.
    paused: Option<Instant>,
    next_pause: Duration,
}

impl Limit {
    fn new(now: Instant) -> Self {
        Self { minute: now, sent: 0, paused: None, next_pause: PAUSE_MIN }
    }

    fn allows(&mut self, now: Instant) -> bool {
        if self.paused.is_some_and(|until| now < until) {
            return false;
        }
        if now.duration_since(self.minute) >= MINUTE {
            (self.minute, self.sent) = (now, 0);
        }
        self.sent += 1;
        self.sent <= PER_MINUTE
    }

    /// The service took one, and may ask for a pause all the same.
    fn succeeded(&mut self, now: Instant, asked: Option<Duration>) {
        self.next_pause = PAUSE_MIN;
        self.paused = asked.map(|pause| now + pause);
    }

    fn failed(&mut self, now: Instant, asked: Option<Duration>) {
        self.paused = Some(now + asked.unwrap_or(self.next_pause));
        self.next_pause = (self.next_pause * 2).min(PAUSE_MAX);
    }
}

/// Where and how to send.
struct Post {
    client: Client,
    dsn: Dsn,
    source: Source,
    limit: Limit,
    /// When the log last mentioned a failure.
    complained: Option<Instant>,
}

impl Post {
    /// Posts one. Returns the outcome's label.
    async fn send(&mut self, fault: &Fault) -> &'static str {
        let client = format!("barrage/{}", self.source.version);
        let auth = format!("Sentry sentry_version=7, sentry_client={client}, sentry_key={}", self.dsn.key);
        let request = self
            .client
            .post(self.dsn.endpoint.clone())
            .header("x-sentry-auth", auth)
            .header(CONTENT_TYPE, "application/x-sentry-envelope")
            .body(envelope(fault, &self.source, rand::random(), SystemTime::now()));
        let answer = request.send().await;
        let now = Instant::now();
        let failure = match answer {
            Ok(answer) if answer.status().is_success() => {
                self.limit.succeeded(now, asked_pause(answer.status(), answer.headers()));
                return "sent";
            }
            Ok(answer) => {
                self.limit.failed(now, asked_pause(answer.status(), answer.headers()));
                format!("it answered {}", answer.status())
            }
            Err(error) => {
                self.limit.failed(now, None);
                error.without_url().to_string()
            }
        };
        if self.complained.is_none_or(|at| now.duration_since(at) >= COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            tracing::warn!(error = failure, "sentry.dsn takes no reports; they are dropped and counted");
        }
        "failed"
    }
}

/// The pause that the service asks for: `X-Sentry-Rate-Limits: seconds:categories:scope, …`, or `Retry-After` with 429.
fn asked_pause(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let of_errors = |limit: &str| {
        let mut parts = limit.trim().split(':');
        let seconds: u64 = parts.next()?.trim().parse().ok()?;
        let categories = parts.next().unwrap_or_default();
        (categories.is_empty() || categories.split(';').any(|category| category == "error")).then_some(seconds)
    };
    let limits = text("x-sentry-rate-limits").into_iter().flat_map(|limits| limits.split(',')).filter_map(of_errors);
    let retry_after = || {
        let seconds = text(RETRY_AFTER.as_str()).and_then(|seconds| seconds.trim().parse().ok());
        (status == StatusCode::TOO_MANY_REQUESTS).then(|| seconds.unwrap_or(MINUTE.as_secs()))
    };
    let seconds = limits.max().or_else(retry_after)?;
    Some(Duration::from_secs(seconds).min(ASKED_PAUSE_MAX))
}

/// An envelope with one event: three lines of JSON.
fn envelope(fault: &Fault, source: &Source, id: u128, at: SystemTime) -> String {
    let message = shortened(&fault.message);
    let extra: serde_json::Map<String, Value> = fault
        .fields
        .iter()
        .map(|(name, value)| {
            (name.clone(), value.as_str().map_or_else(|| value.clone(), |text| shortened(text).into()))
        })
        .collect();
    let event = json!({
        "event_id": format!("{id:032x}"),
        "timestamp": at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        "platform": "other",
        "level": if fault.target == "panic" { "fatal" } else { "error" },
        "logger": fault.target,
        "server_name": stderr::node().as_deref().unwrap_or_default(),
        "release": format!("barrage@{}", source.version),
        "environment": source.environment,
        "message": { "formatted": message },
        "fingerprint": [fault.target, message.lines().next().unwrap_or_default()],
        "extra": extra,
    })
    .to_string();
    let header = json!({ "event_id": format!("{id:032x}") });
    let item = json!({ "type": "event", "content_type": "application/json", "length": event.len() });
    format!("{header}\n{item}\n{event}\n")
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_the_endpoint_of_its_project() {
        for (text, endpoint) in [
            ("https://abc@o1.ingest.sentry.io/42", "https://o1.ingest.sentry.io/api/42/envelope/"),
            ("http://abc:old@127.0.0.1:9000/7", "http://127.0.0.1:9000/api/7/envelope/"),
            ("https://abc@example.org/sentry/7", "https://example.org/sentry/api/7/envelope/"),
        ] {
            let dsn = Dsn::parse(text).expect(text);
            assert_eq!((dsn.endpoint.as_str(), dsn.key.as_str()), (endpoint, "abc"));
        }
        for text in ["", "https://example.org/7", "https://abc@example.org", "https://abc@example.org/", "ftp://a@b/1"]
        {
            assert_eq!(Dsn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_service_may_ask_for_a_pause() {
        let asked = |status: u16, name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]);
            asked_pause(StatusCode::from_u16(status).expect("a status"), &headers).map(|pause| pause.as_secs())
        };
        assert_eq!(asked(429, "retry-after", "7"), Some(7));
        assert_eq!(asked(429, "retry-after", "tomorrow"), Some(60));
        assert_eq!(asked(200, "retry-after", "7"), None);
        assert_eq!(asked(200, "x-sentry-rate-limits", "30:transaction:key, 9:error;default:organization"), Some(9));
        assert_eq!(asked(429, "x-sentry-rate-limits", "20::organization"), Some(20));
        assert_eq!(asked(200, "x-sentry-rate-limits", "30:transaction:key"), None);
        assert_eq!(asked(429, "x-sentry-rate-limits", "999999999::key"), Some(3_600));
    }

    #[test]
    fn failures_make_pauses_and_a_minute_has_a_bound() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let allowed = (0..100).filter(|_| limit.allows(start)).count();
        assert_eq!(allowed, PER_MINUTE as usize);
        assert!(limit.allows(start + MINUTE));
        limit.failed(start + MINUTE, None);
        assert!(!limit.allows(start + MINUTE + PAUSE_MIN / 2));
        assert!(limit.allows(start + MINUTE + PAUSE_MIN));
        limit.failed(start + MINUTE, None);
        assert!(!limit.allows(start + MINUTE + PAUSE_MIN), "the second pause is longer");
        limit.succeeded(start + MINUTE, None);
        assert!(limit.allows(start + MINUTE));
    }
}

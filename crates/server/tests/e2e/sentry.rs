//! Errors as Sentry receives them: a service that parses envelopes stands in for it.

use std::net::TcpListener;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::Value;
use testkit::{Options, Server, Signer, eventually};
use tokio::process::Command;

use crate::{BIN, NO_LIMITS, says_many};

/// What was posted, event by event.
#[derive(Clone, Default)]
struct Sentry(Arc<Mutex<Vec<Value>>>);

impl Sentry {
    /// Starts it. Returns the DSN of its project.
    async fn start(answers: StatusCode) -> (Self, String) {
        let sentry = Self::default();
        let keeping = sentry.clone();
        let take = async move |Path(project): Path<String>, headers: HeaderMap, body: Bytes| {
            assert_eq!(project, "42");
            assert_eq!(headers["content-type"], "application/x-sentry-envelope");
            let auth = headers["x-sentry-auth"].to_str().unwrap();
            assert!(auth.starts_with("Sentry sentry_version=7, sentry_client=barrage/"), "{auth}");
            assert!(auth.ends_with("sentry_key=abc"), "{auth}");
            keeping.0.lock().unwrap().push(event_of(&body));
            (answers, [("retry-after", "60")]).into_response()
        };
        let app = Router::new().route("/api/{project}/envelope/", post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dsn = format!("http://abc@{}/42", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (sentry, dsn)
    }

    fn events(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }
}

/// Parses an envelope: its header, then items, each a header with the length of what follows.
fn event_of(envelope: &[u8]) -> Value {
    let line = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == b'\n').expect("a line");
        let header: Value = serde_json::from_slice(&bytes[..end]).expect("JSON");
        (header, end + 1)
    };
    let (header, begins) = line(envelope);
    let (item, length) = line(&envelope[begins..]);
    let payload = &envelope[begins + length..];
    let bytes = usize::try_from(item["length"].as_u64().expect("a length")).unwrap();
    assert_eq!(item["type"], "event");
    assert_eq!(&payload[bytes..], b"\n", "nothing follows");
    let event: Value = serde_json::from_slice(&payload[..bytes]).expect("an event");
    assert_eq!(event["event_id"], header["event_id"]);
    assert_eq!(event["event_id"].as_str().unwrap().len(), 32);
    event
}

/// A server with a key file, which the test breaks: that is an error in the log.
async fn reporting(dsn: &str) -> Server {
    let options = Options::new(BIN).file("key.pem", &Signer::p256("one").pem).env("BARRAGE__SENTRY__DSN", dsn);
    let config =
        format!("{NO_LIMITS}[auth]\npublic_key_file = \"{{dir}}/key.pem\"\n[sentry]\nenvironment = \"tests\"\n");
    options.config(&config).start().await
}

fn break_key(server: &Server, how: &str) {
    std::fs::write(server.dir().join("key.pem"), how).unwrap();
}

async fn reports(server: &Server, outcome: &str) -> f64 {
    server.http().metric(&format!("barrage_error_reports_total{{outcome=\"{outcome}\"}}")).await
}

#[tokio::test]
async fn an_error_in_the_log_is_reported_with_its_fields_and_without_secrets() {
    let (sentry, dsn) = Sentry::start(StatusCode::OK).await;
    let server = reporting(&dsn).await;
    break_key(&server, "nothing of a key");
    let event = eventually("a report", async || sentry.events().into_iter().next()).await;
    assert_eq!((&event["level"], &event["environment"]), (&"error".into(), &"tests".into()));
    assert!(event["message"]["formatted"].as_str().unwrap().contains("keys cannot be used"), "{event}");
    assert!(event["extra"]["error"].as_str().unwrap().contains("key.pem"), "{event}");
    assert_eq!(event["server_name"], "barrage-0");
    assert_eq!(event["release"], format!("barrage@{}", env!("CARGO_PKG_VERSION")));
    assert!(event["timestamp"].as_f64().unwrap() > 1_700_000_000.0, "{event}");
    let said = event.to_string();
    assert!(!said.contains(testkit::ADMIN_KEY) && !said.contains(testkit::SECRET), "{said}");
    eventually("the count", async || (reports(&server, "sent").await >= 1.0).then_some(())).await;
}

async fn serve(dsn: &str, listen: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BIN);
    command.args(["serve", "--listen", listen, "--data"]).arg(dir.path()).env("BARRAGE__SENTRY__DSN", dsn);
    command.kill_on_drop(true).output().await.unwrap()
}

#[tokio::test]
async fn a_start_that_fails_is_reported_before_the_process_ends() {
    let (sentry, dsn) = Sentry::start(StatusCode::OK).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = serve(&dsn, &taken.local_addr().unwrap().to_string()).await;
    assert_eq!(ended.status.code(), Some(1));
    let events = sentry.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0]["message"]["formatted"].as_str().unwrap().contains("cannot listen"), "{}", events[0]);

    let refused = serve("https://no-key.example.org/42", "127.0.0.1:0").await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("sentry.dsn must be a DSN"), "{said}");
}

#[tokio::test]
async fn a_service_that_asks_for_a_pause_is_left_alone() {
    let (sentry, dsn) = Sentry::start(StatusCode::TOO_MANY_REQUESTS).await;
    let server = reporting(&dsn).await;
    break_key(&server, "broken");
    eventually("the refusal", async || (reports(&server, "failed").await >= 1.0).then_some(())).await;
    // Another error: the same one would be held back.
    std::fs::remove_file(server.dir().join("key.pem")).unwrap();
    eventually("the next one to be dropped", async || (reports(&server, "dropped").await >= 1.0).then_some(())).await;
    assert_eq!(sentry.events().len(), 1, "it was not asked again");
}

#[tokio::test]
async fn a_service_that_is_away_or_never_answers_delays_nobody() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), gone] {
        let mut server = reporting(&format!("http://abc@{address}/42")).await;
        break_key(&server, "broken");
        let mut alice = server.viewer("alice", "hall").await;
        says_many(&mut alice, "hall", "n", 200).await;
        eventually("the error", async || server.log().contains("keys cannot be used").then_some(())).await;
        let ended = server.terminate().await;
        assert!(ended.status.success() && ended.took < Duration::from_secs(15), "{ended:?}");
    }
}

//! Traces as a collector receives them, exemplars, and a log that programs read.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};
use testkit::{Http, Reply, Server, Viewer, eventually};

use crate::collector::{Collector, text};
use crate::{BIN, NO_LIMITS, configured, says_many};

/// What must not be in any span nor in the log.
const TEXT: &str = "the words of nobody else";

async fn traced(url: &str, one_in: u32) -> Server {
    configured(&format!("{NO_LIMITS}[telemetry]\notlp_url = \"{url}\"\nsample_one_in = {one_in}\n")).await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn metrics_as(server: &Server, accept: &str) -> Reply {
    Reply::of(server.http().request(Method::GET, "/metrics").header(ACCEPT, accept)).await
}

#[tokio::test]
async fn a_comment_is_one_trace_from_its_publication_to_the_last_socket() {
    let (collector, url) = Collector::start().await;
    let server = traced(&url, 1).await;
    let mut bob = server.viewer("bob", "hall").await;
    let id = server.user("alice").say("hall", TEXT).await;
    bob.sees(TEXT).await;

    let deliver = collector.has("deliver", 1).await.remove(0).1;
    let publish = collector.has("publish", 1).await.remove(0).1;
    let fan_out = collector.has("fan_out", 1).await.remove(0).1;
    assert_eq!((publish.trace_id.len(), publish.span_id.len()), (16, 8));
    assert!(publish.parent_span_id.is_empty());
    for span in [&deliver, &fan_out] {
        assert_eq!(span.trace_id, publish.trace_id);
        assert_eq!(span.parent_span_id, publish.span_id);
        assert_ne!(span.span_id, publish.span_id);
        assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert!(deliver.end_time_unix_nano >= publish.start_time_unix_nano);
    for span in [&deliver, &publish] {
        assert_eq!(text(&span.attributes, "barrage.comment_id"), id);
        assert_eq!(text(&span.attributes, "barrage.room_id"), "hall");
    }
    let request = collector.requests()[0].clone();
    let resource = request.resource_spans[0].resource.clone().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), "barrage");
    assert_eq!(text(&resource.attributes, "service.instance.id"), "barrage-0");
    let said = format!("{:?}", collector.requests());
    assert!(!said.contains(TEXT) && !said.contains("alice"), "{said}");
    let sent = r#"barrage_trace_spans_total{outcome="exported"}"#;
    eventually(sent, async || (server.http().metric(sent).await >= 3.0).then_some(())).await;
}

#[tokio::test]
async fn one_comment_in_some_is_followed_and_with_zero_none() {
    let (collector, url) = Collector::start().await;
    let mut server = traced(&url, 8).await;
    let mut alice = server.viewer("alice", "hall").await;
    says_many(&mut alice, "hall", "n", 400).await;
    assert!(server.terminate().await.status.success());
    let followed = |name: &str| {
        let spans = collector.spans();
        spans.iter().filter(|(_, span)| span.name == name).map(|(_, span)| hex(&span.trace_id)).collect::<BTreeSet<_>>()
    };
    let published = followed("publish");
    assert!((10..150).contains(&published.len()), "{} of 400", published.len());
    assert_eq!(published, followed("deliver"), "every part follows the same comments");

    let (collector, url) = Collector::start().await;
    let mut server = traced(&url, 0).await;
    let mut alice = server.viewer("alice", "hall").await;
    says_many(&mut alice, "hall", "n", 20).await;
    assert!(server.terminate().await.status.success());
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn the_histogram_names_a_trace_to_readers_of_openmetrics() {
    let (collector, url) = Collector::start().await;
    let server = traced(&url, 1).await;
    let mut bob = server.viewer("bob", "hall").await;
    server.user("alice").say("hall", "hello").await;
    bob.sees("hello").await;
    let trace = hex(&collector.has("deliver", 1).await[0].1.trace_id);

    let answer = metrics_as(&server, "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{answer:?}");
    let bucket = |line: &&str| line.starts_with("barrage_publish_to_socket_seconds_bucket{") && line.contains(" # {");
    let line = answer.text.lines().find(bucket).unwrap_or_else(|| panic!("no exemplar in {}", answer.text));
    assert!(line.contains(&format!(r#"# {{trace_id="{trace}"}} "#)), "{line}");
    assert!(answer.text.ends_with("# EOF\n"));

    for accept in ["*/*", "text/html"] {
        let answer = metrics_as(&server, accept).await;
        assert!(!answer.text.contains("trace_id") && answer.text.ends_with("# EOF\n"), "{accept}: {}", answer.text);
    }
    let plain = metrics_as(&server, "text/plain; version=0.0.4").await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.text.contains("# TYPE barrage_comments_total counter\n"), "{}", plain.text);
    assert!(!plain.text.contains("# EOF") && !plain.text.contains("# UNIT") && !plain.text.contains("trace_id"));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_one_line_in_the_log() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = traced(&format!("http://{nobody}"), 1).await;
    let mut alice = server.viewer("alice", "hall").await;
    let failed = r#"barrage_trace_spans_total{outcome="failed"}"#;
    for round in 0..3 {
        let before = server.http().metric(failed).await;
        says_many(&mut alice, "hall", &format!("round {round}"), 20).await;
        eventually(failed, async || (server.http().metric(failed).await > before).then_some(())).await;
    }
    assert!(server.terminate().await.status.success());
    let log = server.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("collector")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("onnection refused"), "{}", lines[0]);
}

#[tokio::test]
async fn a_collector_that_never_answers_delays_nobody() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = traced(&format!("http://{}", silent.local_addr().unwrap()), 1).await;
    let mut alice = server.viewer("alice", "hall").await;
    // More than may wait: three spans a comment.
    for round in 0..6 {
        says_many(&mut alice, "hall", &format!("round {round}"), 990).await;
    }
    // Once the collector has had its time, or as soon as no more spans may wait.
    eventually("lost spans to be counted", async || {
        (server.http().metric("barrage_trace_spans_total").await > 0.0).then_some(())
    })
    .await;
    let ended = server.terminate().await;
    assert!(ended.status.success() && ended.took < Duration::from_secs(15), "{ended:?}");
}

/// The server with its standard error in a file, its address, and the file.
async fn logging_json(dir: &Path, listen: &str) -> (std::process::Child, std::path::PathBuf) {
    let log = dir.join("stderr");
    let config = dir.join("json.toml");
    std::fs::write(&config, "[log]\nformat = \"json\"\n[limits]\nnormal_per_s = 1000\n").unwrap();
    let child = Command::new(BIN)
        .args(["serve", "--dev", "--listen", listen, "--config"])
        .arg(&config)
        .arg("--data")
        .arg(dir.join("data"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    (child, log)
}

/// Every line is an object with the same keys.
fn assert_schema(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    for line in &lines {
        let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["fields", "level", "node_id", "target", "timestamp"], "{line}");
        assert!(line["fields"].is_object() && line["node_id"].is_string(), "{line}");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
        assert!(["ERROR", "WARN", "INFO"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
    lines
}

#[tokio::test]
async fn a_log_of_json_has_one_schema_and_no_text_of_comments() {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (mut child, log) = logging_json(dir.path(), &address).await;
    let http = Http::new(&format!("http://{address}"), None);
    eventually("the server", async || tokio::net::TcpStream::connect(&address).await.ok()).await;

    // A busy run with all kinds of trouble.
    let mut viewer = Viewer::open(&address, "room_id=hall&user_id=alice", &[]).await.unwrap();
    viewer.wait_for("room_joined").await;
    for n in 0..50 {
        viewer.say(&format!("{TEXT} {n}")).await;
    }
    http.post("admin/words", json!({ "list": "block", "words": ["gloom"] })).await;
    let admin = Reply::of(http.request(Method::GET, "admin/audit").bearer_auth(TEXT.replace(' ', "-"))).await;
    assert!(admin.status < 500, "{admin:?}");
    let mut rude = Viewer::open(&address, "room_id=hall&user_id=mallory", &[]).await.unwrap();
    rude.send(json!({ "type": "comment", "room_id": "hall", "content": format!("gloom {TEXT}") })).await;
    rude.send_text(&format!("{{{TEXT}")).await;
    rude.send_bytes(TEXT.as_bytes().to_vec()).await;
    drop(rude);
    // SAFETY: kill takes no pointers; the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
    assert!(child.wait().unwrap().success());

    let lines = assert_schema(&log);
    assert!(lines.iter().any(|line| line["node_id"] == "barrage-0"), "{lines:?}");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.contains(TEXT), "{text}");
}

#[tokio::test]
async fn a_start_that_fails_says_so_in_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut child, log) = logging_json(dir.path(), &taken.local_addr().unwrap().to_string()).await;
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let lines = assert_schema(&log);
    let last = lines.last().expect("a line");
    assert!(last["fields"]["message"].as_str().unwrap().contains("cannot listen"), "{last}");

    std::fs::write(dir.path().join("bad.toml"), "[log]\nformat = \"json\"\nshoe = 9\n").unwrap();
    let output =
        Command::new(BIN).args(["serve", "--config"]).arg(dir.path().join("bad.toml")).output().expect("an end");
    std::fs::write(&log, output.stderr).unwrap();
    assert_eq!(assert_schema(&log).len(), 1);
}

/// Metrics named in this repository's pages, dashboards and alert rules.
fn documented() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = ["docs/operations.md", "docs/cluster.md", "deploy/prometheus/alerts.yml"].map(|file| root.join(file));
    let dashboards = std::fs::read_dir(root.join("deploy/grafana")).unwrap().map(|entry| entry.unwrap().path());
    let mut names = BTreeSet::new();
    for file in files.into_iter().chain(dashboards.filter(|path| path.extension().is_some_and(|is| is == "json"))) {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("barrage_") {
            let name: String = text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let follows = text[at + name.len()..].chars().next();
            // A path, an upstream of nginx or a log format is no metric: those are followed by something else.
            let is_metric = matches!(follows, Some('`' | '{' | '[' | ' ' | ')' | '\\' | ','));
            let family = ["_total", "_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
            if is_metric && !NO_METRICS.contains(&name.as_str()) {
                names.insert(family.unwrap_or(&name).to_owned());
            }
        }
    }
    names
}

/// Names of other things in those pages: parts of nginx's configuration.
const NO_METRICS: &[&str] = &[
    "barrage_http",
    "barrage_sockets",
    "barrage_path_room",
    "barrage_socket_room",
    "barrage_caller",
    "barrage_room",
    "barrage_token",
];

#[tokio::test]
async fn every_metric_that_is_documented_is_declared_from_the_start() {
    let server = configured("").await;
    let text = server.http().get("/metrics").await.text;
    let documented = documented();
    assert!(documented.len() > 40, "{documented:?}");
    let missing: Vec<_> = documented.iter().filter(|name| !text.contains(&format!("# TYPE {name} "))).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{text}");
}

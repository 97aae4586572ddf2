//! The receivers of the documentation, each run as it says: they take what is signed, and nothing that is forged or old.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Options, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{BIN, NO_LIMITS};

/// `go run` compiles first, beside whatever else compiles.
const LONG: Duration = Duration::from_secs(180);
/// Printed lines that nobody has read yet; then the receiver waits.
const LINES_MAX: usize = 1_000;
const RECEIVERS: [(&str, &[&str], &str); 3] =
    [("python3", &[], "receiver.py"), ("node", &[], "receiver.mjs"), ("go", &["run"], "receiver.go")];

/// A receiver under way, and the lines that it prints.
struct Running {
    lines: tokio::sync::mpsc::Receiver<String>,
    child: Child,
}

impl Running {
    /// `None` where its language is not installed.
    async fn start(program: &str, arguments: &[&str], file: &str, port: u16, secret: &str) -> Option<Self> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(file);
        let mut command = Command::new(program);
        command.args(arguments).arg(path).env("SECRET", secret).env("PORT", port.to_string());
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0).spawn();
        let Ok(mut child) = spawned else {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        };
        let (heard, lines) = tokio::sync::mpsc::channel(LINES_MAX);
        let outputs: [Box<dyn tokio::io::AsyncRead + Send + Unpin>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut output = BufReader::new(output).lines();
                while let Ok(Some(line)) = output.next_line().await {
                    let _ = heard.send(line).await;
                }
            });
        }
        within(LONG, "the receiver to listen", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await;
        Some(Self { lines, child })
    }

    /// The next line with this in it.
    async fn prints(&mut self, part: &str) -> String {
        loop {
            let line = tokio::time::timeout(LONG, self.lines.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("{part:?} is not printed")).expect("it runs");
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `go run` has a child of its own; the group is this one alone.
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status();
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The status of a call that somebody else makes: signed with `secret`, so many seconds ago.
async fn status_of(port: u16, secret: &str, age_s: i64) -> u16 {
    let (id, at, body) = ("evt_1", testkit::now_s() - age_s, br#"{"type":"test","data":{}}"#);
    let signature = webhook::sign::signature(&webhook::sign::key(secret), id, at, body);
    let request = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/"))
        .header("webhook-id", id)
        .header("webhook-timestamp", at.to_string())
        .header("webhook-signature", format!("v1,AAAA {signature}"))
        .body(body.to_vec());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_takes_what_is_signed_and_refuses_what_is_forged_or_old() {
    for (program, arguments, file) in RECEIVERS {
        let port = free_port();
        let config = format!("{NO_LIMITS}[webhooks]\nallow_private = true\n");
        let server = Options::new(BIN).config(&config).start().await;
        let hook = json!({ "url": format!("http://127.0.0.1:{port}/"), "kinds": ["comment"] });
        let made = server.admin().post("admin/webhooks", hook).await.expect(201);
        let (id, secret) = (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap());
        let Some(mut receiver) = Running::start(program, arguments, file, port, secret).await else { continue };
        let test = server.admin().post(&format!("admin/webhooks/{id}/test"), Value::Null).await.expect(200);
        receiver.prints(test["message_id"].as_str().unwrap()).await;
        server.user("alice").say("lobby", "hello, receiver").await;
        receiver.prints("hello, receiver").await;

        for (secret, age_s, status) in [
            (secret, 0, 200),
            (secret, 299 - 60, 200),
            (secret, 301 + 60, 401),
            (secret, -301 - 60, 401),
            ("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 0, 401),
        ] {
            assert_eq!(status_of(port, secret, age_s).await, status, "{file} {age_s} s");
        }
        drop(receiver);
        decides(program, arguments, file).await;
    }
}

/// The same program answers the moderation hook.
async fn decides(program: &str, arguments: &[&str], file: &str) {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let port = free_port();
    let Some(_receiver) = Running::start(program, arguments, file, port, SECRET).await else { return };
    let hook = format!(
        "{NO_LIMITS}[moderation.hook]\nurl = \"http://127.0.0.1:{port}/\"\nsecret = \"{SECRET}\"\nallow_private = true\n\
         budget_ms = 2000\nfallback = \"deny\"\n"
    );
    let server = Options::new(BIN).config(&hook).start().await;
    server.user("alice").say("lobby", "hello").await;
    let held = server.user("alice").comment("lobby", "see http://example.com").await.expect(201);
    assert_eq!(held["status"], "pending_review", "{file}: {held}");
}

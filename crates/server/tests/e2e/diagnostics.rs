//! What the server says of itself: a log that cannot be written, metrics that are declared and count what they name.

use std::fs::File;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{ADMIN_KEY, Http, Reply, SECRET, Server, Viewer, eventually};

use crate::{BIN, configured, fast_server, server};

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[tokio::test]
async fn neither_log_nor_output_that_cannot_be_written_ends_the_server() {
    let dir = tempfile::tempdir().unwrap();
    // The address cannot be read from an output that takes nothing: the test chooses it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut child = Command::new(BIN)
        .args(["serve", "--dev", "--listen", &address, "--data"])
        .arg(dir.path())
        .env("BARRAGE__LOG__LEVEL", "debug")
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    let http = Http::new(&format!("http://{address}"), None);
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut viewer = Viewer::open(&address, "room_id=r&user_id=alice", &[]).await.unwrap();
    viewer.wait_for("room_joined").await;
    viewer.say("nobody can write this down").await;
    viewer.sees("nobody can write this down").await;
    assert!(http.metric("barrage_log_lines_dropped_total").await > 0.0);
    // SAFETY: kill takes no pointers; the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn a_command_whose_output_is_full_says_so() {
    let server = server().await;
    let (url, dir) = (server.url(), server.dir().to_str().unwrap());
    let (data, copy) = (format!("{dir}/data"), format!("{dir}/copy.sqlite"));
    let admin = ["admin", "--url", &url, "--key", ADMIN_KEY];
    let commands: [&[&str]; 5] = [
        &["default-config"],
        &[&admin[..], &["rooms"]].concat(),
        &[&admin[..], &["--json", "rooms"]].concat(),
        &["audit", "verify", "--data", &data],
        &["backup", &copy, "--data", &data],
    ];
    for command in commands {
        let output =
            Command::new(BIN).args(command).env("BARRAGE__AUTH__HMAC_SECRET", SECRET).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{command:?}: {output:?}");
    }
}

#[tokio::test]
async fn every_comment_is_one_in_the_histogram_of_its_name() {
    let server = fast_server().await;
    let mut viewers = [server.viewer("bob", "r").await, server.viewer("carol", "r").await];
    let mut owner = server.viewer_who_wishes("owner", "owner", "room_id=r&max_per_s=0").await;
    for n in 0..50 {
        owner.send(json!({ "type": "comment", "room_id": "r", "content": format!("number {n}") })).await;
    }
    for viewer in &mut viewers {
        viewer.accounts_for(50).await;
    }
    let name = "barrage_publish_to_socket_seconds_count";
    eventually("fifty", async || (server.http().metric(name).await >= 50.0).then_some(())).await;
    assert_eq!(server.http().metric(name).await, 50.0);
}

#[tokio::test]
async fn requests_loops_and_the_network_are_measured() {
    let server = server().await;
    let declared = server.http().get("/metrics").await.text;
    for name in [
        "http_requests counter",
        "http_request_seconds histogram",
        "event_loop_lag_seconds histogram",
        "process_network_receive_bytes counter",
        "process_network_transmit_bytes counter",
        "log_lines_dropped counter",
    ] {
        assert!(declared.contains(&format!("# TYPE barrage_{name}\n")), "{name}\n{declared}");
    }
    server.user("alice").get("rooms/hall").await;
    server.http().get("/nowhere/at-all").await;
    let asked = |labels: &str| format!("barrage_http_requests_total{{{labels}}}");
    let hall = asked(r#"route="/api/v1/rooms/{room_id}",method="GET",status="2xx""#);
    let nowhere = asked(r#"route="none",method="GET",status="4xx""#);
    assert_eq!((server.http().metric(&hall).await, server.http().metric(&nowhere).await), (1.0, 1.0));
    for counted in ["event_loop_lag_seconds_count{loop=\"tokio\"}", "event_loop_lag_seconds_count{loop=\"shard-0\"}"] {
        eventually(counted, async || (server.http().metric(&format!("barrage_{counted}")).await > 0.0).then_some(()))
            .await;
    }
    measured_soon(&server, "barrage_process_network_receive_bytes_total").await;
    measured_soon(&server, "barrage_process_network_transmit_bytes_total").await;
}

async fn measured_soon(server: &Server, name: &str) {
    eventually(name, async || (server.http().metric(name).await > 0.0).then_some(())).await;
}

/// The longest comment with every character escaped, by socket and HTTP.
#[tokio::test]
async fn the_longest_text_fits_in_its_longest_form() {
    let server = configured("[limits]\nnormal_per_s = 10000\nroom_per_s = 10000\n").await;
    let escaped = |n: usize| r"\ud83d\ude00".repeat(n);
    let mut alice = server.viewer("alice", "r").await;
    alice.send_text(&format!(r#"{{"type":"comment","room_id":"r","ref":1,"content":"{}"}}"#, escaped(200))).await;
    let answer = alice.expect("the answer", |answer| answer["ref"] == 1).await;
    assert_eq!(answer["status"], "accepted", "{answer}");
    let message = format!(
        r#"{{"type":"send_message","ref":2,"client_msg_id":"m","to_user":"bob","content":"{}"}}"#,
        escaped(4_000)
    );
    alice.send_text(&message).await;
    let answer = alice.expect("the answer", |answer| answer["ref"] == 2).await;
    assert_eq!(answer["type"], "message_ack", "{answer}");
    let http = server.user("carol");
    for (path, body) in [
        ("rooms/r/comments", format!(r#"{{"content":"{}"}}"#, escaped(199))),
        ("messages", format!(r#"{{"client_msg_id":"n","to_user":"bob","content":"{}"}}"#, escaped(4_000))),
    ] {
        let request = http.request(reqwest::Method::POST, path).header("content-type", "application/json").body(body);
        Reply::of(request).await.is(201);
    }
    // Beyond that the limit is what it was: of characters, not of their spelling.
    alice.send_text(&format!(r#"{{"type":"heartbeat","x":"{}"}}"#, "x".repeat(16 * 1024))).await;
    assert_eq!(alice.wait_close().await.0, 1009);
}

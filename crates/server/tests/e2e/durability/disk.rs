//! A disk that is full: a clear refusal, nothing lost, and on as soon as there is room.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use testkit::{Options, Server, SmallDisk, eventually};

use crate::durability::load::replayed;
use crate::{BIN, NO_LIMITS, fast_server};

/// The process may not write files any more: every write fails, wherever it goes.
#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let wrapper = dir.path().join("barrage");
    // Beyond the limit a signal ends a process that does not ignore it; a full disk sends none.
    std::fs::write(&wrapper, format!("#!/bin/sh\ntrap '' XFSZ\nexec {BIN} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Options::new(&wrapper).config(NO_LIMITS).start().await;
    let pid = server.pid();
    is_survived(&mut server, || limit_files(pid, Some(0)), || limit_files(pid, None)).await;
}

/// A file system without a free byte. Needs the right to mount one.
#[tokio::test]
async fn a_full_file_system_is_told_and_survived() {
    let mut server = fast_server().await;
    server.terminate().await;
    let data = server.dir().join("data");
    let Some(disk) = SmallDisk::over(&data) else { return };
    server.restart().await;
    is_survived(&mut server, || disk.fill(), || disk.free()).await;
}

async fn is_survived(server: &mut Server, fill: impl FnOnce(), free: impl FnOnce()) {
    let http = server.user("ann");
    let mut viewer = server.viewer("viewer", "r").await;
    let mut kept = Vec::new();
    for n in 0..20 {
        kept.push((format!("before {n}"), http.say("r", &format!("before {n}")).await));
    }
    fill();
    // What SQLite has set aside already may still take a few.
    let refused = loop {
        let text = format!("while full {}", kept.len());
        let answer = http.post("rooms/r/comments", json!({ "content": text, "client_msg_id": text })).await;
        if answer.status != 201 {
            let error = answer.fails(503, "unavailable");
            assert!(error["retry_after_ms"].as_u64().is_some(), "{error}");
            break text;
        }
        kept.push((text, answer.body["id"].as_str().unwrap().to_owned()));
        assert!(kept.len() < 5_000, "a full disk takes everything");
    };
    is_told(server, &kept[0].1).await;
    let last = kept.last().unwrap();
    viewer.sees(&last.0).await;
    viewer.refused(json!({ "type": "comment", "room_id": "r", "content": "no room" }), "unavailable").await;
    let unheard = |text: &&str| text.contains("no room") || **text == refused;
    viewer.settled().await;
    assert_eq!(viewer.contents().iter().find(|text| unheard(text)), None, "refused, and yet published");

    free();

    eventually("readiness", async || (server.http().get("/readyz").await.status == 200).then_some(())).await;
    let again = json!({ "content": refused, "client_msg_id": refused });
    let accepted = http.post("rooms/r/comments", again.clone()).await.expect(201);
    kept.push((refused, accepted["id"].as_str().unwrap().to_owned()));
    assert_eq!(http.post("rooms/r/comments", again).await.expect(201)["id"], accepted["id"]);
    kept.push(("after".into(), http.say("r", "after").await));
    viewer.sees("after").await;

    server.kill9().await;
    server.restart().await;
    let found = replayed(server, "r").await;
    let mut found: Vec<_> = found.iter().map(|c| (text(c, "content"), text(c, "id"))).collect();
    found.sort();
    kept.sort();
    assert_eq!(found, kept);
}

/// Everybody who asks hears that the store is away; what needs no disk goes on.
async fn is_told(server: &Server, liked: &str) {
    let http = server.user("bob");
    http.post(&format!("comments/{liked}/like"), Value::Null).await.fails(503, "unavailable");
    let ready = server.http().get("/readyz").await;
    assert_eq!((ready.status, ready.body["dependencies"]["store"]["state"] == "ok"), (503, false), "{}", ready.text);
    server.http().get("/healthz").await.is(200);
    let page = http.get("rooms/r/comments?since_id=0&limit=500").await.expect(200);
    assert_eq!(page["comments"][0]["id"], liked);
    let metrics = server.http().get("/metrics").await.text;
    assert!(metrics.lines().any(|line| line.starts_with("barrage_store_errors_total{")), "{metrics}");
}

fn text(comment: &Value, field: &str) -> String {
    comment[field].as_str().unwrap().to_owned()
}

/// Limits how long the files of a process may grow, in bytes.
fn limit_files(pid: u32, bytes: Option<u64>) {
    let limit = libc::rlimit { rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: `limit` lives during the call, and no old limit is asked for.
    let result = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

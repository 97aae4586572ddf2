//! What survives kill -9, a full disk and a drain: everything acknowledged, exactly once.

mod disk;
mod load;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Server, eventually};
use tokio::sync::watch;

use crate::durability::load::{Ledger, Reader, replayed, send_from_everywhere};
use crate::{configured, contents, fast_server, server};

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_under_load_loses_nothing_acknowledged_and_doubles_nothing() {
    let mut server = fast_server().await;
    let (url, urls) = watch::channel(server.url());
    let reader = Reader::start(urls);
    let mut ledger = Ledger::default();
    let mut newest = 0;
    // At other moments each time: in the middle of the first commits as well as of a busy log.
    for (round, until) in [40, 250, 120, 400].into_iter().enumerate() {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let senders = send_from_everywhere(&server, round, &acknowledged);
        eventually("acknowledgements", async || (acknowledged.load(Ordering::Relaxed) >= until).then_some(())).await;
        server.kill9().await;
        let sent = senders.join_all().await;
        let ids = || sent.iter().flat_map(|sent| sent.acknowledged.values().copied());
        assert!(ids().all(|id| id > newest), "ids rise across restarts");
        newest = ids().max().unwrap();
        server.restart().await;
        url.send_replace(server.url());
        ledger.add(sent);
        ledger.retry_all(&server).await;
    }
    ledger.is_what_was_kept(&replayed(&server, "r").await);
    reader.has_read(&ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_acknowledged() {
    let mut server = fast_server().await;
    let mut viewer = server.viewer("viewer", "r").await;
    let patient = server.user("patient");
    let poll = tokio::spawn(async move { patient.get("rooms/quiet/comments?wait_s=30").await });
    let metrics = server.http();
    eventually("the waiting poll", async || {
        let text = metrics.get("/metrics").await.text;
        text.lines().any(|line| line.starts_with("barrage_streams ") && !line.ends_with(" 0")).then_some(())
    })
    .await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let senders = send_from_everywhere(&server, 0, &acknowledged);
    eventually("acknowledgements", async || (acknowledged.load(Ordering::Relaxed) >= 200).then_some(())).await;

    let ended = server.terminate().await;

    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.took < Duration::from_secs(10), "{ended:?}");
    assert_eq!(poll.await.unwrap().expect(200)["comments"], json!([]));
    let (code, reason) = viewer.wait_close().await;
    assert_eq!(code, 1012);
    assert!(reason.parse::<u64>().is_ok_and(|delay_ms| delay_ms <= 30_000), "{reason:?}");
    let mut ledger = Ledger::default();
    ledger.add(senders.join_all().await);
    server.restart().await;
    ledger.retry_all(&server).await;
    ledger.is_what_was_kept(&replayed(&server, "r").await);
}

#[tokio::test]
async fn likes_reviews_bans_words_and_rooms_survive_kill_nine() {
    let mut server = server().await;
    let admin = server.admin();
    admin.put("admin/words", json!({ "mask": ["darn"], "review": ["hold"], "block": ["spam"] })).await.is(200);
    admin.put("admin/rooms/r", json!({ "name": "Room", "owner_id": "owner", "slow_mode_s": 0 })).await.is(200);
    let liked = server.user("ann").say("r", "like me").await;
    server.user("bob").post(&format!("comments/{liked}/like"), Value::Null).await.is(200);
    let held = server.user("cat").comment("r", "please hold this").await.expect(201);
    assert_eq!(held["status"], "pending_review");
    let ban = |user: &str, kind: &str| json!({ "user_id": user, "duration_s": 600, "kind": kind, "reason": "rude" });
    admin.post("admin/bans", ban("eve", "ban")).await.is(201);
    let muted = admin.post("admin/bans", ban("mel", "mute")).await.expect(201);
    let deleted = server.user("dan").say("r", "delete me").await;
    admin.delete(&format!("admin/comments/{deleted}")).await;

    server.kill9().await;
    server.restart().await;

    let (admin, http) = (server.admin(), server.user("reader"));
    let page = http.get("rooms/r/comments?since_id=0").await.expect(200);
    assert_eq!(contents(&page["comments"]), ["like me"], "the deleted one stays away and the held one waits");
    assert_eq!(page["comments"][0]["like_count"], 1);
    server.user("bob").post(&format!("comments/{liked}/like"), Value::Null).await.fails(409, "already_liked");
    let likes = server.user("fay").post(&format!("comments/{liked}/like"), Value::Null).await.expect(200);
    assert_eq!(likes["like_count"], 2);
    server.user("eve").comment("r", "let me in").await.fails(403, "banned");
    server.user("mel").comment("r", "let me speak").await.fails(403, "muted");
    admin.delete(&format!("admin/bans/{}", muted["id"].as_str().unwrap())).await;
    server.user("mel").say("r", "darn, at last").await;
    server.user("gus").comment("r", "spam").await.fails(422, "content_blocked");
    let room = http.get("rooms/r").await.expect(200);
    assert_eq!((&room["name"], &room["owner_id"]), (&json!("Room"), &json!("owner")));
    let reviews = admin.get("admin/reviews?status=pending&room_id=r").await.expect(200);
    assert_eq!(reviews["reviews"][0]["id"], held["id"]);
    admin.post(&format!("admin/reviews/{}/approve", held["id"].as_str().unwrap()), Value::Null).await.is(200);
    let page = http.get(&format!("rooms/r/comments?since_id={liked}")).await.expect(200);
    assert_eq!(contents(&page["comments"]), ["****, at last", "please hold this"], "in the order of publication");
    assert_eq!(page["comments"][1]["created_at"], held["created_at"]);
}

#[tokio::test]
async fn a_session_goes_on_in_the_next_run() {
    let mut server = server().await;
    server.user("ann").say("quiet", "one").await;
    let opened = server.admin().post("admin/rooms/show/open", Value::Null).await.expect(200)["session_id"].clone();
    server.user("bob").say("show", "two").await;
    server.admin().post("admin/rooms/over/open", Value::Null).await.is(200);
    server.admin().post("admin/rooms/over/close", Value::Null).await.is(200);

    server.kill9().await;
    server.restart().await;

    server.user("ann").say("quiet", "three").await;
    server.user("bob").say("show", "four").await;
    server.user("cat").comment("over", "too late").await.fails(403, "room_closed");
    let quiet = sessions(&server, "quiet").await;
    assert_eq!((quiet.len(), &quiet[0]["comment_count"]), (1, &json!(2)), "{quiet:?}");
    let show = sessions(&server, "show").await;
    assert_eq!((show.len(), &show[0]["session_id"], &show[0]["comment_count"]), (1, &opened, &json!(2)), "{show:?}");
    assert_eq!(server.user("ann").get("rooms/show").await.expect(200)["state"], "live");
    let over = sessions(&server, "over").await;
    assert!(over[0]["ended_at"].is_string(), "{over:?}");
}

#[tokio::test]
async fn a_session_that_fell_silent_before_a_restart_ends_after_it() {
    let mut server = configured("[rooms]\nsession_silence_s = 1\n").await;
    server.user("ann").say("r", "one").await;
    server.kill9().await;
    server.restart().await;
    let ended = eventually("the session's end", async || {
        sessions(&server, "r").await.into_iter().find(|session| session["ended_at"].is_string())
    })
    .await;
    server.user("bob").say("r", "two").await;
    let sessions = sessions(&server, "r").await;
    assert_eq!((sessions.len(), &sessions[1]["session_id"]), (2, &ended["session_id"]), "{sessions:?}");
    assert!(sessions[0]["ended_at"].is_null(), "{sessions:?}");
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let server = server().await;
    let second = server.command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another server"), "{said}");
    assert!(second.stdout.is_empty(), "it never says that it listens");
    server.user("ann").say("r", "the first goes on").await;
}

async fn sessions(server: &Server, room: &str) -> Vec<Value> {
    let answer = server.user("reader").get(&format!("rooms/{room}/sessions")).await.expect(200);
    answer["sessions"].as_array().unwrap().clone()
}

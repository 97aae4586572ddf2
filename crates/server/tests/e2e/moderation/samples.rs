//! A sample of what passes is kept for quality control, apart from the comments themselves.

use serde_json::{Value, json};
use testkit::{Server, eventually};

use super::bearer;
use crate::{NO_LIMITS, configured, contents};

async fn sampling(one_in: u32) -> Server {
    let server = configured(&format!("{NO_LIMITS}[moderation]\nsample_one_in = {one_in}\n")).await;
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    server
}

/// The sample, once there are so many.
async fn samples(server: &Server, query: &str, n: usize) -> Vec<Value> {
    eventually("the sample", async || {
        let listed = server.admin().get(&format!("admin/samples{query}")).await.expect(200);
        Some(listed["samples"].as_array().unwrap().clone()).filter(|samples| samples.len() == n)
    })
    .await
}

fn texts(samples: &[Value]) -> Vec<&str> {
    samples.iter().map(|sample| sample["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_passes_is_kept_queried_and_exported() {
    let server = sampling(1).await;
    let first = server.user("alice").say("lobby", "first").await;
    let held = server.user("alice").comment("lobby", "hold this").await.expect(201);
    server.user("bob").say("attic", "second").await;
    let found = samples(&server, "", 2).await;
    assert_eq!(texts(&found), ["first", "second"], "what is held has not passed");
    assert_eq!(
        (&found[0]["id"], &found[0]["room_id"], &found[0]["user_id"]),
        (&json!(first), &json!("lobby"), &json!("alice"))
    );
    let approve = format!("admin/reviews/{}/approve", held["id"].as_str().unwrap());
    server.admin().post(&approve, Value::Null).await.is(200);
    assert_eq!(texts(&samples(&server, "", 3).await), ["first", "hold this", "second"]);
    assert_eq!(texts(&samples(&server, "?room_id=attic", 1).await), ["second"]);
    let page = server.admin().get("admin/samples?limit=2").await.expect(200);
    let next = format!("?cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(texts(&samples(&server, &next, 1).await), ["second"]);
    assert_eq!(texts(&samples(&server, "?until=2020-01-01T00:00:00Z", 0).await), Vec::<&str>::new());

    // A moderator's deletion is what the sample is to be held against.
    server.admin().delete(&format!("admin/comments/{first}")).await.is(204);
    samples(&server, "", 3).await;
    let lines = server.admin().get("admin/samples?format=jsonl").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(texts(&lines), ["first", "hold this", "second"]);
    let printed = server.command(&["audit", "samples"]).await;
    let printed = String::from_utf8(printed.stdout).unwrap();
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed, lines);

    let auditor = server.bearing(&bearer("aud", json!({ "roles": { "attic": "auditor" } })));
    let own = auditor.get("admin/samples").await.expect(200);
    assert_eq!(texts(own["samples"].as_array().unwrap()), ["second"]);
    auditor.get("admin/samples?room_id=lobby").await.fails(403, "forbidden");
    server.user("ned").get("admin/samples").await.fails(403, "forbidden");
    assert!(server.admin().get("/metrics").await.text.contains("barrage_moderation_comments_sampled_total 3"));
}

#[tokio::test]
async fn a_purge_and_an_erasure_take_a_persons_samples() {
    let server = sampling(1).await;
    for (user, room) in [("mallory", "lobby"), ("mallory", "attic"), ("eve", "lobby"), ("ann", "lobby")] {
        server.user(user).say(room, &format!("{user} in {room}")).await;
    }
    samples(&server, "", 4).await;
    let purge = json!({ "user_id": "mallory", "room_id": "lobby", "kind": "mute", "duration_s": 60, "purge": true });
    server.admin().post("admin/bans", purge).await.is(201);
    assert_eq!(texts(&samples(&server, "", 3).await), ["mallory in attic", "eve in lobby", "ann in lobby"]);
    server.admin().delete("admin/users/eve/data").await.is(202);
    assert_eq!(texts(&samples(&server, "", 2).await), ["mallory in attic", "ann in lobby"]);
}

#[tokio::test]
async fn without_the_setting_nothing_is_kept() {
    let server = sampling(0).await;
    server.user("alice").say("lobby", "passing by").await;
    let replay = server.user("bob").get("rooms/lobby/replay").await.expect(200);
    assert_eq!(contents(&replay["comments"]), ["passing by"]);
    assert_eq!(server.admin().get("admin/samples").await.expect(200), json!({ "samples": [] }));
}

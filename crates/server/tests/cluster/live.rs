//! A live room whose viewers sit on several nodes.

use serde_json::{Value, json};
use testkit::eventually;

use crate::cluster;

fn contents(comments: &Value) -> Vec<&str> {
    comments.as_array().unwrap().iter().map(|comment| comment["content"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_reaches_the_viewers_on_all_nodes_and_is_kept_once() {
    let Some(nodes) = cluster(3).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    let mut cy = nodes[2].viewer("cy", "hall").await;

    let hello = ann.say("hello").await;
    for viewer in [&mut ann, &mut bo, &mut cy] {
        assert_eq!(viewer.sees("hello").await["id"], json!(hello));
    }
    bo.say("hi ann").await;
    for viewer in [&mut ann, &mut bo, &mut cy] {
        viewer.sees("hi ann").await;
    }

    // Read anywhere, in a room's page and in its replay.
    for node in &nodes.nodes {
        let page = node.user("dee").get("rooms/hall/comments").await.expect(200);
        assert_eq!(contents(&page["comments"]), ["hello", "hi ann"]);
        let replay = node.user("dee").get("rooms/hall/replay").await.expect(200);
        assert_eq!(contents(&replay["comments"]), ["hello", "hi ann"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_on_another_node_gets_the_first_answer() {
    let Some(nodes) = cluster(2).await else { return };
    let comment = json!({ "content": "once", "client_msg_id": "c-1" });
    let first = nodes[0].user("ann").post("rooms/hall/comments", comment.clone()).await.expect(201);
    let again = nodes[1].user("ann").post("rooms/hall/comments", comment).await.expect(201);
    assert_eq!(first, again);
    let page = nodes[1].user("ann").get("rooms/hall/comments").await.expect(200);
    assert_eq!(contents(&page["comments"]), ["once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_over_all_nodes() {
    let Some(nodes) = cluster(2).await else { return };
    let first = json!({ "content": "one" });
    nodes[0].user("ann").post("rooms/hall/comments", first).await.is(201);
    let refused = nodes[1].user("ann").post("rooms/hall/comments", json!({ "content": "two" })).await;
    refused.fails(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_hot_comments_and_viewers_are_those_of_all_nodes() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    let id = ann.say("like this").await;
    bo.say("and this").await;
    bo.sees("like this").await;
    let liked = nodes[1].user("bo").post(&format!("comments/{id}/like"), Value::Null).await.expect(200);
    assert_eq!(liked["like_count"], 1);
    nodes[0].user("bo").post(&format!("comments/{id}/like"), Value::Null).await.fails(409, "already_liked");
    for node in &nodes.nodes {
        let hot = node.user("ann").get("rooms/hall/hot").await.expect(200);
        assert_eq!((contents(&hot["comments"]), &hot["comments"][0]["like_count"]), (vec!["like this"], &json!(1)));
        let ranking = node.user("ann").get("rooms/hall/ranking").await.expect(200);
        assert_eq!(ranking["entries"].as_array().unwrap().len(), 2, "{ranking}");
    }
    for node in &nodes.nodes {
        eventually("the viewers of both nodes", async || {
            (node.user("ann").get("rooms/hall").await.expect(200)["viewers"] == 2).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_polls_now_here_now_there_misses_nothing() {
    let Some(nodes) = cluster(3).await else { return };
    let reader: Vec<_> = nodes.nodes.iter().map(|node| node.user("dee")).collect();
    let mut since = "0".to_owned();
    let (mut said, mut read) = (Vec::new(), std::collections::BTreeSet::new());
    for round in 0..6 {
        for node in &nodes.nodes {
            let n = said.len();
            let comment = json!({ "content": format!("comment {n}") });
            let taken = node.user(&format!("user-{n}")).post("rooms/hall/comments", comment).await.expect(201);
            said.push(taken["id"].as_str().unwrap().to_owned());
        }
        let page = reader[round % 3].get(&format!("rooms/hall/comments?since_id={since}")).await.expect(200);
        read.extend(page["comments"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()));
        since = page["latest_id"].as_str().unwrap().to_owned();
    }
    let rest = |node: usize, since: String| {
        let reader = &reader[node];
        async move { reader.get(&format!("rooms/hall/comments?since_id={since}")).await.expect(200) }
    };
    eventually("all that was said", async || {
        let page = rest(1, since.clone()).await;
        read.extend(page["comments"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()));
        since = page["latest_id"].as_str().unwrap().to_owned();
        said.iter().all(|id| read.contains(id)).then_some(())
    })
    .await;
    assert_eq!(read.len(), said.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_comes_back_elsewhere_goes_on() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let seen = ann.say("before").await;
    ann.sees("before").await;
    ann.cut();
    let mut bo = nodes[0].viewer("bo", "hall").await;
    let missed = bo.say("meanwhile").await;
    let mut ann = nodes[1].device("ann", "phone").await;
    let joined = ann.ask(json!({ "type": "join_room", "room_id": "hall", "since_id": seen })).await;
    assert_eq!(joined["type"], "room_joined");
    let history = joined["history"].as_array().unwrap();
    assert!(history.iter().any(|comment| comment["id"] == json!(missed)), "{joined}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_answer_of_a_node_that_died_before_it_gave_it() {
    let Some(nodes) = cluster(2).await else { return };
    let comment = json!({ "content": "once", "client_msg_id": "c-1" });
    let first = nodes[0].user("ann").post("rooms/hall/comments", comment.clone()).await.expect(201);
    // As it stands in Redis when the comment is kept and the node has not noted that yet.
    let key = redis(&["--scan", "--pattern", "*{ann}:c-1"], |key| is_of(key, &first["id"])).unwrap();
    let now_ms = testkit::now_s() * 1_000;
    let flight = format!("flight:{}:{now_ms}", first["id"].as_str().unwrap());
    redis(&["set", &key, &flight, "px", "30000"], |_| true).unwrap();
    let again = nodes[1].user("ann").post("rooms/hall/comments", comment).await.expect(201);
    assert_eq!(again, first);
}

/// Whether this key says what became of that comment: other tests use the same Redis.
fn is_of(key: &str, id: &Value) -> bool {
    redis(&["get", key], |_| true).is_some_and(|held| held.contains(id.as_str().unwrap()))
}

/// The first line of the shared Redis's answer that fits.
fn redis(command: &[&str], fits: impl Fn(&str) -> bool) -> Option<String> {
    let address = testkit::service("BARRAGE_TEST_REDIS")?;
    let told = std::process::Command::new("redis-cli").args(["-u", &address]).args(command).output().ok()?;
    String::from_utf8(told.stdout).ok()?.lines().find(|line| fits(line)).map(str::to_owned)
}

//! Live rooms: saying, reading, waiting, listening, liking.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use model::Level;
use serde_json::{Value, json};

use crate::world::{KEY, World, settings, token, token_of};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn contents(answer: &Value) -> Vec<&str> {
    let comments = answer["comments"].as_array().expect("comments");
    comments.iter().map(|comment| comment["content"].as_str().expect("content")).collect()
}

#[tokio::test]
async fn what_is_said_is_read_liked_and_ranked() {
    let world = World::start(settings()).await;
    let (ann, bob) = (token("ann"), token("bob"));
    let first = world.say(&ann, "r", "hello").await;
    let style = json!({ "content": "top", "style": { "mode": "top", "color": "#ff0000", "size": "large" }, "mentions": ["bob"] });
    let second = world.expect(201, &ann, "POST /rooms/r/comments", style).await;
    assert_eq!(second["status"], "accepted");
    assert!(second["created_at"].as_str().expect("a time").ends_with('Z'));

    let all = world.expect(200, &bob, "GET /rooms/r/comments", Value::Null).await;
    assert_eq!(contents(&all), ["hello", "top"]);
    assert_eq!(all["latest_id"], second["id"]);
    let comment = &all["comments"][1];
    assert_eq!(comment["style"], json!({ "mode": "top", "color": "#FF0000", "size": "large" }));
    assert_eq!((&comment["username"], &comment["mentions"]), (&json!("ANN"), &json!(["bob"])));
    let since = world.expect(200, &bob, &format!("GET /rooms/r/comments?since_id={first}"), Value::Null).await;
    assert_eq!(contents(&since), ["top"]);
    let paged = world.expect(200, &bob, "GET /rooms/r/comments?since_id=0&limit=1", Value::Null).await;
    assert_eq!((contents(&paged), &paged["latest_id"]), (vec!["hello"], &json!(first)));

    let like = format!("/comments/{first}/like");
    assert_eq!(world.expect(200, &bob, &format!("POST {like}"), Value::Null).await, json!({ "like_count": 1 }));
    world.refused(409, "already_liked", &bob, &format!("POST {like}"), Value::Null).await;
    let hot = world.expect(200, &bob, "GET /rooms/r/hot", Value::Null).await;
    assert_eq!((contents(&hot), &hot["comments"][0]["like_count"]), (vec!["hello"], &json!(1)));
    assert_eq!(world.expect(200, &bob, &format!("DELETE {like}"), Value::Null).await, json!({ "like_count": 0 }));
    let ranking = world.expect(200, &bob, "GET /rooms/r/ranking?limit=99999", Value::Null).await;
    assert_eq!(ranking["entries"], json!([{ "rank": 1, "user_id": "ann", "username": "ANN", "score": 2 }]));
}

#[tokio::test]
async fn comments_may_be_decided_about_on_another_node() {
    let (world, stop) = World::without_ingest(settings()).await;
    let (ann, line) = (token("ann"), "POST /rooms/r/comments");
    let style = json!({ "mode": "top", "color": "#FF0000", "size": "large" });
    let draft = json!({ "content": "hello", "client_msg_id": "m-1", "style": style, "mentions": ["bob"] });
    let first = world.expect(201, &ann, line, draft.clone()).await;
    assert_eq!(world.expect(201, &ann, line, draft).await, first, "a retry gets the first answer");
    let all = world.expect(200, &ann, "GET /rooms/r/comments", Value::Null).await;
    assert_eq!((contents(&all), &all["latest_id"]), (vec!["hello"], &first["id"]));
    let comment = &all["comments"][0];
    assert_eq!((&comment["style"], &comment["mentions"]), (&style, &json!(["bob"])));
    assert_eq!((&comment["user_id"], &comment["username"]), (&json!("ann"), &json!("ANN")));

    world.refused(422, "content_empty", &ann, line, json!({ "content": " " })).await;
    let again = world.refused(409, "duplicate_comment", &ann, line, json!({ "content": "hello" })).await;
    assert!(again["error"]["retry_after_ms"].as_u64().is_some_and(|ms| (1..=5_000).contains(&ms)), "{again}");
    let elsewhere = token_of("bob", Level::Normal, Some(&["another"]));
    world.refused(403, "forbidden", &elsewhere, line, json!({ "content": "may I?" })).await;

    stop.cancel();
    let deadline = Instant::now() + PATIENCE;
    while world.ask(&ann, line, json!({ "content": "still there?" })).await.0 != 503 {
        assert!(Instant::now() < deadline, "a node that was ended still decides");
    }
    world.refused(503, "unavailable", &ann, line, json!({ "content": "anybody there?" })).await;
}

#[tokio::test]
async fn a_retry_gets_the_first_answer() {
    let world = World::start(settings()).await;
    let draft = json!({ "content": "once", "client_msg_id": "m-1", "unknown": true });
    let first = world.expect(201, &token("ann"), "POST /rooms/r/comments", draft.clone()).await;
    let again = world.expect(201, &token("ann"), "POST /rooms/r/comments", draft).await;
    assert_eq!(first, again);
    let all = world.expect(200, &token("ann"), "GET /rooms/r/comments", Value::Null).await;
    assert_eq!(contents(&all), ["once"]);
}

#[tokio::test]
async fn a_poll_waits_for_what_comes() {
    let world = World::start(settings()).await;
    let (ann, bob) = (token("ann"), token("bob"));
    let first = world.say(&ann, "r", "first").await;
    let waiting = format!("GET /rooms/r/comments?since_id={first}&wait_s=30");
    let (page, _) = tokio::join!(world.expect(200, &bob, &waiting, Value::Null), async {
        while streams(&world).await < 1 {
            tokio::task::yield_now().await;
        }
        world.say(&ann, "r", "second").await
    });
    assert_eq!(contents(&page), ["second"]);

    let latest = page["latest_id"].as_str().expect("an id");
    let asked = Instant::now();
    let none = world.expect(200, &bob, &format!("GET /rooms/r/comments?since_id={latest}&wait_s=1"), Value::Null).await;
    assert_eq!((contents(&none), &none["latest_id"]), (vec![], &json!(latest)));
    assert!(asked.elapsed() >= Duration::from_millis(950), "{:?}", asked.elapsed());

    let empty = world.expect(200, &bob, "GET /rooms/silent/comments", Value::Null).await;
    assert_eq!(empty, json!({ "comments": [], "latest_id": "0" }));
}

#[tokio::test]
async fn draining_answers_who_waits() {
    let world = World::start(settings()).await;
    let bob = token("bob");
    let mut stream = listen(&world, &bob, "/rooms/r/events", None).await;
    let (page, ()) = tokio::join!(world.expect(200, &bob, "GET /rooms/r/comments?wait_s=30", Value::Null), async {
        while streams(&world).await < 2 {
            tokio::task::yield_now().await;
        }
        world.draining.send_replace(true);
    });
    assert_eq!(contents(&page), Vec::<&str>::new());
    assert_eq!(stream.next().await, None, "the event stream ends");
    let ready = world.http.get(format!("{}/readyz", world.url)).send().await.expect("an answer");
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.expect("JSON")["status"], "draining");
}

/// Open streams and waiting polls, as the server counts them.
async fn streams(world: &World) -> u64 {
    let text = world.http.get(format!("{}/metrics", world.url)).send().await.expect("an answer");
    let text = text.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("barrage_streams "));
    line.expect("the gauge").parse().expect("a number")
}

#[tokio::test]
async fn an_event_stream_brings_what_was_missed_and_what_comes() {
    let world = World::start(settings()).await;
    let (ann, bob) = (token("ann"), token("bob"));
    let first = world.say(&ann, "r", "one").await;
    let mut stream = listen(&world, &bob, "/rooms/r/events", None).await;
    let Sent { event, id, data } = stream.next().await.expect("history");
    assert_eq!((event.as_str(), id.as_deref()), ("comments", Some(first.as_str())));
    assert_eq!((contents(&data), &data["type"]), (vec!["one"], &json!("comments")));
    let second = world.say(&ann, "r", "two").await;
    let Sent { id, data, .. } = stream.next_of("comments").await;
    assert_eq!((contents(&data), id.as_deref()), (vec!["two"], Some(second.as_str())));

    let told = world.expect(201, KEY, "POST /admin/rooms/r/announcements", json!({ "content": "welcome" })).await;
    let event = loop {
        let sent = stream.next_of("event").await;
        if sent.data["kind"] == "announcement" {
            break sent.data;
        }
    };
    assert_eq!((&event["event_id"], &event["content"]), (&told["event_id"], &json!("welcome")));

    drop(stream);
    let third = world.say(&ann, "r", "three").await;
    let path = format!("/rooms/r/events?since_id={first}");
    let mut resumed = listen(&world, &bob, &path, Some(&second)).await;
    let Sent { id, data, .. } = resumed.next().await.expect("what was missed");
    assert_eq!((contents(&data), id.as_deref()), (vec!["three"], Some(third.as_str())));
}

#[tokio::test]
async fn a_banned_listener_hears_nothing_more() {
    let world = World::start(settings()).await;
    let (ann, bob) = (token("ann"), token("bob"));
    let mut stream = listen(&world, &bob, "/rooms/r/events", None).await;
    let ban = json!({ "user_id": "bob", "room_id": "r", "duration_s": 60, "kind": "ban" });
    world.expect(201, KEY, "POST /admin/bans", ban).await;
    world.say(&ann, "r", "behind his back").await;
    while let Some(sent) = stream.next().await {
        assert_ne!(sent.event, "comments", "{}", sent.data);
    }
    let refused = world.refused(403, "banned", &bob, "GET /rooms/r/comments", Value::Null).await;
    assert!(refused["error"]["retry_after_ms"].as_u64().is_some_and(|ms| (50_000..=60_000).contains(&ms)));
    world.expect(200, &bob, "GET /rooms/elsewhere/comments", Value::Null).await;
}

#[derive(Debug, PartialEq)]
struct Sent {
    event: String,
    id: Option<String>,
    data: Value,
}

/// An event stream, read as the standard says.
struct Stream {
    bytes: futures::stream::BoxStream<'static, Vec<u8>>,
    unread: String,
}

async fn listen(world: &World, bearer: &str, path: &str, last_id: Option<&str>) -> Stream {
    let mut request = world.request(bearer, &format!("GET {path}"), &Value::Null);
    if let Some(id) = last_id {
        request = request.header("Last-Event-ID", id);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let bytes = answer.bytes_stream().map(|chunk| chunk.expect("bytes").to_vec()).boxed();
    Stream { bytes, unread: String::new() }
}

impl Stream {
    /// The next event that carries data; `None` when the stream ends.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                if let Some(sent) = sent(&block) {
                    return Some(sent);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.bytes.next()).await.expect("something in time")?;
            self.unread.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    async fn next_of(&mut self, kind: &str) -> Sent {
        loop {
            let sent = self.next().await.expect("an open stream");
            if sent.event == kind {
                return sent;
            }
        }
    }
}

fn sent(block: &str) -> Option<Sent> {
    let field =
        |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let data = serde_json::from_str(&field("data:")?).expect("JSON");
    Some(Sent { event: field("event:").unwrap_or_default(), id: field("id:"), data })
}

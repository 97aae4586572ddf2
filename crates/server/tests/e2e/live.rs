//! Live segments: a room as a cache is given it.

use std::collections::HashSet;
use std::io::Read as _;

use futures::future::join_all;
use prost::Message as _;
use protocol::proto::v1;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Http, Options, Reply, Server, Viewer, eventually, now_s, token};

use crate::{BIN, NO_LIMITS, configured, server};

const OPEN: &str = "[auth]\nanonymous_read = true\n";

/// A server whose rooms anybody may read, and whose users may write as fast as they like.
async fn open_server() -> Server {
    configured(&format!("{OPEN}{NO_LIMITS}")).await
}

/// The segment under way, after its first use.
async fn under_way(http: &Http, room: &str) -> u64 {
    http.get(&format!("rooms/{room}/live")).await.expect(200)["seq"].as_u64().unwrap()
}

async fn segment(http: &Http, room: &str, seq: u64) -> Reply {
    http.get(&format!("rooms/{room}/live/{seq}")).await
}

/// The segments from a number on until one fits; each is waited for.
async fn until(http: &Http, room: &str, from: u64, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut found = Vec::new();
    for seq in from..from + 30 {
        let segment = segment(http, room, seq).await.expect(200);
        found.push(segment);
        if found.last().is_some_and(&fits) {
            return found;
        }
    }
    panic!("none of 30 segments fits: {found:?}");
}

fn contents(segment: &Value) -> Vec<&str> {
    segment["comments"].as_array().unwrap().iter().map(|comment| comment["content"].as_str().unwrap()).collect()
}

fn says(segment: &Value, content: &str) -> bool {
    contents(segment).contains(&content)
}

/// What the room was told; rankings come when they please.
fn kinds(segments: &[Value]) -> Vec<&str> {
    let events = segments.iter().flat_map(|segment| segment["events"].as_array().unwrap());
    let kinds = events.map(|event| event["kind"].as_str().unwrap());
    kinds.filter(|kind| !["ranking", "hot_comments"].contains(kind)).collect()
}

fn is_no_store(reply: &Reply) -> bool {
    reply.header("cache-control") == Some("no-store")
}

#[tokio::test]
async fn each_comment_is_in_one_segment_which_is_answered_when_its_time_is_over() {
    let server = open_server().await;
    let http = server.http();
    let at = http.get("rooms/lobby/live").await;
    assert!(is_no_store(&at));
    let at = at.expect(200);
    assert_eq!(
        (at["segment_ms"].as_u64(), at["url_template"].as_str()),
        (Some(1_000), Some("/api/v1/rooms/lobby/live/{seq}"))
    );
    let (seq, now_ms) = (at["seq"].as_u64().unwrap(), at["server_time_ms"].as_u64().unwrap());
    assert!(now_ms / 1_000 == seq || now_ms / 1_000 == seq + 1, "{at}");
    let alice = server.user("alice");
    let speaks = async {
        for n in 0..20 {
            alice.say("lobby", &format!("number {n}")).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        alice.say("lobby", "the end").await;
    };
    let ((), segments) = tokio::join!(speaks, until(&http, "lobby", seq, |segment| says(segment, "the end")));
    let said: Vec<_> = segments.iter().flat_map(contents).collect();
    let expected: Vec<_> = (0..20).map(|n| format!("number {n}")).chain(["the end".to_owned()]).collect();
    assert_eq!(said, expected);
    for (n, segment) in (seq..).zip(&segments) {
        let bounds = [&segment["seq"], &segment["from_ms"], &segment["to_ms"]].map(|value| value.as_u64().unwrap());
        assert_eq!(bounds, [n, n * 1_000, (n + 1) * 1_000]);
        assert_eq!((&segment["room_id"], &segment["omitted"]), (&json!("lobby"), &json!(0)));
    }
    // The one under way and the next are answered no sooner than they end.
    let seq = under_way(&http, "lobby").await;
    let [first, second] = [segment(&http, "lobby", seq).await, segment(&http, "lobby", seq + 1).await];
    let at = http.get("rooms/lobby/live").await.expect(200);
    for reply in [first, second] {
        assert_eq!(reply.header("cache-control"), Some("public, max-age=10"));
        let segment = reply.expect(200);
        assert!(segment["to_ms"].as_u64() <= at["server_time_ms"].as_u64(), "{segment} at {at}");
    }
    assert_eq!(http.get("rooms/lobby").await.expect(200)["viewers"], 0, "readers of segments hold no stream");
}

#[tokio::test]
async fn numbers_that_are_no_segment_are_not_found_and_all_others_answer() {
    let server = open_server().await;
    let http = server.http();
    let seq = under_way(&http, "lobby").await;
    let year_2100 = 4_102_444_800_u64;
    let wrong = [seq - 1, seq - 3_700, seq + 60, year_2100, u64::MAX].map(|seq| seq.to_string());
    let spelt = [format!("0{seq}"), format!("{seq}.0"), "x".to_owned(), "-1".to_owned()];
    for wrong in wrong.iter().chain(&spelt) {
        let reply = http.get(&format!("rooms/lobby/live/{wrong}")).await;
        assert!(is_no_store(&reply), "{wrong}");
        reply.fails(404, "not_found");
    }
    let quiet = segment(&http, "lobby", seq).await;
    assert_eq!(quiet.header("cache-control"), Some("public, max-age=10"));
    let quiet = quiet.expect(200);
    assert_eq!((&quiet["comments"], &quiet["omitted"]), (&json!([]), &json!(0)));
    segment(&http, "lobby", seq + 2).await.is(200);
}

#[tokio::test]
async fn a_deletion_takes_a_comment_out_and_is_told_in_the_segment_under_way() {
    let server = open_server().await;
    let http = server.http();
    let seq = under_way(&http, "lobby").await;
    let id = server.user("alice").say("lobby", "to be deleted").await;
    server.user("bob").say("lobby", "to stay").await;
    let found = until(&http, "lobby", seq, |segment| says(segment, "to stay")).await;
    let of = found.iter().find(|segment| says(segment, "to be deleted")).unwrap()["seq"].as_u64().unwrap();
    let before = segment(&http, "lobby", of).await;
    let after = under_way(&http, "lobby").await;
    server.admin().delete(&format!("admin/comments/{id}")).await.is(204);
    let told =
        until(&http, "lobby", after, |segment| kinds(std::slice::from_ref(segment)).contains(&"comment_deleted")).await;
    assert_eq!(kinds(&told), ["comment_deleted"], "once");
    let mut events = told.iter().flat_map(|segment| segment["events"].as_array().unwrap());
    assert!(events.any(|event| event["comment_id"] == json!(id)));
    let without = segment(&http, "lobby", of).await;
    assert_ne!(without.header("etag"), before.header("etag"));
    assert!(!says(&without.expect(200), "to be deleted"));
    let others = until(&http, "lobby", seq, |segment| says(segment, "to stay")).await;
    assert!(!others.iter().any(|segment| says(segment, "to be deleted")));
}

#[tokio::test]
async fn a_segment_is_composed_as_a_stream_with_a_budget_and_a_count_of_what_is_left_out() {
    let server = configured(&format!("{OPEN}{NO_LIMITS}\n[rooms]\nviewer_per_s_max = 5\n")).await;
    let http = server.http();
    let seq = under_way(&http, "lobby").await;
    let users: Vec<_> = (0..60).map(|n| (n, server.user(&format!("user{n}")))).collect();
    join_all(users.iter().map(async |(n, user)| user.say("lobby", &format!("quite different {n}")).await)).await;
    server.admin().post("admin/rooms/lobby/announcements", json!({ "content": "that was it" })).await.is(201);
    let segments =
        until(&http, "lobby", seq, |segment| kinds(std::slice::from_ref(segment)).contains(&"announcement")).await;
    let last = segments.last().unwrap()["seq"].as_u64().unwrap();
    let mut accounted = 0;
    for segment in segments.iter().chain(&[segment(&http, "lobby", last + 1).await.expect(200)]) {
        accounted += segment["omitted"].as_u64().unwrap();
        accounted += segment["comments"].as_array().unwrap().len() as u64;
        assert!(contents(segment).len() < 20, "{segment}");
    }
    assert_eq!(accounted, 60);
}

#[tokio::test]
async fn events_for_the_whole_room_are_in_it_once_and_what_concerns_one_is_not() {
    let server = open_server().await;
    let http = server.http();
    let seq = under_way(&http, "lobby").await;
    let id = server.user("alice").say("lobby", "worth a pin").await;
    let admin = server.admin();
    admin.put("admin/rooms/lobby/pin", json!({ "comment_id": id })).await.is(200);
    let mute = json!({ "user_id": "bob", "room_id": "lobby", "duration_s": 60, "kind": "mute", "reason": "a secret" });
    admin.post("admin/bans", mute).await.is(201);
    admin.post("admin/rooms/lobby/announcements", json!({ "content": "welcome" })).await.is(201);
    let segments =
        until(&http, "lobby", seq, |segment| kinds(std::slice::from_ref(segment)).contains(&"announcement")).await;
    assert_eq!(kinds(&segments), ["room_state", "pin", "announcement"]);
    assert!(!json!(segments).to_string().contains("a secret"));
    let ids: Vec<_> = segments
        .iter()
        .flat_map(|segment| segment["events"].as_array().unwrap())
        .map(|event| event["event_id"].to_string())
        .collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

#[tokio::test]
async fn a_client_is_given_the_form_that_it_asks_for_and_304_when_it_has_it() {
    let server = open_server().await;
    let http = server.http();
    let seq = under_way(&http, "lobby").await;
    server.user("alice").say("lobby", "你好 hello").await;
    let of = until(&http, "lobby", seq, |segment| says(segment, "你好 hello")).await.last().unwrap()["seq"]
        .as_u64()
        .unwrap();
    let path = format!("rooms/lobby/live/{of}");
    let mut tags = HashSet::new();
    for accept in ["application/json", "application/x-protobuf"] {
        for encoding in ["identity", "gzip", "zstd", "br"] {
            let asked =
                || http.request(Method::GET, &path).header("accept", accept).header("accept-encoding", encoding);
            let answer = asked().send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header("content-type").as_deref(), Some(accept));
            assert_eq!(header("content-encoding").unwrap_or("identity".into()), encoding);
            let vary = header("vary").unwrap().to_lowercase();
            assert!(vary.contains("accept-encoding") && !vary.contains("origin"), "{vary}");
            let tag = header("etag").unwrap();
            let body = decoded(encoding, &answer.bytes().await.unwrap());
            if accept == "application/json" {
                let segment: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!((contents(&segment), segment["seq"].as_u64()), (vec!["你好 hello"], Some(of)));
            } else {
                let segment = v1::LiveSegment::decode(&*body).unwrap();
                assert_eq!((segment.seq, segment.room_id.as_str()), (of, "lobby"));
                assert_eq!(segment.comments[0].content, "你好 hello");
            }
            let known = Reply::of(asked().header("if-none-match", &tag)).await;
            assert_eq!((known.status, known.text.as_str(), known.header("etag")), (304, "", Some(&*tag)));
            assert_eq!(known.header("cache-control"), Some("public, max-age=10"));
            assert!(tags.insert(tag), "another tag for each form");
        }
    }
    // Any page may read it, and the answer is the same for all of them.
    let page = Reply::of(http.request(Method::GET, &path).header("origin", "https://elsewhere.example")).await;
    assert_eq!((page.status, page.header("access-control-allow-origin")), (200, Some("*")));
}

fn decoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap(),
        "br" => brotli::Decompressor::new(body, 4_096).read_to_end(&mut plain).unwrap(),
        "zstd" => {
            plain = zstd::bulk::decompress(body, 1 << 20).unwrap();
            plain.len()
        }
        _ => {
            plain.extend_from_slice(body);
            plain.len()
        }
    };
    plain
}

#[tokio::test]
async fn a_signed_prefix_opens_one_room_s_segments_until_the_token_ends() {
    let server = server().await;
    for path in ["rooms/hall/live", "rooms/hall/live/5"] {
        let reply = server.http().get(path).await;
        assert!(is_no_store(&reply));
        reply.fails(401, "unauthorized");
    }
    server.admin().put("admin/rooms/hall", json!({ "private": true })).await.is(200);
    let listed = |ttl_s: i64| {
        let claims = json!({ "sub": "alice", "rooms": ["hall"], "exp": now_s() + ttl_s });
        server.bearing(&token(&claims))
    };
    server.user("mallory").get("rooms/hall/live").await.fails(403, "forbidden");
    let alice = listed(600);
    let at = alice.get("rooms/hall/live").await;
    assert!(is_no_store(&at));
    let at = at.expect(200);
    let (template, seq) = (at["url_template"].as_str().unwrap(), at["seq"].as_u64().unwrap());
    let (prefix, rest) = template.split_once("/api/v1/").unwrap();
    assert!(prefix.starts_with("/s/") && rest == "rooms/hall/live/{seq}", "{template}");
    alice.say("hall", "among us").await;
    let anybody = server.http();
    let mut found = None;
    for seq in seq..seq + 20 {
        let reply = anybody.get(&template.replace("{seq}", &seq.to_string())).await;
        assert_eq!(reply.header("cache-control"), Some("public, max-age=10"));
        let segment = reply.expect(200);
        if says(&segment, "among us") {
            found = Some(seq);
            break;
        }
    }
    let of = found.unwrap();
    let again = anybody.get(&format!("{prefix}/api/v1/rooms/hall/live")).await.expect(200);
    assert_eq!(again["url_template"], json!(template));
    // A token opens it too, but then the answer is no cache's business.
    assert_eq!(segment(&alice, "hall", of).await.header("cache-control"), Some("private, max-age=10"));
    for (path, status) in [
        (format!("{prefix}/api/v1/rooms/attic/live/{of}"), 403),
        (format!("{prefix}/api/v1/rooms/attic/live"), 403),
        (format!("/s/x.y/api/v1/rooms/hall/live/{of}"), 403),
        (format!("{prefix}/api/v1/rooms/hall/comments"), 404),
        (format!("{prefix}/api/v1/rooms/hall"), 404),
        (format!("{prefix}/api/v1/server"), 404),
        (format!("{prefix}/ws"), 404),
    ] {
        let reply = anybody.get(&path).await;
        assert!(reply.status == status && is_no_store(&reply), "{path}: {}", reply.status);
    }
    let posted = anybody.post(&format!("{prefix}/api/v1/rooms/hall/comments"), json!({ "content": "no" })).await;
    assert_eq!(posted.status, 404);
    // It ends with the token.
    let short = listed(4).get("rooms/hall/live").await.expect(200)["url_template"].as_str().unwrap().to_owned();
    let short = short.replace("{seq}", &of.to_string());
    anybody.get(&short).await.is(200);
    let refused = eventually("the end of the prefix", async || {
        let reply = anybody.get(&short).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert!(is_no_store(&refused));
    refused.fails(401, "unauthorized");
}

#[tokio::test]
async fn a_room_that_is_disabled_is_closed_to_segments_too() {
    let server = open_server().await;
    let http = server.http();
    let seq = under_way(&http, "lobby").await;
    segment(&http, "lobby", seq).await.is(200);
    server.admin().put("admin/rooms/lobby", json!({ "enabled": false })).await.is(200);
    let reply = segment(&http, "lobby", seq).await;
    assert!(is_no_store(&reply));
    reply.fails(403, "room_closed");
}

#[tokio::test]
async fn after_a_restart_a_segment_is_as_before_or_not_found() {
    let mut server = open_server().await;
    let seq = under_way(&server.http(), "lobby").await;
    server.user("alice").say("lobby", "before").await;
    let of = until(&server.http(), "lobby", seq, |segment| says(segment, "before")).await.last().unwrap()["seq"]
        .as_u64()
        .unwrap();
    server.restart().await;
    let http = server.http();
    segment(&http, "lobby", of).await.fails(404, "not_found");
    let seq = under_way(&http, "lobby").await;
    server.user("alice").say("lobby", "after").await;
    until(&http, "lobby", seq, |segment| says(segment, "after")).await;
}

#[tokio::test]
async fn the_segments_are_as_long_as_the_operator_says() {
    let server = configured(&format!("{OPEN}{NO_LIMITS}\n[rooms]\nlive_segment_ms = 250\n")).await;
    let at = server.http().get("rooms/lobby/live").await.expect(200);
    assert_eq!(at["segment_ms"], 250);
    let segment = segment(&server.http(), "lobby", at["seq"].as_u64().unwrap()).await.expect(200);
    assert_eq!(segment["to_ms"].as_u64().unwrap() - segment["from_ms"].as_u64().unwrap(), 250);
    for wrong in [249, 2_001] {
        let file = format!("[rooms]\nlive_segment_ms = {wrong}\n");
        let path = server.dir().join("wrong.toml");
        std::fs::write(&path, file).unwrap();
        let checked = std::process::Command::new(BIN).arg("check-config").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success() && said.contains("live_segment_ms"), "{said}");
    }
}

#[tokio::test]
async fn the_ranking_s_top_is_one_object_for_all() {
    let server = open_server().await;
    let http = server.http();
    server.user("alice").say("lobby", "one").await;
    let top = http.get("rooms/lobby/ranking.top").await;
    assert_eq!(top.header("cache-control"), Some("public, max-age=1"));
    let tag = top.header("etag").unwrap().to_owned();
    assert_eq!(top.expect(200), http.get("rooms/lobby/ranking?limit=10000").await.expect(200));
    let asked = |tag: &str| http.request(Method::GET, "rooms/lobby/ranking.top").header("if-none-match", tag);
    assert_eq!(Reply::of(asked(&tag)).await.status, 304);
    server.user("bob").say("lobby", "two").await;
    let changed = eventually("another ranking", async || {
        let reply = Reply::of(asked(&tag)).await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    assert_ne!(changed.header("etag"), Some(&*tag));
    for encoding in ["gzip", "zstd", "br"] {
        let asked = http.request(Method::GET, "rooms/lobby/ranking.top").header("accept-encoding", encoding);
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], encoding);
        let body: Value = serde_json::from_slice(&decoded(encoding, &answer.bytes().await.unwrap())).unwrap();
        assert_eq!(body["entries"][1]["user_id"], "bob");
    }
}

#[tokio::test]
async fn a_full_node_sends_readers_to_segments() {
    let server = Options::new(BIN).config(&format!("{OPEN}[sockets]\nopen_max = 2\n")).start().await;
    let info = server.http().get("server").await.expect(200);
    assert_eq!(info["prefer"], Value::Null);
    let _alice = server.viewer("alice", "lobby").await;
    let _bob = server.viewer("bob", "lobby").await;
    let refused =
        eventually("the node to be full", async || Viewer::open(server.address(), "room_id=lobby", &[]).await.err())
            .await;
    assert_eq!((refused.status, refused.code.as_str()), (503, "overloaded"));
    let error = &refused.body["error"];
    assert_eq!((&error["prefer"], error["retry_after_ms"].is_u64()), (&json!("segments"), true), "{error}");
    assert_eq!(server.http().get("server").await.expect(200)["prefer"], "segments");
    let http = server.http();
    let seq = under_way(&http, "lobby").await;
    server.user("carol").say("lobby", "over HTTP").await;
    let said = until(&http, "lobby", seq, |segment| says(segment, "over HTTP")).await;
    assert_eq!(said.last().unwrap()["prefer"], "segments");
}

//! The forms in which other people's players read and write comments.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Options, Reply, Server};

use super::{token_of, with_doors};
use crate::BIN;

/// A room with a recording of three comments that has ended; its session.
async fn recorded(server: &Server, room: &str) -> String {
    let comments = json!([
        { "offset_ms": 1_500, "content": "<img src=x onerror=alert(1)> & \"q\"", "user_id": "ann", "username": "A<b>",
          "style": { "mode": "top", "color": "#FF0000" } },
        { "offset_ms": 2_000, "content": "standing", "user_id": "bob", "style": { "mode": "bottom", "color": "#000000" } },
        { "offset_ms": 400_000, "content": "later", "user_id": "bob" },
    ]);
    let imported = server.admin().post(&format!("admin/rooms/{room}/import"), json!({ "comments": comments })).await;
    imported.expect(201)["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn dplayer_reads_escaped_texts_and_writes_on_the_recording() {
    let server = with_doors("").await;
    let session = recorded(&server, "film").await;
    let http = server.http();
    let list = http.get("/compat/dplayer/v3/?id=film&max=1000").await.expect(200);
    assert_eq!(list["code"], 0);
    let first = &list["data"][0];
    assert_eq!((&first[0], &first[1], &first[2]), (&json!(1.5), &json!(1), &json!(0xff_0000)));
    assert_eq!(first[3], "A&lt;b&gt;");
    assert_eq!(first[4], "&lt;img src=x onerror=alert(1)&gt; &amp; &quot;q&quot;");
    assert_eq!((&list["data"][1][1], &list["data"][1][2]), (&json!(2), &json!(0)));
    assert_eq!(http.get("/compat/dplayer/v3/?id=film&limit=2").await.body["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(http.get("/compat/dplayer/v3/?id=nothing").await.expect(200), json!({ "code": 0, "data": [] }));

    let said = |token: &str| json!({ "token": token, "id": "film", "author": "DPlayer", "time": 3.25, "text": "mine", "color": 255, "type": 0 });
    let refused = http.post("/compat/dplayer/v3/", said("tokendemo")).await.expect(200);
    assert!(refused["code"] != 0 && refused["msg"].is_string(), "{refused}");
    let token = token_of("cleo", "normal", None);
    assert_eq!(http.post("/compat/dplayer/v3/", said(&token)).await.expect(200)["code"], 0);
    let page = server.user("bob").get(&format!("rooms/film/replay?session_id={session}")).await.expect(200);
    let mine = page["comments"].as_array().unwrap().iter().find(|c| c["content"] == "mine").unwrap();
    assert_eq!(
        (&mine["offset_ms"], &mine["user_id"], &mine["style"]["color"]),
        (&json!(3_250), &json!("cleo"), &json!("#0000FF"))
    );
    for broken in
        [json!({}), json!([]), json!({ "id": "a b" }), json!({ "id": "film", "token": token, "text": "x", "time": -1 })]
    {
        let refused = http.post("/compat/dplayer/v3/", broken.clone()).await.expect(200);
        assert!(refused["code"] != 0 && refused["msg"].is_string(), "{broken}: {refused}");
    }
}

#[tokio::test]
async fn dandanplay_counts_and_takes_comments() {
    let server = with_doors("").await;
    recorded(&server, "film").await;
    let http = server.http();
    let reply = http.get("/compat/dandanplay/api/v2/comment/film?withRelated=true&chConvert=0").await;
    assert!(reply.text.starts_with("{\"count\":3,"), "{}", reply.text);
    let first = &reply.body["comments"][0];
    assert!(first["cid"].is_u64());
    assert_eq!(
        (&first["p"], &first["m"]),
        (&json!("1.50,5,16711680,ann"), &json!("<img src=x onerror=alert(1)> & \"q\""))
    );
    let last = reply.body["comments"][2]["cid"].as_u64().unwrap();
    let from = http.get(&format!("/compat/dandanplay/api/v2/comment/film?from={last}")).await.expect(200);
    assert!(from["count"].as_u64().is_some_and(|count| (1..3).contains(&count)), "{from}");

    let said = json!({ "time": 2.5, "mode": 4, "color": 65_280, "comment": "from a phone" });
    let path = "/compat/dandanplay/api/v2/comment/film";
    let refused = http.post(path, said.clone()).await;
    assert_eq!((refused.status, &refused.body["success"]), (401, &json!(false)));
    assert!(refused.body["errorMessage"].is_string());
    let taken = server.user("cleo").post(path, said.clone()).await.expect(200);
    assert!(taken["success"] == true && taken["cid"].is_u64(), "{taken}");
    server.user("dora").post(&format!("{path}/app"), said).await.is(200);
    assert_eq!(http.get(path).await.expect(200)["count"], 5);
    let matched = http.post("/compat/dandanplay/api/v2/match", json!({ "fileName": "film.mkv" })).await.expect(200);
    assert_eq!((&matched["isMatched"], &matched["matches"][0]["episodeId"]), (&json!(true), &json!("film")));
}

#[tokio::test]
async fn the_list_and_the_segments_hold_the_same_comments() {
    let server = with_doors("").await;
    recorded(&server, "film").await;
    let http = server.http();
    let list = http.get("/compat/bilibili/film.xml").await;
    assert_eq!(list.header("content-type"), Some("text/xml; charset=utf-8"));
    assert!(list.text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><i>"), "{}", list.text);
    assert!(
        list.text.contains("&lt;img src=x onerror=alert(1)&gt; &amp;") && !list.text.contains("<img"),
        "{}",
        list.text
    );
    assert_eq!(list.text.matches("<d p=\"").count(), 3);
    let bytes = async |index: &str| {
        let request = http.request(Method::GET, &format!("/compat/bilibili/film/seg.so{index}"));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let (status, first) = bytes("?segment_index=1").await;
    assert_eq!(status, 200);
    let contains = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(contains(&first, "standing") && !contains(&first, "later"));
    assert!(contains(&bytes("?segment_index=2").await.1, "later"));
    assert_eq!(bytes("").await.1, first);
    for past in ["?segment_index=3", "?segment_index=999999999"] {
        assert_eq!(bytes(past).await, (200, Vec::new().into()), "{past}");
    }
    for bad in ["?segment_index=0", "?segment_index=x", "?segment_index=-1"] {
        assert_eq!(bytes(bad).await.0, 400, "{bad}");
    }
    http.get("/compat/bilibili/film").await.fails(404, "not_found");
}

#[tokio::test]
async fn a_live_room_is_written_live_and_sessions_can_be_named() {
    let server = with_doors("").await;
    let film = recorded(&server, "film").await;
    server.admin().post("admin/rooms/film/open", Value::Null).await.is(200);
    let mut bob = server.viewer("bob", "film").await;
    let said = json!({ "token": token_of("cleo", "normal", None), "id": "film", "time": 9999, "text": "live!", "color": 1, "type": 0 });
    assert_eq!(server.http().post("/compat/dplayer/v3/", said).await.expect(200)["code"], 0);
    let given = bob.given_when("it", |given| given.iter().find(|c| c["content"] == "live!").cloned()).await;
    assert!(given["offset_ms"].as_i64().unwrap() < 60_000, "{given}");
    let newest = server.http().get("/compat/dplayer/v3/?id=film").await.expect(200);
    assert_eq!(newest["data"].as_array().map(Vec::len), Some(1), "the newest session");
    let named = server.http().get(&format!("/compat/dplayer/v3/?id=film&session_id={film}")).await.expect(200);
    assert_eq!(named["data"].as_array().map(Vec::len), Some(3));
    let other = server.http().get(&format!("/compat/bilibili/attic.xml?session_id={film}")).await;
    other.fails(404, "not_found");
}

#[tokio::test]
async fn rules_and_access_hold_for_players() {
    let server = with_doors("").await;
    recorded(&server, "film").await;
    server.admin().put("admin/words", json!({ "mask": [], "review": [], "block": ["spam"] })).await.is(200);
    let token = token_of("cleo", "normal", None);
    let say = async |text: &str| {
        let said = json!({ "token": token, "id": "film", "time": 1, "text": text, "color": 1, "type": 0 });
        server.http().post("/compat/dplayer/v3/", said).await.expect(200)
    };
    assert_eq!(say("buy spam").await["error"], "content_blocked");
    server.admin().post("admin/bans", json!({ "user_id": "cleo", "duration_s": 60, "kind": "mute" })).await.is(201);
    assert_eq!(say("hello").await["error"], "muted");
    server.admin().put("admin/rooms/film", json!({ "private": true })).await.is(200);
    assert_ne!(server.http().get("/compat/dplayer/v3/?id=film").await.expect(200)["code"], 0);
    server.http().get("/compat/bilibili/film.xml").await.fails(403, "forbidden");
    server.http().get("/compat/bilibili/film/seg.so?segment_index=99999").await.fails(403, "forbidden");
    assert_eq!(server.http().get("/compat/dandanplay/api/v2/comment/film").await.status, 403);
    let mine = token_of("ann", "normal", Some(&["film"]));
    server.http().get(&format!("/compat/bilibili/film.xml?token={mine}")).await.is(200);
}

#[tokio::test]
async fn listed_sites_players_are_answered_with_cors() {
    let server = Options::new(BIN).env("BARRAGE__AUTH__ORIGINS", "https://tv.example").start().await;
    let preflight = server
        .http()
        .request(Method::OPTIONS, "/compat/dplayer/v3/")
        .header("origin", "https://tv.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let reply = Reply::of(preflight).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://tv.example"));
    let off = with_doors("[doors]\nplayers = false\n").await;
    off.http().get("/compat/bilibili/film.xml").await.fails(404, "not_found");
}

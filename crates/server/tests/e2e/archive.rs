//! Past sessions: they leave the database for objects, and nobody notices.

mod s3;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Options, Server};
use tokio::time::{Instant, sleep};

use crate::{BIN, NO_LIMITS, contents};

const STORED: &str = "application/vnd.barrage.segment.v1";
/// Generous: the machine may be busy.
const WITHIN: Duration = Duration::from_secs(40);

/// A server that archives at once.
async fn archiving() -> Server {
    Options::new(BIN).config(&format!("{NO_LIMITS}[archive]\nafter_days = 0\n")).start().await
}

/// A server that archives after a week, as is usual.
async fn keeping() -> Server {
    Options::new(BIN).config(NO_LIMITS).start().await
}

/// A reader's token.
fn reader() -> String {
    testkit::token(&json!({ "sub": "reader", "iat": testkit::now_s() - 5, "exp": testkit::now_s() + 3_600 }))
}

/// Asks until it is so.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come about");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn replay(server: &Server, query: &str) -> Value {
    server.user("reader").get(&format!("rooms/film/replay?{query}")).await.expect(200)
}

async fn archived(server: &Server, session: &str) {
    eventually("the session being archived", async || {
        let sessions = server.user("reader").get("rooms/film/sessions").await.expect(200);
        let of = sessions["sessions"].as_array()?.iter().find(|one| one["session_id"] == session).cloned()?;
        (of["archived"] == true).then_some(())
    })
    .await;
}

/// What a recording of twenty minutes with comments at these seconds has.
async fn import(server: &Server, seconds: &[i64]) -> String {
    let comments: Vec<Value> = seconds
        .iter()
        .zip(["a", "b", "c"].iter().cycle())
        .map(|(s, user)| {
            let style = json!({ "mode": "top", "color": "#FF8000", "size": "small" });
            json!({ "offset_ms": s * 1_000, "content": format!("{user} 在 {s}"), "user_id": user, "style": style })
        })
        .collect();
    let answer = server.admin().post("admin/rooms/film/import", json!({ "comments": comments })).await.expect(201);
    answer["session_id"].as_str().unwrap().to_owned()
}

/// Rows that the database has of comments that everybody sees.
fn rows(server: &Server) -> i64 {
    let db = rusqlite::Connection::open(data(server).join("barrage.sqlite")).unwrap();
    db.query_row("SELECT count(*) FROM comments WHERE deleted = 0", [], |row| row.get(0)).unwrap()
}

fn data(server: &Server) -> PathBuf {
    server.dir().join("data")
}

/// The objects of segments.
fn objects(server: &Server) -> Vec<PathBuf> {
    fn files(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() && path.ends_with("uploads") => {}
                path if path.is_dir() => files(&path, found),
                path if path.ends_with("deployment") => {}
                path => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    files(&data(server).join("archive"), &mut found);
    found.sort();
    found
}

async fn manifest(server: &Server, session: &str) -> Value {
    server.user("reader").get(&format!("rooms/film/sessions/{session}/segments")).await.expect(200)
}

/// One segment: status, headers, body.
async fn segment(
    server: &Server,
    url: &str,
    accept: &str,
    encoding: &str,
) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let request = reqwest::Client::new().get(format!("{}{url}", server.url()));
    let request = request.header("accept", accept).header("accept-encoding", encoding);
    let answer = request.bearer_auth(reader()).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn an_archived_session_is_replayed_as_before() {
    let mut server = keeping().await;
    let opened = server.admin().post("admin/rooms/film/open", Value::Null).await.expect(200);
    let session = opened["session_id"].as_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for n in 0..12 {
        let user = ["ann", "bob", "cem"][n % 3];
        ids.push(server.user(user).say("film", &format!("{user} {n} 哈哈")).await);
    }
    for (fan, n) in [("x", 3), ("y", 3), ("x", 5)] {
        server.user(fan).post(&format!("comments/{}/like", ids[n]), Value::Null).await.is(200);
    }
    server.admin().delete(&format!("admin/comments/{}", ids[7])).await.is(204);
    server.admin().post("admin/rooms/film/close", Value::Null).await.is(200);
    let whole = format!("session_id={session}");
    let ask = async |server: &Server| {
        let mut answers = vec![replay(server, &whole).await, replay(server, "").await];
        answers.push(replay(server, &format!("{whole}&by_user=bob")).await);
        answers.push(replay(server, "by_user=ann&limit=2").await);
        let page = replay(server, &format!("{whole}&limit=5")).await;
        let next = page["next_cursor"].as_str().unwrap().to_owned();
        answers.push(page);
        answers.push(replay(server, &format!("{whole}&limit=5&cursor={next}")).await);
        let third = answers[0]["comments"][3]["offset_ms"].as_i64().unwrap();
        answers.push(replay(server, &format!("{whole}&from_ms={third}&to_ms={}", third + 1)).await);
        answers.push(server.user("reader").get("rooms/film/hot").await.expect(200));
        answers.push(server.user("reader").get("rooms/film/ranking").await.expect(200));
        let mut sessions = server.user("reader").get("rooms/film/sessions").await.expect(200);
        sessions["sessions"][0].as_object_mut().unwrap().remove("archived");
        answers.push(sessions);
        let manifest = manifest(server, &session).await;
        let url = manifest["segments"][0]["url"].as_str().unwrap().to_owned();
        answers.push(manifest);
        let (_, _, json) = segment(server, &url, "application/json", "identity").await;
        answers.push(serde_json::from_slice(&json).unwrap());
        answers
    };
    let before = ask(&server).await;
    assert_eq!(before[0]["comments"].as_array().unwrap().len(), 11, "{}", before[0]);
    server.configure(&format!("{NO_LIMITS}[archive]\nafter_days = 0\n"));
    server.restart().await;
    archived(&server, &session).await;
    assert_eq!(rows(&server), 0, "the comments have left the database");
    assert_eq!(objects(&server).len(), 1);
    let after = ask(&server).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    // Once more from the objects alone: nothing is in memory.
    server.restart().await;
    for (before, after) in before.iter().zip(&ask(&server).await) {
        assert_eq!(before, after);
    }
}

#[tokio::test]
async fn likes_comments_and_deletions_reach_a_cold_session() {
    let server = archiving().await;
    let session = import(&server, &[1, 2, 3, 400, 401, 900]).await;
    archived(&server, &session).await;
    eventually("an empty database", async || (rows(&server) == 0).then_some(())).await;
    let whole = format!("session_id={session}");
    let comments = replay(&server, &whole).await;
    let id = |n: usize| comments["comments"][n]["id"].as_str().unwrap().to_owned();
    let urls = |manifest: &Value| -> Vec<String> {
        let segments = manifest["segments"].as_array().unwrap();
        segments.iter().map(|one| one["url"].as_str().unwrap().to_owned()).collect()
    };
    let before = manifest(&server, &session).await;
    assert_eq!(before["segments"].as_array().unwrap().len(), 3);
    assert_eq!((&before["complete"], &before["segment_ms"]), (&json!(true), &json!(360_000)));

    // A like, twice, and taken back.
    let like = format!("comments/{}/like", id(0));
    assert_eq!(server.user("fan").post(&like, Value::Null).await.expect(200)["like_count"], 1);
    server.user("fan").post(&like, Value::Null).await.fails(409, "already_liked");
    eventually("the liked comment being hot", async || {
        let hot = server.user("x").get("rooms/film/hot").await.expect(200);
        (contents(&hot["comments"]) == ["a 在 1"]).then_some(())
    })
    .await;
    eventually("the like being archived", async || (rows(&server) == 0).then_some(())).await;
    assert_eq!(replay(&server, &whole).await["comments"][0]["like_count"], 1);
    server.user("fan").post(&like, Value::Null).await.fails(409, "already_liked");
    assert_eq!(server.user("fan").delete(&like).await.expect(200)["like_count"], 0);

    // A comment on the recording.
    let said = json!({ "content": "later", "session_id": session, "offset_ms": 402_000 });
    server.user("late").post("rooms/film/comments", said).await.is(201);
    eventually("the comment in the replay", async || {
        let all = replay(&server, &whole).await;
        (contents(&all["comments"]).get(5) == Some(&"later")).then_some(())
    })
    .await;

    // A deletion: gone at once from the replay, soon from the object, and its address is gone.
    server.admin().delete(&format!("admin/comments/{}", id(5))).await.is(204);
    assert!(!contents(&replay(&server, &whole).await["comments"]).contains(&"c 在 900"));
    eventually("the old address being gone", async || {
        let (status, headers, _) = segment(&server, &urls(&before)[2], STORED, "br").await;
        (status == 404 && headers["cache-control"] == "no-store").then_some(())
    })
    .await;
    eventually("everything being archived again", async || {
        (rows(&server) == 0 && objects(&server).len() == 2).then_some(())
    })
    .await;
    let after = manifest(&server, &session).await;
    let counts: Vec<_> =
        after["segments"].as_array().unwrap().iter().map(|one| one["count"].as_i64().unwrap()).collect();
    assert_eq!(counts, [3, 3]);
    assert_eq!(urls(&after)[0], urls(&before)[0], "the like was taken back: the content is that of before");
    let sessions = server.user("x").get("rooms/film/sessions").await.expect(200);
    assert_eq!(sessions["sessions"][0]["comment_count"], 6);

    // A purge: the user is in no object any more.
    let ban = json!({ "user_id": "a", "room_id": "film", "duration_s": 60, "kind": "ban", "purge": true });
    server.admin().post("admin/bans", ban).await.is(201);
    let left = replay(&server, &whole).await;
    assert_eq!(contents(&left["comments"]), ["b 在 2", "c 在 3", "b 在 401", "later"]);
    eventually("the purged user leaving the objects", async || {
        let mut seen = String::new();
        for url in urls(&manifest(&server, &session).await) {
            let (status, _, body) = segment(&server, &url, STORED, "identity").await;
            if status != 200 {
                return None;
            }
            seen.push_str(&String::from_utf8_lossy(&body));
        }
        (seen.contains("later") && !seen.contains("a 在")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_segment_has_three_forms_and_an_address_for_each_content() {
    let server = archiving().await;
    let session = import(&server, &[0, 359, 360, 5_000]).await;
    archived(&server, &session).await;
    let manifest = manifest(&server, &session).await;
    let shown: Vec<_> =
        manifest["segments"].as_array().unwrap().iter().map(|one| (one["n"].as_i64(), one["count"].as_i64())).collect();
    assert_eq!(shown, [(Some(0), Some(2)), (Some(1), Some(1)), (Some(13), Some(1))]);
    let url = manifest["segments"][0]["url"].as_str().unwrap();
    let (status, headers, packed) = segment(&server, url, STORED, "gzip, br").await;
    assert_eq!(
        (status, &headers["content-encoding"], &headers["content-type"]),
        (200, &"br".parse().unwrap(), &STORED.parse().unwrap())
    );
    assert!(headers["cache-control"].to_str().unwrap().contains("max-age=31536000, immutable"));
    let vary: Vec<_> = headers.get_all("vary").iter().map(|one| one.to_str().unwrap().to_lowercase()).collect();
    assert!(vary.join(",").contains("accept-encoding"), "{vary:?}");
    let stored = objects(&server).into_iter().map(|path| std::fs::read(path).unwrap());
    assert!(stored.into_iter().any(|object| object == packed), "the object's own bytes");
    let (_, plain_headers, plain) = segment(&server, url, STORED, "identity").await;
    assert_eq!(
        (&plain[..5], plain_headers.get("content-encoding").map_or("identity", |one| one.to_str().unwrap())),
        (&b"BSEG\x01"[..], "identity")
    );
    let (_, json_headers, body) = segment(&server, url, "application/json", "identity").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["count"], contents(&body["comments"])), (&json!(2), vec!["a 在 0", "b 在 359"]));
    assert_eq!(body["comments"][0]["style"], json!({ "mode": "top", "color": "#FF8000", "size": "small" }));
    let (status, _, protobuf) = segment(&server, url, "application/x-protobuf", "identity").await;
    assert!(status == 200 && String::from_utf8_lossy(&protobuf).contains("b 在 359"));
    let tags = [&headers["etag"], &plain_headers["etag"], &json_headers["etag"]];
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    let again = reqwest::Client::new().get(format!("{}{url}", server.url())).bearer_auth(reader());
    let again = again
        .header("accept", STORED)
        .header("accept-encoding", "br")
        .header("if-none-match", tags[0])
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
    // Who may not read the room reads no segment.
    server.admin().put("admin/rooms/film", json!({ "private": true })).await.is(200);
    let (status, headers, _) = segment(&server, url, STORED, "br").await;
    assert_eq!((status, &headers["cache-control"]), (403, &"no-store".parse().unwrap()));
}

#[tokio::test]
async fn a_killed_server_loses_nothing_and_repeats_nothing() {
    let mut server = archiving().await;
    let seconds: Vec<i64> = (0..600).map(|n| n * 6).collect();
    let mut sessions = Vec::new();
    for round in 0..4_u64 {
        sessions.push(import(&server, &seconds).await);
        sleep(Duration::from_millis(300 * (round + 1))).await;
        server.kill9().await;
        server.restart().await;
        for session in &sessions {
            let all = replay(&server, &format!("session_id={session}&limit=1000")).await;
            let offsets: Vec<_> = all["comments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["offset_ms"].as_i64().unwrap() / 1_000)
                .collect();
            assert_eq!(offsets, seconds, "of session {session} after kill {round}");
        }
    }
    for session in &sessions {
        archived(&server, session).await;
        let all = replay(&server, &format!("session_id={session}&limit=1000")).await;
        assert_eq!(all["comments"].as_array().unwrap().len(), 600);
    }
    assert_eq!(rows(&server), 0);
    let listed = server.user("reader").get("rooms/film/sessions").await.expect(200);
    let counts: Vec<_> =
        listed["sessions"].as_array().unwrap().iter().map(|one| one["comment_count"].as_i64().unwrap()).collect();
    assert_eq!(counts, [600; 4]);
}

#[tokio::test]
async fn a_damaged_object_is_never_served_and_a_store_that_is_away_stops_nothing_else() {
    let mut server = archiving().await;
    let session = import(&server, &[1, 2, 400]).await;
    archived(&server, &session).await;
    let urls: Vec<String> = manifest(&server, &session).await["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["url"].as_str().unwrap().to_owned())
        .collect();
    let files = objects(&server);
    let first = std::fs::read(&files[0]).unwrap();
    let refused = async |server: &Server, what: &str| {
        for url in &urls {
            let (status, headers, _) = segment(server, url, STORED, "br").await;
            if status != 200 {
                assert_eq!((status, &headers["cache-control"]), (503, &"no-store".parse().unwrap()), "{what}");
                return;
            }
        }
        panic!("{what} was served");
    };
    // Nothing may answer from memory.
    let mut changed = first.clone();
    changed[first.len() / 2] ^= 1;
    let other = std::fs::read(&files[1]).unwrap();
    for (what, bytes) in [
        ("a changed byte", Some(changed)),
        ("a cut", Some(first[..first.len() - 3].to_vec())),
        ("another segment", Some(other)),
        ("a missing object", None),
    ] {
        match bytes {
            Some(bytes) => std::fs::write(&files[0], bytes).unwrap(),
            None => std::fs::remove_file(&files[0]).unwrap(),
        }
        server.restart().await;
        refused(&server, what).await;
        server.user("reader").get(&format!("rooms/film/replay?session_id={session}")).await.fails(503, "unavailable");
        let found = server.command(&["archive", "verify", "--server", &server.url()]).await;
        let out = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(found.status.code(), Some(1), "{what}: {out}");
        assert!(out.lines().any(|line| line.contains(&session)), "{what}: {out}");
    }
    std::fs::write(&files[0], &first).unwrap();
    assert_eq!(replay(&server, &format!("session_id={session}")).await["comments"].as_array().unwrap().len(), 3);

    // The whole store is away: the live room goes on, readiness says so, and archiving waits.
    let (place, away) = (data(&server).join("archive"), data(&server).join("elsewhere"));
    std::fs::rename(&place, &away).unwrap();
    server.user("ann").say("hall", "still here").await;
    let ready = eventually("a degraded state", async || {
        let answer = reqwest::get(format!("{}/readyz", server.url())).await.unwrap();
        assert_eq!(answer.status(), 200);
        let ready: Value = answer.json().await.unwrap();
        (ready["status"] == "degraded").then_some(ready)
    })
    .await;
    assert_eq!(ready["dependencies"]["archive"]["state"], "away", "{ready}");
    let failures = async || server.http().metric("barrage_archive_errors_total").await;
    let before = failures().await;
    let later = import(&server, &[7]).await;
    eventually("it being tried in vain", async || (failures().await > before).then_some(())).await;
    assert_eq!(contents(&replay(&server, &format!("session_id={later}")).await["comments"]), ["a 在 7"]);
    let _ = std::fs::remove_dir_all(&place);
    std::fs::rename(&away, &place).unwrap();
    archived(&server, &later).await;
    eventually("readiness", async || {
        let ready: Value = reqwest::get(format!("{}/readyz", server.url())).await.unwrap().json().await.unwrap();
        (ready["status"] == "ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_tool_lists_verifies_exports_and_restores() {
    let mut server = archiving().await;
    let session = import(&server, &[1, 2, 400]).await;
    archived(&server, &session).await;
    let run = async |server: &Server, args: &[&str], code: i32| -> String {
        let done = server.command(args).await;
        let (out, err) =
            (String::from_utf8_lossy(&done.stdout).into_owned(), String::from_utf8_lossy(&done.stderr).into_owned());
        assert_eq!(done.status.code(), Some(code), "{args:?}: {out}{err}");
        out
    };
    let url = server.url();
    for from in [vec![], vec!["--server", &*url]] {
        let listed = run(&server, &[&["archive", "list"], &*from].concat(), 0).await;
        assert!(listed.lines().any(|line| line.starts_with(&session)), "{listed}");
        run(&server, &[&["archive", "verify"], &*from].concat(), 0).await;
        for (format, has) in
            [("jsonl", "\"content\":\"b 在 2\""), ("xml", "b 在 2</d>"), ("ass", "b 在 2"), ("parquet", "PAR1")]
        {
            let file = server.dir().join(format!("out.{format}"));
            let shown = file.to_string_lossy().into_owned();
            let args = ["archive", "export", &session, "--format", format, "--output", &shown];
            run(&server, &[&args, &*from].concat(), 0).await;
            let text = std::fs::read(&file).unwrap();
            assert!(String::from_utf8_lossy(&text).contains(has), "{format}");
            std::fs::remove_file(file).unwrap();
        }
    }
    run(&server, &["archive", "frobnicate"], 2).await;
    run(&server, &["archive", "restore", "1"], 1).await;
    run(&server, &["archive", "restore", "1", "--server", &url], 1).await;
    run(&server, &["archive", "list", "--server", "http://127.0.0.1:1"], 1).await;
    run(&server, &["archive", "list", "--server", &url, "--token", "wrong"], 1).await;
    let before = replay(&server, &format!("session_id={session}")).await;
    // Restored beside a server that would keep it for a week, and by it.
    for by_server in [false, true] {
        archived(&server, &session).await;
        server.configure(NO_LIMITS);
        server.restart().await;
        let url = server.url();
        let by = if by_server { vec!["--server", &*url] } else { vec![] };
        run(&server, &[&["archive", "restore", &session], &*by].concat(), 0).await;
        assert_eq!((rows(&server), objects(&server).len()), (3, 0), "{by:?}");
        assert_eq!(replay(&server, &format!("session_id={session}")).await, before, "{by:?}");
        let sessions = server.user("x").get("rooms/film/sessions").await.expect(200);
        assert!(sessions["sessions"][0].get("archived").is_none(), "{by:?}: {sessions}");
        server.configure(&format!("{NO_LIMITS}[archive]\nafter_days = 0\n"));
        server.restart().await;
    }
    // Without a server.
    server.terminate().await;
    run(&server, &["archive", "list"], 0).await;
    run(&server, &["archive", "verify"], 0).await;
}

//! Sessions, replay and import.

use serde_json::{Value, json};

use crate::world::{KEY, World, settings, token};

fn line(offset_ms: i64, user: &str, content: &str) -> Value {
    json!({ "offset_ms": offset_ms, "user_id": user, "content": content })
}

#[tokio::test]
async fn an_imported_recording_is_replayed_page_by_page() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    let recording = json!({
        "session": { "started_at": "2024-05-01T20:00:00Z", "title": "A \u{202e}film\n" },
        "comments": [line(3_000, "b", "three"), line(1_000, "a", "one"), line(-5, "a", "before"), line(9, "a", "\u{200b}")],
    });
    let done = world.expect(201, KEY, "POST /admin/rooms/r/import", recording).await;
    assert_eq!((&done["imported"], &done["skipped"]), (&json!(2), &json!(2)));
    let session = done["session_id"].as_str().expect("an id");
    let more = json!({ "session_id": session, "comments": [line(2_000, "张三", "two"), line(65_000, "a", "four")] });
    let more = world.expect(201, KEY, "POST /admin/rooms/r/import", more).await;
    assert_eq!((&more["session_id"], &more["imported"]), (&json!(session), &json!(2)));

    let sessions = world.expect(200, &ann, "GET /rooms/r/sessions", Value::Null).await;
    let row = &sessions["sessions"][0];
    assert_eq!((&row["started_at"], &row["comment_count"]), (&json!("2024-05-01T20:00:00.000Z"), &json!(4)));
    assert_eq!(row["title"], "A film");

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = format!("GET /rooms/r/replay?session_id={session}&limit=3&cursor={cursor}");
        let page = world.expect(200, &ann, &page, Value::Null).await;
        for comment in page["comments"].as_array().expect("comments") {
            assert_eq!(comment["kind"], "imported");
            seen.push(comment["content"].as_str().expect("content").to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(seen, ["one", "two", "three", "four"]);

    for (query, expected) in [
        ("from_ms=1000&to_ms=3000", vec!["one", "two"]),
        ("by_user=a", vec!["one", "four"]),
        ("from_ms=3000&by_user=b", vec!["three"]),
    ] {
        let page =
            world.expect(200, &ann, &format!("GET /rooms/r/replay?session_id={session}&{query}"), Value::Null).await;
        let found: Vec<_> = page["comments"].as_array().expect("comments").iter().map(|c| &c["content"]).collect();
        assert_eq!(found, expected, "{query}");
    }
    let live = world.expect(200, &ann, "GET /rooms/r/comments", Value::Null).await;
    assert_eq!(live["comments"], json!([]), "a recording is no live comment");
}

fn ms(time: &Value) -> i64 {
    time.as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
}

#[tokio::test]
async fn a_recording_in_several_parts_has_one_start_and_never_ends_in_the_future() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    let lasts_ms = 3_600_000;
    // Said with the first part, the whole length dates it; unsaid, each longer part moves the start back.
    for about in [json!({ "duration_ms": lasts_ms }), json!({}), json!({ "started_at": "2999-01-01T00:00:00Z" })] {
        let first = json!({ "session": about, "comments": [line(1_000, "a", "first")] });
        let done = world.expect(201, KEY, "POST /admin/rooms/long/import", first).await;
        let session = &done["session_id"];
        let further = json!({ "session_id": session, "comments": [line(lasts_ms, "a", "last")] });
        let further = world.expect(201, KEY, "POST /admin/rooms/long/import", further).await;
        if about["duration_ms"] == lasts_ms {
            assert_eq!(further["started_at"], done["started_at"]);
        }
        let sessions = world.expect(200, &ann, "GET /rooms/long/sessions", Value::Null).await;
        let row = &sessions["sessions"][0];
        assert_eq!((&row["session_id"], &row["started_at"]), (session, &further["started_at"]));
        let (started, ended) = (ms(&row["started_at"]), ms(&row["ended_at"]));
        assert!(ended <= jiff::Timestamp::now().as_millisecond(), "{about}: {row}");
        assert!((lasts_ms..lasts_ms + 60_000).contains(&(ended - started)), "{about}: {row}");
    }
}

#[tokio::test]
async fn imported_texts_and_names_are_cleaned_and_what_is_cut_is_counted() {
    let world = World::start(settings()).await;
    let art = "  /\\\n /  \\";
    let comments = json!([
        { "offset_ms": 1, "user_id": "a", "username": "小\u{202e}明\n", "content": art },
        { "offset_ms": 2, "user_id": "b\u{200b}\u{202e}", "username": "\u{200b}", "content": "x".repeat(250) },
        { "offset_ms": 3, "content": "( ͡° ͜ʖ ͡°)" },
    ]);
    let done = world.expect(201, KEY, "POST /admin/rooms/r/import", json!({ "comments": comments })).await;
    assert_eq!((&done["imported"], &done["skipped"], &done["cut"]), (&json!(3), &json!(0), &json!(1)));
    let page = world.expect(200, &token("ann"), "GET /rooms/r/replay", Value::Null).await;
    let seen: Vec<_> =
        page["comments"].as_array().expect("comments").iter().map(|c| (&c["username"], &c["content"])).collect();
    let long = json!("x".repeat(200));
    let expected = [(&json!("小明"), &json!(art)), (&json!("b"), &long), (&json!("imported"), &json!("( ͡° ͜ʖ ͡°)"))];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_recording_is_commented_on_when_the_room_is_closed() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    let opened = world.expect(200, KEY, "POST /admin/rooms/r/open", Value::Null).await;
    world.expect(200, KEY, "POST /admin/rooms/r/close", Value::Null).await;
    let session = &opened["session_id"];
    let draft = json!({ "content": "late", "session_id": session, "offset_ms": 1_234 });
    world.expect(201, &ann, "POST /rooms/r/comments", draft).await;
    let place = session.as_str().expect("an id");
    let page = world.expect(200, &ann, &format!("GET /rooms/r/replay?session_id={place}"), Value::Null).await;
    let comment = &page["comments"][0];
    assert_eq!((&comment["offset_ms"], &comment["kind"]), (&json!(1_234), &json!("recorded")));
}

#[tokio::test]
async fn what_does_not_exist_is_not_replayed() {
    let world = World::start(settings()).await;
    let ann = token("ann");
    let other = world.expect(200, KEY, "POST /admin/rooms/other/open", Value::Null).await;
    let other = other["session_id"].as_str().expect("an id");
    for session in ["12345", other] {
        world.refused(404, "not_found", &ann, &format!("GET /rooms/r/replay?session_id={session}"), Value::Null).await;
    }
    for query in ["cursor=nonsense", "session_id=abc", "from_ms=x", "limit=-1", "by_user=a%20b"] {
        world.refused(400, "invalid_request", &ann, &format!("GET /rooms/r/replay?{query}"), Value::Null).await;
    }
    let still_on = json!({ "session_id": other, "comments": [] });
    world.refused(400, "invalid_request", KEY, "POST /admin/rooms/other/import", still_on).await;
}

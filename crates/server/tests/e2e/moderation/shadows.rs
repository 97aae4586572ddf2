//! A shadow is its sender's and the moderators' alone: by chance, at every door.

use serde_json::{Value, json};
use testkit::{Http, Server, Viewer, eventually};

use super::bearer;
use super::hook::{Service, at_once};
use crate::contents;

const SENDERS: [&str; 3] = ["ann", "ben", "cat"];

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What was said in a room, in order: by whom, the text, the comment's id. A ghost is shadowed.
struct Said {
    by: &'static str,
    text: String,
    id: String,
}

impl Said {
    fn is_ghost(&self) -> bool {
        self.text.starts_with("ghost")
    }
}

/// What somebody is to see.
fn seen_by<'a>(said: &'a [Said], who: &str) -> Vec<&'a str> {
    let sees = |one: &&Said| !one.is_ghost() || one.by == who || who == "mo";
    said.iter().filter(sees).map(|one| one.text.as_str()).collect()
}

fn all(events: &[Value], field: &str) -> Vec<String> {
    let of = |event: &Value| contents(&event[field]).into_iter().map(str::to_owned).collect::<Vec<_>>();
    events.iter().flat_map(of).collect()
}

/// The comments of a session's segments, in order.
async fn segments(server: &Server, http: &Http, room: &str, session: &str) -> Vec<String> {
    let manifest = http.get(&format!("rooms/{room}/sessions/{session}/segments")).await.expect(200);
    let mut found = Vec::new();
    for one in manifest["segments"].as_array().unwrap() {
        let url = format!("{}{}", server.url(), one["url"].as_str().unwrap());
        let request = reqwest::Client::new().get(url).header("accept", "application/json");
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(one["count"].as_u64(), body["comments"].as_array().map(|all| all.len() as u64), "{body}");
        found.extend(contents(&body["comments"]).into_iter().map(str::to_owned));
    }
    found
}

/// What a room's own are given by polls, replay and at joining.
async fn doors_by_identity(server: &Server, room: &str, said: &[Said]) {
    let mo = bearer("mo", json!({ "roles": { room: "moderator" } }));
    for who in SENDERS.into_iter().chain(["out", "mo", ""]) {
        let http = match who {
            "mo" => server.bearing(&mo),
            "" => server.http(),
            who => server.user(who),
        };
        let expected = seen_by(said, who);
        for door in ["comments", "replay"] {
            let page = http.get(&format!("rooms/{room}/{door}")).await.expect(200);
            assert_eq!(contents(&page["comments"]), expected, "{door} for {who:?}");
        }
        for by in SENDERS {
            let page = http.get(&format!("rooms/{room}/replay?by_user={by}")).await.expect(200);
            let theirs = said.iter().filter(|one| one.by == by && expected.contains(&one.text.as_str()));
            assert_eq!(contents(&page["comments"]), theirs.map(|one| one.text.as_str()).collect::<Vec<_>>());
        }
        let mut stream = http.events(room, "", None).await;
        let first = stream.expect("the history", |event| event.name == "comments").await;
        assert_eq!(contents(&first.data["comments"]), expected, "the history of {who:?}'s stream");
        let mut joined = match who {
            "mo" => Viewer::open(server.address(), &format!("room_id={room}&token={mo}"), &[]).await.unwrap(),
            "" => Viewer::open(server.address(), &format!("room_id={room}"), &[]).await.unwrap(),
            who => server.viewer(who, room).await,
        };
        if who == "mo" || who.is_empty() {
            joined.wait_for("room_joined").await;
        }
        assert_eq!(joined.contents(), expected, "the history of {who:?}'s socket");
    }
}

/// What programs that show the room to everybody read.
async fn public_doors(server: &Server, room: &str, said: &[Said]) {
    let (out, public) = (server.user("out"), seen_by(said, "out"));
    let page = out.get(&format!("rooms/{room}/replay")).await.expect(200);
    assert_eq!(contents(&page["comments"]), public);
    let sessions = out.get(&format!("rooms/{room}/sessions")).await.expect(200);
    let session = sessions["sessions"][0]["session_id"].as_str().unwrap();
    assert_eq!(sessions["sessions"][0]["comment_count"], public.len());
    // A manifest may be of some seconds ago.
    eventually("the segments", async || {
        let found = segments(server, &server.http(), room, session).await;
        assert!(found.iter().all(|text| !text.starts_with("ghost")), "{found:?}");
        (found == public).then_some(())
    })
    .await;
    for path in [
        format!("/compat/dplayer/v3/?id={room}&max=1000"),
        format!("/compat/bilibili/{room}.xml"),
        format!("/compat/bilibili/{room}/seg.so?segment_index=1"),
        format!("/compat/dandanplay/api/v2/comment/{room}"),
        format!("/api/v1/rooms/{room}/hot"),
        format!("/api/v1/rooms/{room}/ranking"),
        format!("/api/v1/rooms/{room}/ranking.top"),
        format!("/api/v1/rooms/{room}"),
    ] {
        let text = out.get(&path).await.text;
        assert!(!text.contains("ghost"), "{path}: {text}");
    }
    for one in said.iter().filter(|one| one.is_ghost()) {
        out.post(&format!("comments/{}/like", one.id), Value::Null).await.fails(404, "not_found");
        out.post("appeals", json!({ "comment_id": one.id, "text": "?" })).await.fails(404, "not_found");
        server.user(one.by).post("appeals", json!({ "comment_id": one.id, "text": "?" })).await.fails(404, "not_found");
    }
}

#[tokio::test]
async fn by_chance_nobody_else_meets_a_shadow_at_any_door() {
    let service = Service::start(|call| {
        at_once(call, |text| json!({ "verdict": if text.starts_with("ghost") { "shadow" } else { "allow" } }))
    })
    .await;
    let server = service.server("budget_ms = 2000\n[sockets]\nheartbeat_s = 3600\n[auth]\nanonymous_read = true\n[archive]\nafter_days = 0\n").await;
    for seed in [3, 17, 91] {
        let (room, mut chance) = (format!("r{seed}"), Chance(seed));
        server.admin().post(&format!("admin/rooms/{room}/open"), Value::Null).await.is(200);
        let first_seq = server.http().get(&format!("rooms/{room}/live")).await.expect(200)["seq"].as_u64().unwrap();
        let mut socket = server.viewer("out", &room).await;
        let mut stream = server.http().events(&room, "", None).await;
        let mut said = Vec::new();
        for n in 0..12 {
            let by = SENDERS[chance.below(3) as usize];
            // The first and the last are seen, so that every door has something.
            let kind = if n > 0 && n < 11 && chance.below(2) == 0 { "ghost" } else { "word" };
            let text = format!("{kind} {n} of {seed}");
            let id = server.user(by).say(&room, &text).await;
            said.push(Said { by, text, id });
            let liked = &said[chance.below(said.len() as u64) as usize];
            // A second like of one comment is refused, and that is well.
            server.user(liked.by).post(&format!("comments/{}/like", liked.id), Value::Null).await;
        }
        let public = seen_by(&said, "out");
        let last = said.last().unwrap().text.clone();
        socket.sees(&last).await;
        assert_eq!(socket.contents(), public, "seed {seed}: the socket");
        let told = socket.take(&["comments", "event"]);
        assert!(told.iter().all(|message| !message.to_string().contains("ghost")), "seed {seed}: {told:?}");
        assert!(told.iter().all(|message| message["omitted"].as_u64().unwrap_or(0) == 0), "seed {seed}: {told:?}");
        let mut streamed = Vec::new();
        while !streamed.contains(&last) {
            // Hot comments have some, too.
            let event = stream.expect("comments", |event| event.name == "comments").await;
            streamed.extend(all(&[event.data], "comments"));
        }
        assert_eq!(streamed, public, "seed {seed}: the event stream");

        doors_by_identity(&server, &room, &said).await;
        public_doors(&server, &room, &said).await;
        let scores = server.user("out").get(&format!("rooms/{room}/ranking")).await.expect(200);
        for entry in scores["entries"].as_array().unwrap() {
            let seen = said.iter().filter(|one| one.by == entry["user_id"] && !one.is_ghost()).count();
            assert_eq!(entry["score"], seen, "seed {seed}: {entry}");
        }
        let mut live = Vec::new();
        for seq in first_seq..first_seq + 60 {
            let segment = server.http().get(&format!("rooms/{room}/live/{seq}")).await.expect(200);
            live.extend(all(std::slice::from_ref(&segment), "comments"));
            assert!(!segment.to_string().contains("ghost"), "seed {seed}: {segment}");
            assert_eq!(segment["omitted"], 0, "seed {seed}: {segment}");
            if live.contains(&last) {
                break;
            }
        }
        assert_eq!(live, public, "seed {seed}: live segments");

        server.admin().post(&format!("admin/rooms/{room}/close"), Value::Null).await.is(200);
        eventually("the archive", async || {
            let sessions = server.user("out").get(&format!("rooms/{room}/sessions")).await.expect(200);
            (sessions["sessions"][0]["archived"] == true).then_some(())
        })
        .await;
        public_doors(&server, &room, &said).await;
    }
}

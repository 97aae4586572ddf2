//! Every rule of a room, at every door at which something can be said: none is a way around a rule. WebTransport has a test of
//! its own, for it needs TLS.

use prost::Message as _;
use protocol::proto::v1::{self, ClientFrame, ServerFrame};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Reply, Server, Viewer};

use super::irc::Client as IrcClient;
use super::pusher_client::{DOOR, call, comment};
use super::{port_of, token_of, with_doors};
use crate::contents;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Door {
    Http,
    Recording,
    Socket,
    Protobuf,
    Irc,
    Pusher,
    Dplayer,
    Dandanplay,
}

const ALL: [Door; 8] = [
    Door::Http,
    Door::Recording,
    Door::Socket,
    Door::Protobuf,
    Door::Irc,
    Door::Pusher,
    Door::Dplayer,
    Door::Dandanplay,
];

/// What a door answers.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Also when it is held, at doors that do not tell.
    Accepted,
    Held,
    /// With the rule, at doors that name it.
    Refused(Option<String>),
}

fn of_http(reply: &Reply) -> Outcome {
    match reply.status {
        200 | 201 if reply.body["status"] == "pending_review" => Outcome::Held,
        200 | 201 => Outcome::Accepted,
        _ => Outcome::Refused(reply.body["error"]["rule"].as_str().map(str::to_owned)),
    }
}

struct World {
    server: Server,
    irc: u16,
}

impl World {
    async fn new() -> Self {
        let doors = format!("[doors.irc]\nlisten = \"127.0.0.1:0\"\n{DOOR}[moderation]\nclassifier = \"builtin\"\n");
        let server = with_doors(&doors).await;
        let irc = port_of(&server, "irc").await;
        Self { server, irc }
    }

    /// A live room with these settings, which has a recording too; the recording's session.
    async fn room(&self, room: &str, settings: Value) -> String {
        let (admin, path) = (self.server.admin(), format!("admin/rooms/{room}"));
        let recorded = json!({ "comments": [{ "offset_ms": 1, "content": "recorded", "user_id": "ann" }] });
        let imported = admin.post(&format!("{path}/import"), recorded).await.expect(201);
        admin.post(&format!("{path}/open"), Value::Null).await.is(200);
        admin.put(&path, settings).await.is(200);
        imported["session_id"].as_str().unwrap().to_owned()
    }

    async fn say(&self, door: Door, room: &str, session: &str, user: &str, content: &str) -> Outcome {
        let token = token_of(user, "normal", None);
        let (http, path) = (self.server.bearing(&token), format!("rooms/{room}/comments"));
        match door {
            Door::Http => of_http(&http.comment(room, content).await),
            Door::Recording => {
                let draft = json!({ "content": content, "session_id": session, "offset_ms": 9 });
                of_http(&http.post(&path, draft).await)
            }
            Door::Socket => {
                let query = format!("room_id={room}&token={token}");
                let mut socket = Viewer::open(self.server.address(), &query, &[]).await.unwrap();
                let answer = socket.comment(content).await;
                match (answer["type"] == "error", &answer["status"]) {
                    (true, _) => Outcome::Refused(answer["rule"].as_str().map(str::to_owned)),
                    (false, status) if *status == "pending_review" => Outcome::Held,
                    _ => Outcome::Accepted,
                }
            }
            Door::Protobuf => self.say_in_protobuf(room, &token, content).await,
            Door::Irc => {
                let mut client = IrcClient::login(self.irc, &token).await;
                client.join(room).await;
                client.send(&format!("PRIVMSG #{room} :{content}")).await;
                // USERSTATE or NOTICE.
                let answer = client.wait_for(&format!("E #{room}")).await;
                // What is held is told by a notice after the USERSTATE.
                if answer.contains(" NOTICE ") { Outcome::Refused(None) } else { Outcome::Accepted }
            }
            Door::Pusher => {
                let said = comment(&format!("room-{room}"), json!({ "content": content, "user_id": user }));
                of_http(&call(&self.server, Method::POST, "/apps/1/events", "", said).await)
            }
            Door::Dplayer => {
                let said = json!({ "token": token, "id": room, "time": 1, "text": content, "color": 1, "type": 0 });
                let answer = self.server.http().post("/compat/dplayer/v3/", said).await.expect(200);
                match (answer["code"] == 0, &answer["data"]["status"]) {
                    (false, _) => Outcome::Refused(None),
                    (true, status) if *status == "pending_review" => Outcome::Held,
                    _ => Outcome::Accepted,
                }
            }
            Door::Dandanplay => {
                let said = json!({ "time": 1, "mode": 1, "color": 1, "comment": content });
                let answer = http.post(&format!("/compat/dandanplay/api/v2/comment/{room}"), said).await;
                if answer.status == 200 { Outcome::Accepted } else { Outcome::Refused(None) }
            }
        }
    }

    async fn say_in_protobuf(&self, room: &str, token: &str, content: &str) -> Outcome {
        let query = format!("room_id={room}&token={token}");
        let headers = [("sec-websocket-protocol", "barrage.v1.proto")];
        let mut socket = Viewer::open(self.server.address(), &query, &headers).await.unwrap();
        let draft = v1::CommentDraft { room_id: room.into(), content: content.into(), ..Default::default() };
        let message = Some(v1::client_frame::Message::Comment(draft));
        socket.send_bytes(ClientFrame { r#ref: 7, message }.encode_to_vec()).await;
        loop {
            let frame = ServerFrame::decode(&*socket.bytes().await).unwrap();
            match frame.message {
                Some(v1::server_frame::Message::Error(error)) if frame.r#ref == 7 => {
                    return Outcome::Refused(Some(error.rule));
                }
                Some(v1::server_frame::Message::CommentAck(ack)) if frame.r#ref == 7 => {
                    let is_held = ack.status() == v1::CommentStatus::PendingReview;
                    return if is_held { Outcome::Held } else { Outcome::Accepted };
                }
                _ => {}
            }
        }
    }
}

/// The rule, the settings that switch it on, what is said before, and what it refuses.
fn refusing() -> Vec<(&'static str, Value, Option<&'static str>, &'static str)> {
    let rule = |name: &str, value: Value| json!({ "moderation": { name: value } });
    let spam = json!({ "spam": { "verdict": "deny", "score": 0.5 } });
    vec![
        ("links", rule("links", json!("none")), None, "see example.com"),
        ("capitals", rule("capitals", json!(0.6)), None, "LOOK AT THIS NOW"),
        ("blocked_terms", rule("blocked_terms", json!(["hat*"])), None, "hatters here"),
        ("emoji_only", rule("emoji_only", json!(true)), None, "words"),
        (
            "similar",
            rule("similar", json!(0.8)),
            Some("what a lovely quiet evening it is"),
            "What a lovely quiet evening it was!",
        ),
        ("unique_s", rule("unique_s", json!(600)), Some("first of its kind"), "FIRST of its kind"),
        ("verified_only", rule("verified_only", json!(true)), None, "hello from nobody"),
        ("followers_only_s", rule("followers_only_s", json!(60)), None, "hello from a stranger"),
        ("account_age_s", rule("account_age_s", json!(86_400)), None, "hello from a child"),
        ("classifier", rule("thresholds", spam), None, "加微信abc123领红包"),
        ("speakers", json!({ "speakers": "moderators" }), None, "hello from the floor"),
        ("words", json!({}), None, "a curse"),
    ]
}

#[tokio::test]
async fn no_door_is_a_way_around_a_rule() {
    let world = World::new().await;
    world.server.admin().put("admin/words", json!({ "block": ["curse"], "review": ["doubt"] })).await.is(200);
    for (rule, settings, before, content) in refusing() {
        let session = world.room(rule, settings).await;
        let mut published = vec!["recorded"];
        if let Some(before) = before {
            world.server.user("regular").say(rule, before).await;
            published.push(before);
        }
        for door in ALL {
            let outcome = world.say(door, rule, &session, &format!("{door:?}-{rule}"), content).await;
            let Outcome::Refused(named) = &outcome else { panic!("{rule} at {door:?}: {outcome:?}") };
            assert!(named.as_ref().is_none_or(|named| named == rule), "{rule} at {door:?}: {named:?}");
            let names = !matches!(door, Door::Irc | Door::Dplayer | Door::Dandanplay);
            assert_eq!(named.is_some(), names, "{rule} at {door:?}");
        }
        assert_eq!(seen(&world.server, rule, &session).await, published, "{rule}");
    }
}

#[tokio::test]
async fn what_is_held_or_late_is_so_at_every_door() {
    let world = World::new().await;
    world.server.admin().put("admin/words", json!({ "review": ["doubt"] })).await.is(200);
    for (room, settings, reason) in [
        ("newcomers", json!({ "moderation": { "first_time": "hold" } }), Some("first_time")),
        ("doubts", json!({}), None),
    ] {
        let session = world.room(room, settings).await;
        for door in ALL {
            let content = format!("no doubt at {door:?}");
            let outcome = world.say(door, room, &session, &format!("{door:?}"), &content).await;
            let is_silent = matches!(door, Door::Irc | Door::Pusher | Door::Dandanplay);
            assert_eq!(outcome, if is_silent { Outcome::Accepted } else { Outcome::Held }, "{room} at {door:?}");
        }
        let held = world.server.admin().get(&format!("admin/reviews?room_id={room}")).await.expect(200);
        let held = held["reviews"].as_array().unwrap().clone();
        assert_eq!(held.len(), ALL.len(), "{held:?}");
        assert!(held.iter().all(|review| review["word"] == "doubt" || review["reason"].as_str() == reason), "{held:?}");
        assert_eq!(seen(&world.server, room, &session).await, ["recorded"]);
    }

    let session = world.room("slow", json!({ "moderation": { "level_slow_s": 600 } })).await;
    for door in ALL {
        let user = format!("{door:?}-slow");
        let first = world.say(door, "slow", &session, &user, &format!("first at {door:?}")).await;
        assert_eq!(first, Outcome::Accepted, "{door:?}");
        let second = world.say(door, "slow", &session, &user, &format!("second at {door:?}")).await;
        let named =
            matches!(&second, Outcome::Refused(rule) if rule.as_deref().unwrap_or("level_slow_s") == "level_slow_s");
        assert!(named, "{door:?}: {second:?}");
    }

    let session = world.room("late", json!({ "moderation": { "delay_s": 60 } })).await;
    for door in ALL.into_iter().filter(|door| *door != Door::Recording) {
        let outcome = world.say(door, "late", &session, &format!("{door:?}-late"), &format!("late at {door:?}")).await;
        assert_eq!(outcome, Outcome::Accepted, "{door:?}");
    }
    assert_eq!(seen(&world.server, "late", &session).await, ["recorded"]);
}

/// What others read of a room: live, and of its recording.
async fn seen(server: &Server, room: &str, session: &str) -> Vec<String> {
    let reader = server.user("reader");
    let mut seen = Vec::new();
    for path in [format!("rooms/{room}/replay?session_id={session}"), format!("rooms/{room}/comments?since_id=0")] {
        let page = reader.get(&path).await.expect(200);
        seen.extend(contents(&page["comments"]).into_iter().map(str::to_owned));
    }
    let mut once = Vec::new();
    seen.retain(|text| {
        !once.contains(text) && {
            once.push(text.clone());
            true
        }
    });
    seen
}

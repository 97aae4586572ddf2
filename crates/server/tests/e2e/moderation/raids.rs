//! A room that looks raided: its moderators are told, and nothing is switched.

use serde_json::{Value, json};
use testkit::{Server, Viewer, eventually};

use super::{bearer, rules};
use crate::{NO_LIMITS, configured, fast_server};

/// A server with a room that has been on before, and a moderator in it.
async fn raided(config: &str) -> (Server, Viewer) {
    let server = configured(&format!("{NO_LIMITS}[sockets]\nheartbeat_s = 3600\n{config}")).await;
    for act in ["open", "close", "open"] {
        server.admin().post(&format!("admin/rooms/lobby/{act}"), Value::Null).await.is(200);
    }
    let mo = bearer("mo", json!({ "roles": { "lobby": "moderator" } }));
    let mut moderator = Viewer::open(server.address(), &format!("room_id=lobby&token={mo}"), &[]).await.unwrap();
    moderator.wait_for("room_joined").await;
    (server, moderator)
}

/// Many people say something at once: an alarm looks at ten seconds, and the machine may be slow.
async fn all_say(server: &Server, room: &str, said: impl IntoIterator<Item = (String, String)>) {
    let said = said.into_iter().map(async |(user, text)| server.user(&user).say(room, &text).await);
    futures::future::join_all(said).await;
}

async fn raids(server: &Server) -> Vec<Value> {
    server.admin().get("admin/raids").await.expect(200)["raids"].as_array().unwrap().clone()
}

const GREETINGS: [&str; 12] = [
    "hello there",
    "what a night",
    "is this live",
    "greetings from Rome",
    "nice hat",
    "who is playing",
    "first time",
    "quite a crowd",
    "what did I miss",
    "turn it up",
    "lovely song",
    "good evening",
];

fn greetings(by: &str) -> Vec<(String, String)> {
    GREETINGS.iter().enumerate().map(|(n, text)| (format!("{by}{n}"), (*text).to_owned())).collect()
}

#[tokio::test]
async fn many_newcomers_are_told_to_moderators_and_the_shield_is_proposed() {
    let (server, mut mo) = raided("[moderation]\nraid_alarm = true\n").await;
    let mut bob = server.viewer("bob", "lobby").await;
    let before = server.admin().get("admin/rooms/lobby").await.expect(200)["moderation"].clone();
    all_say(&server, "lobby", greetings("new")).await;
    let told = mo.expect("the alarm", |event| event["code"] == "raid_alarm").await;
    assert_eq!((&told["kind"], &told["room_id"]), (&json!("notice"), &json!("lobby")), "{told}");
    let found = eventually("the proposal", async || Some(raids(&server).await).filter(|raids| raids.len() == 1)).await;
    let raid = &found[0];
    assert_eq!((&raid["kind"], &raid["room_id"]), (&json!("newcomers"), &json!("lobby")), "{raid}");
    assert!(raid["users"].as_u64().is_some_and(|users| (10..=12).contains(&users)), "{raid}");
    assert_eq!(raid["preset"]["first_time"], "hold", "{raid}");
    assert_eq!(server.admin().get("admin/rooms/lobby").await.expect(200)["moderation"], before, "nothing is switched");
    bob.given_when("all greetings", |given| (given.len() == GREETINGS.len()).then_some(())).await;
    assert!(bob.take(&["event"]).iter().all(|event| event["code"] != "raid_alarm"), "viewers are not told");
    eventually("the count", async || {
        let metrics = server.admin().get("/metrics").await.text;
        metrics.contains("barrage_moderation_raid_alarms_total{kind=\"newcomers\"} 1").then_some(())
    })
    .await;
    let trail = server.admin().get("admin/audit?actor=rule:raid_alarm").await.expect(200);
    assert_eq!(trail["entries"][0]["action"], "raid.alarm", "{trail}");

    server.user("ned").get("admin/raids?room_id=lobby").await.fails(403, "forbidden");
    server.admin().put("admin/rooms/lobby", json!({ "owner_id": "olga" })).await.is(200);
    let owners = server.user("olga").get("admin/raids").await.expect(200);
    assert_eq!(owners["raids"], json!([raid]), "an owner sees the raids of all own rooms");
    server.admin().post("admin/rooms/lobby/shield", json!({ "on": true, "preset": raid["preset"] })).await.is(200);
    assert_eq!(raids(&server).await, Vec::<Value>::new(), "the shield is the answer");
}

#[tokio::test]
async fn many_who_say_nearly_the_same_are_a_raid_that_can_be_dismissed() {
    let server = fast_server().await;
    rules(&server, "lobby", json!({ "raid_alarm": true })).await;
    let copies = (0..8).map(|n| (format!("u{n}"), format!("come to the other stream {n}!")));
    all_say(&server, "lobby", copies).await;
    let found = eventually("the proposal", async || Some(raids(&server).await).filter(|raids| raids.len() == 1)).await;
    assert_eq!((&found[0]["kind"], &found[0]["users"]), (&json!("copies"), &json!(8)), "{found:?}");
    server.user("u1").delete("admin/rooms/lobby/raid").await.fails(403, "forbidden");
    server.admin().delete("admin/rooms/lobby/raid").await.is(204);
    server.admin().delete("admin/rooms/lobby/raid").await.fails(404, "not_found");
    assert_eq!(raids(&server).await, Vec::<Value>::new());
}

#[tokio::test]
async fn regulars_and_rooms_without_the_alarm_raise_none() {
    let (server, _mo) = raided("[moderation]\nraid_alarm = true\n").await;
    rules(&server, "attic", json!({ "raid_alarm": false })).await;
    all_say(&server, "attic", greetings("new")).await;
    // A room that was never on before has newcomers alone.
    all_say(&server, "fresh", greetings("regular")).await;
    // Behind all of these.
    let copies = (0..8).map(|n| (format!("u{n}"), "come to the other stream, all of you".to_owned()));
    all_say(&server, "lobby", copies).await;
    let found = eventually("the last one", async || Some(raids(&server).await).filter(|raids| !raids.is_empty())).await;
    let rooms: Vec<_> = found.iter().map(|raid| raid["room_id"].clone()).collect();
    assert_eq!(rooms, ["lobby"]);
}

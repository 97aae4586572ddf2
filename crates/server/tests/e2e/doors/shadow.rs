//! What is shadowed is its sender's and the moderators' alone at every door, as it is at sockets.

use serde_json::{Value, json};

use super::goim::{AUTH, Client as GoimClient};
use super::irc::Client as IrcClient;
use super::pusher_client::{Client as PusherClient, DOOR};
use super::{port_of, token_of, with_doors};

/// The room's classifier shadows it.
const GHOST: &str = "加微信abc123领红包";

/// The rooms that a moderator moderates.
const ROOMS: Option<&[&str]> = Some(&["4711"]);

#[tokio::test]
async fn what_is_shadowed_is_seen_by_its_sender_and_moderators_alone() {
    let doors = "[doors.irc]\nlisten = \"127.0.0.1:0\"\n[doors.goim]\nlisten = \"127.0.0.1:0\"\n";
    let server = with_doors(&format!("{doors}{DOOR}[moderation]\nclassifier = \"builtin\"\n")).await;
    let shadows = json!({ "thresholds": { "spam": { "verdict": "shadow", "score": 0.5 } } });
    server.admin().put("admin/rooms/4711", json!({ "moderation": shadows })).await.is(200);
    let (irc, goim) = (port_of(&server, "irc").await, port_of(&server, "goim").await);

    let people = [("eve", "normal", None, true), ("mo", "moderator", ROOMS, true), ("bob", "normal", None, false)];
    let (mut irc_readers, mut goim_readers, mut pusher_readers) = (Vec::new(), Vec::new(), Vec::new());
    for (user, level, rooms, sees) in people {
        let token = token_of(user, level, rooms);
        let mut reader = IrcClient::login(irc, &token).await;
        reader.join("4711").await;
        irc_readers.push((reader, sees));
        let mut reader = GoimClient::connect(goim).await;
        reader.send(AUTH, &json!({ "roomid": 4711, "protover": 0, "key": token }).to_string()).await;
        reader.next().await.expect("a reply");
        goim_readers.push((reader, sees));
    }
    // Whom a back end vouches for is nobody's moderator: by name its own comments, otherwise none.
    for (channel, data, sees) in [
        ("presence-room-4711", Some(r#"{"user_id":"eve"}"#), true),
        ("presence-room-4711", Some(r#"{"user_id":"bob"}"#), false),
        ("private-room-4711", None, false),
    ] {
        let mut reader = PusherClient::connect(&server).await;
        reader.subscribed(channel, data).await;
        pusher_readers.push((reader, sees));
    }

    // From a door and from the API alike, and a comment for all, after which nothing earlier is to come.
    let said = server.user("eve").comment("4711", GHOST).await.expect(201);
    assert_eq!(said["status"], "accepted");
    server.user("ann").say("4711", "for all").await;
    for (reader, sees) in &mut irc_readers {
        let first = reader.wait_for(" PRIVMSG ").await;
        assert_eq!(first.ends_with(GHOST), *sees, "{first}");
    }
    for (reader, sees) in &mut goim_readers {
        let message: Value = serde_json::from_slice(&reader.next().await.expect("a comment").body).unwrap();
        assert_eq!(message["info"][1] == GHOST, *sees, "{message}");
    }
    for (reader, sees) in &mut pusher_readers {
        let comment = reader.event("comment").await;
        assert_eq!(comment["content"] == GHOST, *sees, "{comment}");
    }

    // Players read recordings.
    for (user, level, rooms, sees) in people {
        let list = server.bearing(&token_of(user, level, rooms)).get("/compat/dplayer/v3/?id=4711").await.expect(200);
        let found = list["data"].as_array().unwrap().iter().any(|comment| comment[4] == GHOST);
        assert_eq!(found, sees, "{user}: {list}");
    }
    let list = server.http().get("/compat/bilibili/4711.xml").await;
    assert!(list.status == 200 && !list.text.contains(GHOST) && list.text.contains("for all"), "{}", list.text);
}

//! The Pusher door on several nodes: what clients send each other reaches all of a channel's subscribers.

#[path = "../e2e/doors/pusher_client.rs"]
#[allow(dead_code, reason = "these transcripts use a part")]
mod pusher_client;
#[path = "../e2e/doors/socket.rs"]
#[allow(dead_code, reason = "these transcripts use a part")]
mod socket;

use reqwest::Method;
use serde_json::json;

use self::pusher_client::{Client, DOOR, call};
use crate::BINARY;

async fn nodes() -> Option<testkit::Cluster> {
    let (redis, mysql) = (testkit::service("BARRAGE_TEST_REDIS")?, testkit::service("BARRAGE_TEST_MYSQL")?);
    Some(testkit::Cluster::start(BINARY, 2, &redis, &mysql, DOOR).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn client_events_reach_the_subscribers_of_all_nodes_once() {
    let Some(nodes) = nodes().await else { return };
    let mut ann = Client::connect(&nodes[0]).await;
    let mut bob = Client::connect(&nodes[0]).await;
    let mut cleo = Client::connect(&nodes[1]).await;
    for (client, user) in [(&mut ann, "ann"), (&mut bob, "bob"), (&mut cleo, "cleo")] {
        client.subscribed("private-room-hall", None).await;
        client.subscribed("presence-room-hall", Some(&format!("{{\"user_id\":\"{user}\"}}"))).await;
    }
    for n in 0..3 {
        let event = |channel: &str| json!({ "event": "client-typing", "channel": channel, "data": { "n": n } });
        ann.send(event("private-room-hall")).await;
        for other in [&mut bob, &mut cleo] {
            assert_eq!(other.event("client-typing").await, json!({ "n": n }));
        }
        ann.send(event("presence-room-hall")).await;
        loop {
            let heard = cleo.next().await;
            if heard["event"] == "client-typing" {
                assert_eq!((&heard["channel"], &heard["user_id"]), (&json!("presence-room-hall"), &json!("ann")));
                break;
            }
        }
        bob.event("client-typing").await;
    }
    // A back end's event too, but not to the socket that caused it, whichever node was called.
    let order = |n: u32, socket: &str| json!({ "name": "order", "channel": "private-room-hall", "data": n.to_string(), "socket_id": socket });
    call(&nodes[1], Method::POST, "/apps/1/events", "", order(1, &ann.id)).await.is(200);
    call(&nodes[1], Method::POST, "/apps/1/events", "", order(2, &cleo.id)).await.is(200);
    assert_eq!((bob.event("order").await, bob.event("order").await), (json!(1), json!(2)));
    assert_eq!((ann.event("order").await, cleo.event("order").await), (json!(2), json!(1)));

    // Who has left a channel hears nothing more of it; the next event is that of the other channel.
    cleo.send(json!({ "event": "pusher:unsubscribe", "data": { "channel": "private-room-hall" } })).await;
    cleo.send(json!({ "event": "pusher:ping" })).await;
    cleo.event("pusher:pong").await;
    for channel in ["private-room-hall", "presence-room-hall"] {
        ann.send(json!({ "event": "client-last", "channel": channel, "data": channel })).await;
    }
    assert_eq!(cleo.event("client-last").await, "presence-room-hall");
    drop(nodes);
}

//! One user's devices, connected to different nodes.

use serde_json::json;
use testkit::Device;

use crate::cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_connects_to_another_node_replaces_its_old_socket() {
    let Some(nodes) = cluster(2).await else { return };
    let mut tv = nodes[0].device("ann", "tv").await;
    let mut phone = nodes[0].device("ann", "phone").await;
    let mut others = nodes[0].device("bo", "phone").await;
    let mut moved = nodes[1].device("ann", "phone").await;
    assert_eq!(phone.wait_close().await.0, 4009);
    let mut back = nodes[0].device("ann", "phone").await;
    assert_eq!(moved.wait_close().await.0, 4009);
    for socket in [&mut tv, &mut others, &mut back] {
        socket.ask(json!({ "type": "join_room", "room_id": "hall" })).await;
    }
    nodes[1].user("cy").post("rooms/hall/comments", json!({ "content": "who is there?" })).await.is(201);
    for socket in [&mut tv, &mut others, &mut back] {
        socket.sees("who is there?").await;
    }
}

/// Which of them came last nobody can say, but there is one in the end.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_device_that_connects_to_two_nodes_at_once_one_socket_stays() {
    let Some(nodes) = cluster(2).await else { return };
    for round in 0..10 {
        let name = format!("phone-{round}");
        let (mut one, mut other) = tokio::join!(nodes[0].device("ann", &name), nodes[1].device("ann", &name));
        let (closed, stays) = tokio::select! {
            closed = one.wait_close() => (closed, &mut other),
            closed = other.wait_close() => (closed, &mut one),
        };
        assert_eq!(closed.0, 4009);
        let mut bo = Device::online(&nodes[0], "bo", "phone").await;
        bo.say("ann", &name).await;
        stays.expect_within(testkit::PATIENCE, "the message", |message| message["content"] == json!(name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_on_one_node_ends_the_repeats_on_all() {
    let Some(nodes) = cluster(2).await else { return };
    let mut phone = nodes[0].device("gina", "phone").await;
    let mut tv = nodes[1].device("gina", "tv").await;
    let mut olga = nodes[1].device("olga", "phone").await;
    nodes[0].admin().put("admin/rooms/hall", json!({ "owner_id": "olga" })).await.is(200);
    let gift = json!({ "gift": "rocket", "user_id": "gina", "username": "Gina", "count": 1, "value": 3 });
    nodes[0].admin().post("admin/rooms/hall/gifts", gift).await.is(201);
    let event = phone.event("gift").await;
    for socket in [&mut tv, &mut olga] {
        assert_eq!(socket.event("gift").await["event_id"], event["event_id"]);
    }
    phone.send(json!({ "type": "ack", "event_id": event["event_id"] })).await;
    // It comes again to whom it must, and to nobody else.
    olga.event("gift").await;
    for socket in [&mut phone, &mut tv] {
        assert!(socket.settled().await.iter().all(|message| message["kind"] != "gift"));
    }
}

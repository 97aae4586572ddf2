//! Private and group chat between people on different nodes.

use serde_json::json;
use testkit::Device;

use crate::cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_every_device_on_every_node_and_is_read_by_its_sender() {
    let Some(nodes) = cluster(3).await else { return };
    let mut ann = Device::online(&nodes[0], "ann", "phone").await;
    let mut tablet = Device::online(&nodes[1], "ann", "tablet").await;
    let mut bo = Device::online(&nodes[2], "bo", "phone").await;
    ann.say("bo", "hello bo").await;
    bo.gets("hello bo").await;
    tablet.gets("hello bo").await;
    bo.say("ann", "hello ann").await;
    ann.gets("hello ann").await;
    tablet.gets("hello ann").await;
    assert_eq!(ann.contents(None), tablet.contents(None));
    let newest = ann.messages.last().unwrap()["id"].clone();
    let read = ann.socket().ask(json!({ "type": "mark_as_read", "message_id": newest })).await;
    assert_ne!(read["type"], "error", "{read}");
    assert_eq!(bo.socket().wait_for("message_read").await["read_by"], "ann");
    let away = nodes[0].user("bo").get("messages?since_id=0").await.expect(200);
    assert_eq!(away["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_spans_nodes_and_a_retry_elsewhere_is_no_second_message() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = Device::online(&nodes[0], "ann", "phone").await;
    let mut bo = Device::online(&nodes[1], "bo", "phone").await;
    let group = nodes[1].user("ann").post("groups", json!({ "name": "team", "members": ["bo"] })).await.expect(201);
    let id = group["group_id"].as_str().unwrap().to_owned();
    ann.say_to_group(&id, "to all").await;
    bo.gets("to all").await;
    let message = json!({ "client_msg_id": "m-1", "group_id": id, "content": "once", "msg_type": "text" });
    let first = nodes[0].user("bo").post("messages", message.clone()).await.expect(201);
    let again = nodes[1].user("bo").post("messages", message).await.expect(201);
    assert_eq!(first["server_msg_id"], again["server_msg_id"]);
    ann.gets("once").await;
    assert_eq!(ann.contents(None), ["to all", "once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_and_long_polls_know_of_other_nodes() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = nodes[0].device("ann", "phone").await;
    ann.ask(json!({ "type": "watch_presence", "user_ids": ["bo"] })).await;
    let mut bo = Device::online(&nodes[1], "bo", "phone").await;
    let of_bo = |status: &'static str| {
        move |m: &serde_json::Value| m["type"] == "presence" && m["user_id"] == "bo" && m["status"] == status
    };
    ann.expect_within(testkit::PATIENCE, "bo online", of_bo("online")).await;
    bo.leave().await;
    ann.expect_within(testkit::PATIENCE, "bo offline", of_bo("offline")).await;

    let bos = nodes[1].user("bo");
    let poll = async { bos.get("messages?since_id=0&wait_s=10").await.expect(200) };
    let send = async {
        let message = json!({ "client_msg_id": "p-1", "to_user": "bo", "content": "wake up", "msg_type": "text" });
        nodes[0].user("ann").post("messages", message).await.is(201);
    };
    let (page, ()) = tokio::join!(poll, send);
    assert_eq!(page["messages"][0]["content"], "wake up");
}

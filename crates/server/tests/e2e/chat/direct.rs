//! Two people, word for word.

use serde_json::{Value, json};
use testkit::Device;

use super::{history, ids, online, only_conversation, to};
use crate::server;

#[tokio::test]
async fn a_message_is_stored_acknowledged_and_pushed_to_every_device_of_both() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    let mut tablet = server.device("alice", "tablet").await;
    let mut bob = server.device("bob", "phone").await;

    let ack = alice.ask(to("bob", "a-1", "hello 你好")).await;

    let id = ack["server_msg_id"].clone();
    let conversation = ack["conversation_id"].clone();
    assert!(id.is_string() && conversation.is_string(), "{ack}");
    let told = |created_at: &Value| {
        json!({ "type": "new_message", "server_msg_id": id, "client_msg_id": "a-1", "conversation_id": conversation,
            "from_user": "alice", "from_name": "alice", "to_user": "bob", "content": "hello 你好", "msg_type": "text",
            "created_at": created_at })
    };
    assert_eq!(
        (&ack["type"], &ack["status"], &ack["client_msg_id"]),
        (&json!("message_ack"), &json!("delivered"), &json!("a-1"))
    );
    for socket in [&mut alice, &mut tablet, &mut bob] {
        assert_eq!(socket.wait_for("new_message").await, told(&ack["created_at"]));
    }
    for mut socket in [alice, tablet, bob] {
        assert!(socket.settled().await.iter().all(|message| message["type"] != "new_message"), "once is enough");
    }
}

#[tokio::test]
async fn the_acknowledgement_comes_right_before_the_message_itself() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    alice.send(to("bob", "a-1", "one")).await;
    alice.send(to("bob", "a-2", "two")).await;
    alice.expect("the second message", |message| message["content"] == "two").await;
    let kinds: Vec<_> =
        alice.take(&["message_ack", "new_message"]).iter().map(|m| m["client_msg_id"].clone()).collect();
    assert_eq!(kinds, ["a-1", "a-1", "a-2"], "ack, message, ack; the last message was taken");
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_nobody_is_told_again_across_restarts_too() {
    let mut server = server().await;
    let mut alice = server.device("alice", "phone").await;
    let mut bob = server.device("bob", "phone").await;
    let mut first = alice.ask(to("bob", "a-1", "once")).await;
    bob.wait_for("new_message").await;
    let mut again = alice.ask(to("bob", "a-1", "once, differently")).await;
    first["ref"].take();
    again["ref"].take();
    assert_eq!(first, again);
    // The same id is another user's own affair, and HTTP knows what sockets sent.
    bob.ask(to("alice", "a-1", "mine")).await;
    let body = json!({ "client_msg_id": "a-1", "to_user": "bob", "content": "over HTTP" });
    let http = server.user("alice").post("messages", body.clone()).await.expect(201);
    assert_eq!((&http["server_msg_id"], &http["created_at"]), (&first["server_msg_id"], &first["created_at"]));

    server.kill9().await;
    server.restart().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    assert_eq!(alice.contents(None), ["once", "mine"]);
    let mut last = alice.socket().ask(to("bob", "a-1", "after a crash")).await;
    last["ref"].take();
    assert_eq!(last, first);
    assert_eq!(server.user("alice").post("messages", body).await.expect(201)["server_msg_id"], first["server_msg_id"]);
    let conversation = first["conversation_id"].as_str().unwrap();
    assert_eq!(history(&server.user("bob"), conversation).await.len(), 2);
}

#[tokio::test]
async fn a_conversation_is_one_whoever_begins_it_and_is_listed_for_both() {
    let server = server().await;
    let mut devices = online(&server, &["alice", "bob"]).await;
    let first = devices[0].say("bob", "hi").await;
    let second = devices[1].say("alice", "hello").await;
    for (user, other, unread) in [("alice", "bob", 1), ("bob", "alice", 1)] {
        let http = server.user(user);
        let found = only_conversation(&http).await;
        let expected = json!({ "kind": "direct", "with_user": other, "name": other, "unread_count": unread });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&found[field], value, "{field} of {found}");
        }
        assert_eq!(found["last_message"]["id"], *second);
        let past = history(&http, found["conversation_id"].as_str().unwrap()).await;
        assert_eq!(ids(&past), [first.clone(), second.clone()]);
        let (own, theirs) = if user == "alice" { (0, 1) } else { (1, 0) };
        assert_eq!((&past[own]["from_user"], &past[own]["to_user"]), (&json!(user), &json!(other)));
        assert_eq!((&past[theirs]["status"], &past[theirs]["from_name"]), (&json!("delivered"), &json!(other)));
    }
}

#[tokio::test]
async fn nobody_writes_to_themselves() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    alice.refused(to("alice", "a-1", "remember the milk"), "invalid_request").await;
}

#[tokio::test]
async fn history_is_read_backwards_in_pages() {
    let server = crate::configured(super::NO_LIMITS).await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let mut sent = Vec::new();
    for n in 0..25 {
        sent.push(alice.say("bob", &format!("m{n}")).await);
    }
    let bob = server.user("bob");
    let id = only_conversation(&bob).await["conversation_id"].as_str().unwrap().to_owned();
    let newest = bob.get(&format!("conversations/{id}/messages?limit=10")).await.expect(200);
    assert_eq!((ids(newest["messages"].as_array().unwrap()), &newest["more"]), (sent[15..].to_vec(), &json!(true)));
    let older = bob.get(&format!("conversations/{id}/messages?limit=20&before_id={}", sent[15])).await.expect(200);
    assert_eq!((ids(older["messages"].as_array().unwrap()), &older["more"]), (sent[..15].to_vec(), &json!(false)));
}

#[tokio::test]
async fn messages_of_a_socket_with_the_binary_header_are_json() {
    let server = server().await;
    let query =
        format!("token={}&device_id=old", testkit::token(&json!({ "sub": "alice", "exp": testkit::now_s() + 60 })));
    let protocol = [("sec-websocket-protocol", "barrage.v1.bin")];
    let mut alice = testkit::Viewer::open(server.address(), &query, &protocol).await.unwrap();
    alice.wait_for("connected").await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    bob.say("alice", "to an old client").await;
    assert_eq!(alice.wait_for("new_message").await["content"], "to an old client");
    assert_eq!(alice.ask(to("bob", "a-1", "from one")).await["status"], "delivered");
    bob.gets("from one").await;
}

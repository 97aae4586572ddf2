//! What a device has missed: pages, changes, cursors, two devices in step.

use serde_json::{Value, json};
use testkit::{Device, Viewer};

use super::{NO_LIMITS, only_conversation};
use crate::{configured, server};

/// Asks for a page as it stands.
async fn page(socket: &mut Viewer, mut ask: Value) -> Value {
    ask["type"] = json!("sync_messages");
    let answer = socket.ask(ask).await;
    assert_eq!(answer["type"], "sync_response", "{answer}");
    answer
}

fn contents(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().filter_map(|message| message["content"].as_str()).collect()
}

#[tokio::test]
async fn who_was_away_gets_what_was_sent_in_pages_and_nothing_unasked() {
    let server = configured(NO_LIMITS).await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let mut carol = Device::online(&server, "carol", "phone").await;
    for n in 0..15 {
        alice.say("bob", &format!("a{n}")).await;
        carol.say("bob", &format!("c{n}")).await;
    }
    let mut bob = server.device("bob", "phone").await;
    assert!(bob.settled().await.iter().all(|message| message["type"] != "new_message"));
    let mut got = Vec::new();
    let mut since = json!("0");
    for more in [true, true, true, false] {
        let answer = page(&mut bob, json!({ "since_id": since, "limit": 8 })).await;
        assert_eq!(answer["more"], more, "{answer}");
        got.extend(contents(&answer).into_iter().map(str::to_owned));
        since = answer["latest_id"].clone();
    }
    let expected: Vec<String> = (0..15).flat_map(|n| [format!("a{n}"), format!("c{n}")]).collect();
    assert_eq!(got, expected);
    let last = page(&mut bob, json!({ "since_id": since })).await;
    assert_eq!((&last["messages"], &last["latest_id"], &last["more"]), (&json!([]), &since, &json!(false)));
}

#[tokio::test]
async fn nothing_at_all_is_an_empty_page_from_which_one_goes_on() {
    let server = server().await;
    let mut bob = server.device("bob", "phone").await;
    let empty = page(&mut bob, json!({ "since_id": "0", "since_change": "0" })).await;
    assert_eq!((&empty["messages"], &empty["changes"], &empty["more"]), (&json!([]), &json!([]), &json!(false)));
    assert_eq!((&empty["latest_id"], &empty["latest_change"]), (&json!("0"), &json!("0")));
    server
        .user("alice")
        .post("messages", json!({ "client_msg_id": "1", "to_user": "bob", "content": "first" }))
        .await
        .is(201);
    let next = page(&mut bob, json!({ "since_id": empty["latest_id"], "since_change": empty["latest_change"] })).await;
    assert_eq!(contents(&next), ["first"]);
}

#[tokio::test]
async fn two_devices_stay_in_step_also_for_what_was_sent_from_the_other() {
    let server = server().await;
    let mut phone = Device::online(&server, "alice", "phone").await;
    let mut tablet = Device::online(&server, "alice", "tablet").await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    phone.say("bob", "from the phone").await;
    tablet.gets("from the phone").await;
    tablet.cut();
    bob.say("alice", "an answer").await;
    phone.gets("an answer").await;
    phone.say("bob", "another").await;
    tablet.connect(&server).await;
    tablet.say("bob", "from the tablet").await;
    phone.gets("from the tablet").await;
    tablet.hear();
    assert_eq!(tablet.contents(None), ["from the phone", "an answer", "another", "from the tablet"]);
    assert_eq!(phone.contents(None), tablet.contents(None));
}

#[tokio::test]
async fn recalls_and_reads_between_the_pages_come_as_changes() {
    let server = configured(NO_LIMITS).await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    let mut sent = Vec::new();
    for n in 0..6 {
        sent.push(alice.say("bob", &format!("m{n}")).await);
    }
    bob.gets("m5").await;
    bob.cut();
    let mut tablet = server.device("bob", "tablet").await;
    let first = page(&mut tablet, json!({ "since_id": "0", "since_change": "0", "limit": 3 })).await;
    assert_eq!(contents(&first), ["m0", "m1", "m2"]);
    for gone in [&sent[1], &sent[4]] {
        let answer = alice.socket().ask(json!({ "type": "recall_message", "message_id": gone })).await;
        assert_eq!(answer["type"], "recall_ack", "{answer}");
    }
    let rest =
        page(&mut tablet, json!({ "since_id": first["latest_id"], "since_change": first["latest_change"] })).await;
    assert_eq!(contents(&rest), ["m3", "", "m5"], "what is recalled says nothing");
    assert_eq!(rest["messages"][1]["status"], "recalled");
    let changes: Vec<_> =
        rest["changes"].as_array().unwrap().iter().map(|c| (&c["message_id"], &c["status"])).collect();
    assert_eq!(changes, [(&json!(sent[1]), &json!("recalled")), (&json!(sent[4]), &json!("recalled"))]);
    assert_eq!(rest["changes"][0]["by_user"], "alice");
    bob.connect(&server).await;
    assert_eq!(bob.contents(None), ["m0", "", "m2", "m3", "", "m5"]);
    let marked = tablet.ask(json!({ "type": "mark_as_read", "message_id": sent[5] })).await;
    assert_eq!(marked["unread_count"], 0);
    let news = page(alice.socket(), json!({ "since_id": sent[5], "since_change": rest["latest_change"] })).await;
    let read = &news["changes"][0];
    assert_eq!(
        (&read["message_id"], &read["status"], &read["by_user"]),
        (&json!(sent[5]), &json!("read"), &json!("bob"))
    );
    assert_eq!(news["messages"], json!([]));
}

#[tokio::test]
async fn a_device_that_says_nothing_goes_on_where_it_stood() {
    let server = server().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let one = alice.say("bob", "one").await;
    alice.say("bob", "two").await;
    let mut phone = server.device("bob", "phone").await;
    assert_eq!(contents(&page(&mut phone, json!({})).await), ["one", "two"], "it never had a cursor");
    assert_eq!(contents(&page(&mut phone, json!({ "since_id": one })).await), ["two"]);
    phone.close().await;
    let mut phone = server.device("bob", "phone").await;
    assert_eq!(contents(&page(&mut phone, json!({})).await), ["two"], "it said that it has the first");
    let mut tablet = server.device("bob", "tablet").await;
    assert_eq!(contents(&page(&mut tablet, json!({})).await), ["one", "two"], "each device has its own");
}

#[tokio::test]
async fn long_messages_make_short_pages() {
    let server = configured(NO_LIMITS).await;
    let long = "长".repeat(3_900);
    let alice = server.user("alice");
    for n in 0..30 {
        let body = json!({ "client_msg_id": n.to_string(), "to_user": "bob", "content": format!("{n} {long}") });
        alice.post("messages", body).await.is(201);
    }
    let mut bob = server.device("bob", "phone").await;
    let mut got = 0;
    let mut answer = page(&mut bob, json!({ "since_id": "0", "limit": 500 })).await;
    assert!(answer["more"] == true && answer.to_string().len() < 200_000);
    loop {
        for message in answer["messages"].as_array().unwrap() {
            assert!(message["content"].as_str().unwrap().starts_with(&format!("{got} ")));
            got += 1;
        }
        if answer["more"] == false {
            break;
        }
        answer = page(&mut bob, json!({ "since_id": answer["latest_id"], "limit": 500 })).await;
    }
    assert_eq!(got, 30);
    assert_eq!(only_conversation(&server.user("bob")).await["unread_count"], 30);
}

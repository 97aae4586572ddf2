//! Answers, edits and reactions, word for word.

use serde_json::{Value, json};
use testkit::{Device, Viewer};

use super::{NO_LIMITS, group, history, online, only_conversation, to};
use crate::{configured, server};

async fn edit(socket: &mut Viewer, id: &str, content: &str) -> Value {
    socket.ask(json!({ "type": "edit_message", "message_id": id, "content": content })).await
}

async fn react(socket: &mut Viewer, id: &str, emoji: &str, on: bool) -> Value {
    socket.ask(json!({ "type": "react", "message_id": id, "emoji": emoji, "on": on })).await
}

#[tokio::test]
async fn an_answer_names_the_message_that_it_answers() {
    let server = server().await;
    let mut devices = online(&server, &["alice", "bob", "carol"]).await;
    let question = devices[0].say("bob", "tea?").await;
    let mut answer = to("alice", "b-1", "yes");
    answer["reply_to"] = json!(question);
    assert_eq!(devices[1].socket().ask(answer.clone()).await["status"], "delivered");
    let pushed = devices[0].socket().expect("the answer", |message| message["content"] == "yes").await;
    assert_eq!(pushed["reply_to"], question);
    devices[0].socket().ask(json!({ "type": "recall_message", "message_id": question })).await;
    answer["client_msg_id"] = json!("b-2");
    assert_eq!(devices[1].socket().ask(answer).await["status"], "delivered", "a recalled message stays as an id");
    let conversation = only_conversation(&server.user("alice")).await;
    let past = history(&server.user("alice"), conversation["conversation_id"].as_str().unwrap()).await;
    assert_eq!((&past[1]["reply_to"], &past[2]["reply_to"]), (&json!(question), &json!(question)));
    // To others the message does not exist, and in another conversation it is of no use.
    let mut foreign = to("alice", "c-1", "me too");
    foreign["reply_to"] = json!(question);
    devices[2].socket().refused(foreign, "not_found").await;
    let mut elsewhere = to("carol", "b-3", "yes");
    elsewhere["reply_to"] = json!(question);
    devices[1].socket().refused(elsewhere, "invalid_request").await;
}

#[tokio::test]
async fn an_edit_reaches_every_device_of_both_and_those_that_were_away() {
    let server = server().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let mut tablet = server.device("alice", "tablet").await;
    let mut bob = Device::online(&server, "bob", "phone").await;
    let id = alice.say("bob", "see you at fvie").await;
    bob.gets("see you at fvie").await;
    let page = bob.socket().ask(json!({ "type": "sync_messages", "since_id": "0", "since_change": "0" })).await;
    let (latest_id, latest_change) = (page["latest_id"].clone(), page["latest_change"].clone());

    let ack = edit(alice.socket(), &id, "  see you at five \u{202e}").await;

    assert_eq!((&ack["type"], &ack["message_id"]), (&json!("edit_ack"), &json!(id)));
    let conversation = page["messages"][0]["conversation_id"].clone();
    let told = json!({ "type": "message_edited", "message_id": id, "conversation_id": conversation,
        "content": "see you at five", "edited_at": ack["edited_at"] });
    for socket in [alice.socket(), &mut tablet, bob.socket()] {
        assert_eq!(socket.wait_for("message_edited").await, told);
    }
    let away = json!({ "type": "sync_messages", "since_id": latest_id, "since_change": latest_change });
    let news = bob.socket().ask(away).await;
    let change = &news["changes"][0];
    assert_eq!(
        (&change["message_id"], &change["status"], &change["by_user"]),
        (&json!(id), &json!("edited"), &json!("alice"))
    );
    assert_eq!(
        (&change["message"]["content"], &change["message"]["edited_at"]),
        (&json!("see you at five"), &ack["edited_at"])
    );
    // A repeat after a lost answer is no second edit.
    let again = edit(alice.socket(), &id, "see you at five").await;
    assert_eq!(again["edited_at"], ack["edited_at"]);
    assert!(bob.socket().settled().await.iter().all(|message| message["type"] != "message_edited"));
    let http = server.user("alice").patch(&format!("messages/{id}"), json!({ "content": "at six" })).await.expect(200);
    assert_eq!(bob.socket().wait_for("message_edited").await["edited_at"], http["edited_at"]);
}

#[tokio::test]
async fn only_the_author_edits_within_the_rules_for_new_messages() {
    let server = server().await;
    server.admin().put("admin/words", json!({ "mask": ["darn"], "review": [], "block": ["spam"] })).await.is(200);
    let mut devices = online(&server, &["alice", "bob", "carol"]).await;
    let id = devices[0].say("bob", "hello").await;
    let as_asked = |content: &str| json!({ "type": "edit_message", "message_id": id, "content": content });
    devices[1].socket().refused(as_asked("mine"), "forbidden").await;
    devices[2].socket().refused(as_asked("mine"), "not_found").await;
    devices[0].socket().refused(as_asked("buy spam"), "content_blocked").await;
    devices[0].socket().refused(as_asked(" \n "), "content_empty").await;
    let long = json!({ "content": "长".repeat(4_001) });
    server.user("alice").patch(&format!("messages/{id}"), long).await.fails(422, "content_too_long");
    edit(devices[0].socket(), &id, "darn it").await;
    assert_eq!(devices[1].socket().wait_for("message_edited").await["content"], "**** it");
    server.user("bob").put("users/alice/block", json!({})).await.is(200);
    devices[0].socket().refused(as_asked("still here"), "forbidden").await;
    server.user("bob").delete("users/alice/block").await.is(200);
    devices[0].socket().ask(json!({ "type": "recall_message", "message_id": id })).await;
    devices[0].socket().refused(as_asked("back again"), "too_late").await;
}

#[tokio::test]
async fn after_two_minutes_it_stands() {
    let server = configured("[chat]\nrecall_s = 1\n").await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let id = alice.say("bob", "hello").await;
    let refused = alice.until_refused_edit(&id).await;
    assert_eq!(refused["code"], "too_late");
}

trait Late {
    async fn until_refused_edit(&mut self, id: &str) -> Value;
}

impl Late for Device {
    /// Edits until the time is over.
    async fn until_refused_edit(&mut self, id: &str) -> Value {
        for n in 0..200 {
            let answer = edit(self.socket(), id, &format!("hello {n}")).await;
            if answer["type"] == "error" && answer["code"] != "rate_limited" {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("it can be edited for ever");
    }
}

#[tokio::test]
async fn reactions_are_told_counted_and_kept() {
    let server = configured(NO_LIMITS).await;
    let mut devices = online(&server, &["alice", "bob", "carol"]).await;
    let group = group(&server.user("alice"), "tea", &["bob", "carol"]).await;
    let id = devices[0].say_to_group(&group, "tea?").await;
    devices[1].gets("tea?").await;

    let ack = react(devices[1].socket(), &id, "👍", true).await;

    assert_eq!((&ack["type"], &ack["emoji"], &ack["count"]), (&json!("react_ack"), &json!("👍"), &json!(1)));
    for device in &mut devices {
        let told = device.socket().wait_for("message_reacted").await;
        assert_eq!(
            (&told["message_id"], &told["user_id"], &told["emoji"], &told["on"], &told["count"]),
            (&json!(id), &json!("bob"), &json!("👍"), &json!(true), &json!(1))
        );
    }
    let emoji = "%F0%9F%91%8D";
    let carol = server.user("carol");
    assert_eq!(carol.put(&format!("messages/{id}/reactions/{emoji}"), json!({})).await.expect(200)["count"], 2);
    assert_eq!(react(devices[1].socket(), &id, "👍", true).await["count"], 2, "each person counts once");
    react(devices[1].socket(), &id, "❤", true).await;
    let conversation = only_conversation(&carol).await;
    let expected = json!([{ "emoji": "👍", "count": 2, "mine": true }, { "emoji": "❤️", "count": 1, "mine": false }]);
    assert_eq!(conversation["last_message"]["reactions"], expected);
    let page = devices[0].socket().ask(json!({ "type": "sync_messages", "since_id": id, "since_change": "0" })).await;
    assert_eq!(page["changes"][0]["status"], "reacted");
    assert_eq!(page["changes"][0]["message"]["reactions"][0], json!({ "emoji": "👍", "count": 2, "mine": false }));
    assert_eq!(conversation["unread_count"], 1, "reactions are nothing unread");
    assert_eq!(carol.delete(&format!("messages/{id}/reactions/{emoji}")).await.expect(200)["count"], 1);
    for text in ["a", "nice", "👍👍", "", "<b>"] {
        let free = json!({ "type": "react", "message_id": id, "emoji": text });
        devices[1].socket().refused(free, "invalid_request").await;
    }
    let mut dan = server.device("dan", "phone").await;
    dan.refused(json!({ "type": "react", "message_id": id, "emoji": "👍" }), "not_found").await;
    devices[0].socket().ask(json!({ "type": "recall_message", "message_id": id })).await;
    let past = history(&carol, conversation["conversation_id"].as_str().unwrap()).await;
    assert_eq!((&past[0]["status"], &past[0]["reactions"]), (&json!("recalled"), &Value::Null));
}

#[tokio::test]
async fn encrypted_messages_are_edited_as_envelopes_and_take_no_reactions() {
    let server = server().await;
    let mut alice = server.device("alice", "phone").await;
    let envelope = |body: &str| {
        json!({ "v": 1, "from_device": "phone", "devices": { "bob/phone": { "type": 1, "body": body } } }).to_string()
    };
    let mut sealed = to("bob", "a-1", &envelope("AAAA"));
    sealed["msg_type"] = json!("encrypted");
    let id = alice.ask(sealed).await["server_msg_id"].as_str().unwrap().to_owned();
    assert_eq!(edit(&mut alice, &id, &envelope("BBBB")).await["type"], "edit_ack");
    alice.refused(json!({ "type": "edit_message", "message_id": id, "content": "in plain" }), "invalid_request").await;
    let mut bob = server.device("bob", "phone").await;
    bob.refused(json!({ "type": "react", "message_id": id, "emoji": "👍" }), "invalid_request").await;
    let found = server.user("bob").get("messages/search?q=BBBB").await.expect(200);
    assert_eq!(found["messages"], json!([]), "what is sealed is not searched");
}

#[tokio::test]
async fn ones_own_messages_are_searched_newest_first() {
    let server = configured(NO_LIMITS).await;
    let mut devices = online(&server, &["alice", "bob", "carol"]).await;
    devices[0].say("bob", "The tea is ready").await;
    devices[0].say("bob", "no coffee").await;
    devices[1].say("alice", "TEA please").await;
    devices[2].say("bob", "tea for carol").await;
    devices[1].say("alice", "晚上一起喝茶吗").await;
    let alice = server.user("alice");
    let contents = |found: &Value| -> Vec<String> {
        let messages = found["messages"].as_array().unwrap().iter();
        messages.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    let found = alice.get("messages/search?q=tea").await.expect(200);
    assert_eq!(contents(&found), ["TEA please", "The tea is ready"], "carol's are not alice's");
    let chinese = alice.get("messages/search?q=%E5%96%9D%E8%8C%B6").await.expect(200);
    assert_eq!(contents(&chinese), ["晚上一起喝茶吗"]);
    let first = alice.get("messages/search?q=tea&limit=1").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = alice.get(&format!("messages/search?q=tea&limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!(contents(&second), ["The tea is ready"]);
    let own = only_conversation(&alice).await["conversation_id"].as_str().unwrap().to_owned();
    let within = alice.get(&format!("messages/search?q=tea&conversation_id={own}")).await.expect(200);
    assert_eq!(contents(&within).len(), 2);
    let carol = server.user("carol");
    carol.get(&format!("messages/search?q=tea&conversation_id={own}")).await.fails(404, "not_found");
    alice.get("messages/search?q=%20%20").await.fails(400, "invalid_request");
    alice.get("messages/search").await.fails(400, "invalid_request");
    let mut limited = false;
    for _ in 0..40 {
        limited |= alice.get("messages/search?q=tea").await.status == 429;
    }
    assert!(limited, "searches have a budget");
}

//! Groups: roles, comings and goings, strangers, size.

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Device, Server};

use super::{NO_LIMITS, group, history, online, only_conversation};
use crate::{configured, server};

/// The next `group_changed` that a device is told.
async fn changed(device: &mut Device, change: &str) -> Value {
    device.socket().expect(change, |m| m["type"] == "group_changed" && m["change"] == change).await
}

#[tokio::test]
async fn a_group_is_made_used_and_left() {
    let server = server().await;
    let mut devices = online(&server, &["alice", "bob", "carol"]).await;
    let [alice, bob, carol] = &mut devices[..] else { unreachable!() };
    let alices = server.user("alice");
    let made =
        alices.post("groups", json!({ "name": "  the team ", "members": ["bob", "carol", "bob"] })).await.expect(201);
    let id = made["group_id"].as_str().unwrap();
    let told = changed(bob, "created").await;
    assert_eq!((&told["group_id"], &told["by_user"], &told["name"]), (&json!(id), &json!("alice"), &json!("the team")));

    let ack = carol
        .socket()
        .ask(json!({ "type": "send_group_message", "client_msg_id": "c-1", "group_id": id, "content": "hi all" }))
        .await;

    assert_eq!((&ack["status"], &ack["conversation_id"]), (&json!("delivered"), &made["conversation_id"]), "{ack}");
    for device in [&mut *alice, &mut *bob, &mut *carol] {
        let message = device.gets("hi all").await;
        assert_eq!((&message["group_id"], &message["from_user"]), (&json!(id), &json!("carol")));
        assert!(message.get("to_user").is_none());
    }
    let shown = alices.get(&format!("groups/{id}")).await.expect(200);
    assert_eq!(
        (&shown["name"], &shown["owner_id"], &shown["role"]),
        (&json!("the team"), &json!("alice"), &json!("owner"))
    );
    assert_eq!(shown["member_count"], 3);
    let listed = only_conversation(&server.user("bob")).await;
    assert_eq!(
        (&listed["kind"], &listed["name"], &listed["group_id"]),
        (&json!("group"), &json!("the team"), &json!(id))
    );
    assert_eq!(
        (&listed["member_count"], &listed["role"], &listed["unread_count"]),
        (&json!(3), &json!("member"), &json!(1))
    );

    server.user("carol").delete(&format!("groups/{id}/members/carol")).await.is(200);
    assert_eq!(changed(alice, "member_left").await["user_ids"], json!(["carol"]));
    changed(carol, "member_left").await;
    carol
        .socket()
        .refused(
            json!({ "type": "send_group_message", "client_msg_id": "c-2", "group_id": id, "content": "still?" }),
            "not_found",
        )
        .await;
    alice.say_to_group(id, "carol is gone").await;
    bob.gets("carol is gone").await;
    assert!(carol.socket().settled().await.iter().all(|m| m["content"] != "carol is gone"));
}

#[tokio::test]
async fn roles_say_who_may_do_what() {
    let server = server().await;
    let [owner, admin, member] = ["owner", "admin", "member"].map(|user| server.user(user));
    let id = group(&owner, "team", &["admin", "member", "other"]).await;
    let role = |user: &str| format!("groups/{id}/members/{user}");
    owner.patch(&role("admin"), json!({ "role": "admin" })).await.is(200);
    // Renaming and adding: owner and admins.
    assert_eq!(admin.patch(&format!("groups/{id}"), json!({ "name": "crew" })).await.expect(200)["name"], "crew");
    member.patch(&format!("groups/{id}"), json!({ "name": "mine" })).await.fails(403, "forbidden");
    let add = format!("groups/{id}/members");
    assert_eq!(admin.post(&add, json!({ "user_id": "new" })).await.expect(200)["added"], json!(["new"]));
    assert_eq!(owner.post(&add, json!({ "user_ids": ["new", "newer"] })).await.expect(200)["added"], json!(["newer"]));
    assert_eq!(owner.post(&add, json!({ "members": ["newest"] })).await.expect(200)["added"], json!(["newest"]));
    member.post(&add, json!({ "user_id": "friend" })).await.fails(403, "forbidden");
    owner.post(&add, json!({})).await.fails(400, "invalid_request");
    // Removing: whoever is below.
    member.delete(&role("other")).await.fails(403, "forbidden");
    admin.delete(&role("owner")).await.fails(403, "forbidden");
    admin.delete(&role("other")).await.is(200);
    // Roles and closing: the owner.
    admin.patch(&role("member"), json!({ "role": "admin" })).await.fails(403, "forbidden");
    admin.delete(&format!("groups/{id}")).await.fails(403, "forbidden");
    owner.patch(&role("stranger"), json!({ "role": "admin" })).await.fails(404, "not_found");
    owner.patch(&role("member"), json!({ "role": "owner" })).await.is(200);
    let shown = member.get(&format!("groups/{id}")).await.expect(200);
    assert_eq!((&shown["owner_id"], &shown["role"]), (&json!("member"), &json!("owner")));
    assert_eq!(owner.get(&format!("groups/{id}")).await.expect(200)["role"], "admin");
    // An owner who leaves hands over to the oldest admin.
    member.delete(&role("member")).await.is(200);
    let heir = owner.get(&format!("groups/{id}")).await.expect(200)["owner_id"].clone();
    assert!(heir == "owner" || heir == "admin", "{heir}");
    let heir = server.user(heir.as_str().unwrap());
    let members = heir.get(&format!("{add}?limit=2")).await.expect(200);
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
    let rest = heir.get(&format!("{add}?after={}", members["next_cursor"].as_str().unwrap())).await.expect(200);
    assert_eq!(rest["members"].as_array().unwrap().len(), 3, "{rest}");
    heir.delete(&format!("groups/{id}")).await.is(200);
    heir.get(&format!("groups/{id}")).await.fails(404, "not_found");
    assert_eq!(heir.get("conversations").await.expect(200)["conversations"], json!([]));
}

#[tokio::test]
async fn to_strangers_a_group_and_its_messages_do_not_exist() {
    let server = server().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let id = group(&server.user("alice"), "team", &["bob", "gone"]).await;
    let message = alice.say_to_group(&id, "among us").await;
    let direct = alice.say("bob", "between us").await;
    let between = alice.gets("between us").await["conversation_id"].as_str().unwrap().to_owned();
    server.user("alice").delete(&format!("groups/{id}/members/gone")).await.is(200);
    for user in ["mallory", "gone"] {
        let http = server.user(user);
        let mut socket = server.device(user, "phone").await;
        for (kind, message_id) in [("mark_as_read", &message), ("recall_message", &message), ("mark_as_read", &direct)]
        {
            socket.refused(json!({ "type": kind, "message_id": message_id }), "not_found").await;
        }
        let send =
            json!({ "type": "send_group_message", "client_msg_id": "x", "group_id": id, "content": "let me in" });
        let refused = socket.refused(send.clone(), "not_found").await;
        assert_eq!(refused["client_msg_id"], "x");
        let mut guess = send;
        guess["group_id"] = json!("12345");
        assert_eq!(socket.refused(guess, "not_found").await["message"], refused["message"], "as if it did not exist");
        socket.refused(json!({ "type": "typing", "group_id": id }), "not_found").await;
        for conversation in [&id, &between] {
            http.get(&format!("conversations/{conversation}/messages")).await.fails(404, "not_found");
        }
        http.get("groups/no-such-group").await.fails(404, "not_found");
        http.get("conversations/no-such-conversation/messages").await.fails(404, "not_found");
        http.get(&format!("groups/{id}")).await.fails(404, "not_found");
        http.get(&format!("groups/{id}/members")).await.fails(404, "not_found");
        http.post(&format!("groups/{id}/members"), json!({ "user_id": user })).await.fails(404, "not_found");
        http.delete(&format!("groups/{id}/members/bob")).await.fails(404, "not_found");
        http.delete(&format!("groups/{id}")).await.fails(404, "not_found");
        http.post(&format!("messages/{message}/read"), Value::Null).await.fails(404, "not_found");
        http.delete(&format!("messages/{message}")).await.fails(404, "not_found");
        let send = json!({ "client_msg_id": "y", "group_id": id, "content": "let me in" });
        http.post("messages", send).await.fails(404, "not_found");
        let synced = http.get("messages?since_id=0&since_change=0").await;
        let listed = http.get("conversations").await;
        for text in [synced.text, listed.text] {
            assert!(!text.contains("us") && !text.contains("team"), "{text}");
        }
        assert!(socket.settled().await.iter().all(|m| m["type"] != "new_message"));
    }
    assert_eq!(history(&server.user("bob"), &id).await.len(), 1);
}

#[tokio::test]
async fn members_see_a_group_from_their_joining_on() {
    let server = server().await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let id = group(&server.user("alice"), "team", &[]).await;
    alice.say_to_group(&id, "before").await;
    server.user("alice").post(&format!("groups/{id}/members"), json!({ "user_id": "bob" })).await.is(200);
    let mut bob = Device::online(&server, "bob", "phone").await;
    assert!(bob.contents(None).is_empty());
    alice.say_to_group(&id, "after").await;
    bob.gets("after").await;
    let past = history(&server.user("bob"), &id).await;
    assert_eq!(past.len(), 1);
    assert_eq!(only_conversation(&server.user("bob")).await["unread_count"], 1);
}

#[tokio::test]
async fn names_and_sizes_have_their_bounds() {
    let server = configured("[chat]\ngroup_members_max = 4\n").await;
    let alice = server.user("alice");
    for (body, status, code) in [
        (json!({ "name": "   " }), 400, "invalid_request"),
        (json!({ "name": "x".repeat(65) }), 400, "invalid_request"),
        (json!({ "name": "team", "members": ["a b"] }), 400, "invalid_request"),
        (json!({ "members": [] }), 400, "invalid_request"),
        (json!({ "name": "team", "members": ["b", "c", "d", "e"] }), 409, "group_full"),
    ] {
        alice.post("groups", body).await.fails(status, code);
    }
    let id = group(&alice, "team", &["b", "c"]).await;
    let add = format!("groups/{id}/members");
    alice.post(&add, json!({ "user_ids": ["d", "e"] })).await.fails(409, "group_full");
    assert_eq!(alice.get(&format!("groups/{id}")).await.expect(200)["member_count"], 3, "nobody was added");
    alice.post(&add, json!({ "user_ids": ["b", "d"] })).await.is(200);
    alice.post(&add, json!({ "user_id": "b" })).await.is(200);
}

async fn crowd(server: &Server, names: &[String]) -> Vec<Device> {
    join_all(names.iter().map(|name| Device::online(server, name, "phone"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_five_hundred_is_one_row_and_reaches_all_who_are_online() {
    let mut server = configured(NO_LIMITS).await;
    let names: Vec<String> = (0..499).map(|n| format!("m{n}")).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let id = group(&server.user("alice"), "everybody", &members).await;
    let mut alice = Device::online(&server, "alice", "phone").await;
    let mut online = crowd(&server, &names[..200]).await;
    for n in 0..5 {
        alice.say_to_group(&id, &format!("to all {n}")).await;
    }
    for device in &mut online {
        device.gets("to all 4").await;
        assert_eq!(device.messages.len(), 5);
    }
    let mut late = Device::online(&server, "m300", "phone").await;
    assert_eq!(late.contents(None).len(), 5);
    late.leave().await;
    server.terminate().await;
    let file = rusqlite::Connection::open(server.dir().join("data/barrage.sqlite")).unwrap();
    let rows: u32 = file.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 5);
}

//! Private and group chat, as messengers have it.

mod changing;
mod direct;
mod flapping;
mod groups;
mod polling;
mod presence;
mod receipts;
mod rules;
mod sync;
mod trouble;

use serde_json::{Value, json};
use testkit::{Device, Http, Server};

/// Rates that are not what the test is about.
const NO_LIMITS: &str = "[chat]\nmessages_per_s = 10000\nburst = 10000\n";

/// Devices of different users, online.
async fn online(server: &Server, users: &[&str]) -> Vec<Device> {
    let mut devices = Vec::new();
    for user in users {
        devices.push(Device::online(server, user, "phone").await);
    }
    devices
}

/// A direct message as it is asked for.
fn to(user: &str, client_msg_id: &str, content: &str) -> Value {
    json!({ "type": "send_message", "client_msg_id": client_msg_id, "to_user": user, "content": content })
}

/// Makes a group; its id.
async fn group(owner: &Http, name: &str, members: &[&str]) -> String {
    let made = owner.post("groups", json!({ "name": name, "members": members })).await.expect(201);
    made["group_id"].as_str().unwrap().to_owned()
}

/// The caller's only conversation, as the list shows it.
async fn only_conversation(http: &Http) -> Value {
    let listed = http.get("conversations").await.expect(200);
    let conversations = listed["conversations"].as_array().unwrap();
    assert_eq!(conversations.len(), 1, "{listed}");
    conversations[0].clone()
}

/// The whole past of a conversation, oldest first.
async fn history(http: &Http, conversation_id: &str) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    loop {
        let before = messages.first().map(|message| format!("&before_id={}", message["id"].as_str().unwrap()));
        let path = format!("conversations/{conversation_id}/messages?limit=200{}", before.unwrap_or_default());
        let page = http.get(&path).await.expect(200);
        let older = page["messages"].as_array().unwrap().clone();
        messages = older.into_iter().chain(messages).collect();
        if page["more"] == false {
            return messages;
        }
    }
}

/// The ids of a list of messages.
fn ids(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

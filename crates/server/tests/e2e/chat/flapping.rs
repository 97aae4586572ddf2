//! Fifty users, a thousand messages, connections that come and go: in the end every device holds every message of its
//! user's conversations, once and in one order.

use std::collections::HashMap;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Device, Server};

use super::{NO_LIMITS, group};
use crate::configured;

const USERS: usize = 50;
const MESSAGES_OF_EACH: usize = 20;
const GROUPS: usize = 4;

/// Chance from a seed, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn name(n: usize) -> String {
    format!("user{n}")
}

/// Sends one message until it is answered, whatever happens to the connection.
async fn deliver(server: &Server, device: &mut Device, message: &Value) {
    loop {
        if !device.is_connected() {
            device.connect(server).await;
        }
        if let Some(answer) = device.socket().attempt(message.clone()).await {
            assert_eq!(answer["type"], "message_ack", "{answer}");
            return;
        }
        device.cut();
    }
}

/// One user's two devices: the first sends, both flap.
async fn live(server: &Server, n: usize, groups: &[String]) -> [Device; 2] {
    let mut dice = Dice(n as u64 * 7_919 + 1);
    let mut devices = [Device::new(&name(n), "phone"), Device::new(&name(n), "tablet")];
    for i in 0..MESSAGES_OF_EACH {
        let id = format!("{n}-{i}");
        let message = if dice.below(4) == 0 {
            let group = &groups[dice.below(GROUPS)];
            json!({ "type": "send_group_message", "client_msg_id": id, "group_id": group, "content": id })
        } else {
            let other = name((n + 1 + dice.below(USERS - 1)) % USERS);
            json!({ "type": "send_message", "client_msg_id": id, "to_user": other, "content": id })
        };
        let sender = dice.below(2);
        if dice.below(5) == 0 && devices[sender].is_connected() {
            // The message is on its way when the connection is cut; the retry settles it.
            devices[sender].socket().send(message.clone()).await;
            devices[sender].cut();
        }
        deliver(server, &mut devices[sender], &message).await;
        let other = &mut devices[1 - sender];
        match (other.is_connected(), dice.below(3)) {
            (true, 0) => other.cut(),
            (false, 0 | 1) => other.connect(server).await,
            _ => other.hear(),
        }
    }
    for device in &mut devices {
        device.cut();
    }
    devices
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_over_flapping_connections_are_everywhere_once_and_in_order() {
    let server = configured(NO_LIMITS).await;
    let everybody: Vec<String> = (0..USERS).map(name).collect();
    let members: Vec<&str> = everybody.iter().map(String::as_str).collect();
    let owner = server.user("user0");
    let mut groups = Vec::new();
    for n in 0..GROUPS {
        groups.push(group(&owner, &format!("group {n}"), &members).await);
    }

    let mut devices: Vec<Device> =
        join_all((0..USERS).map(|n| live(&server, n, &groups))).await.into_iter().flatten().collect();

    let mut orders: HashMap<String, Vec<String>> = HashMap::new();
    let mut contents: Vec<String> = Vec::new();
    for device in &mut devices {
        device.connect(&server).await;
        device.cut();
        for (conversation, ids) in device.by_conversation() {
            let first = orders.entry(conversation.clone()).or_insert_with(|| ids.clone());
            assert_eq!(*first, ids, "{} holds {conversation} in another order", device.user);
        }
        contents.extend(device.messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()));
    }
    let total: usize = orders.values().map(Vec::len).sum();
    assert_eq!(total, USERS * MESSAGES_OF_EACH, "every message is in one conversation once");
    let in_groups: usize = groups.iter().filter_map(|group| orders.get(group)).map(Vec::len).sum();
    let told = 2 * (in_groups * USERS + (total - in_groups) * 2);
    assert_eq!(contents.len(), told, "on both devices of everybody in the conversation");
}

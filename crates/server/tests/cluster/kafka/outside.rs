//! What programs that are not ours are told, read as they would.

use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};
use serde_json::{Value, json};

use super::{ALL, Nodes, nodes};

/// The first messages of a topic, in the order of their partitions.
async fn told(namespace: &str, topic: &str, count: usize) -> Vec<Value> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", testkit::service("BARRAGE_TEST_KAFKA").unwrap());
    config.set("auto.offset.reset", "earliest").set("group.id", format!("{namespace}.somebody-else"));
    let topic = format!("{namespace}.{topic}");
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = BaseConsumer::from_config(&config).unwrap();
        consumer.subscribe(&[&topic]).unwrap();
        let (mut told, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(30));
        while told.len() < count && Instant::now() < deadline {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                told.push(serde_json::from_slice(message.payload().unwrap()).unwrap());
            }
        }
        told
    });
    read.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_hear_of_reviews_announcements_and_gifts() {
    let Some(Nodes { nodes, .. }) = &nodes(&[ALL]).await else { return };
    let (admin, ready) = (nodes[0].admin(), nodes[0].http().get("/readyz").await.expect(200));
    let (namespace, _) = ready["node_id"].as_str().unwrap().rsplit_once('-').unwrap();
    admin.put("admin/words", json!({ "mask": [], "review": ["plum"], "block": [] })).await.is(200);
    let held = nodes[0].user("ann").comment("hall", "a plum").await.expect(201);
    assert_eq!(held["status"], "pending_review");
    let id = held["id"].as_str().unwrap();
    admin.post(&format!("admin/reviews/{id}/approve"), Value::Null).await.is(200);
    admin.post("admin/rooms/hall/announcements", json!({ "content": "be kind" })).await.is(201);
    let gift = json!({ "gift": "rose", "user_id": "bo", "username": "Bo", "count": 1, "value": 5 });
    admin.post("admin/rooms/hall/gifts", gift).await.is(201);

    let reviews = told(namespace, "comment_review", 2).await;
    let statuses: Vec<_> = reviews.iter().map(|review| (&review["id"], &review["status"])).collect();
    assert_eq!(statuses, [(&json!(id), &json!("pending")), (&json!(id), &json!("approved"))]);
    let mut notes = told(namespace, "notifications", 2).await;
    notes.sort_by_key(|note| note["kind"].to_string());
    let who: Vec<_> = notes.iter().map(|note| (&note["kind"], &note["user_id"], &note["room_id"])).collect();
    assert_eq!(
        who,
        [(&json!("announcement"), &Value::Null, &json!("hall")), (&json!("gift"), &json!("bo"), &json!("hall"))]
    );
    assert_eq!(notes[0]["body"]["content"], "be kind");
}

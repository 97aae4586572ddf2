//! Webhooks out: what two nodes took as one comment is one call.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

use std::collections::BTreeSet;
use std::sync::Arc;

use ingest::Webhooks;
use ingest::webhooks::{CALL, Call, Subscription, WebhookLog};
use log::{Log, Position, Record, Submission};
use model::clock::SystemClock;
use model::{Metrics, RoomId, Snowflake, SnowflakeGenerator};
use prometheus_client::registry::Registry;
use serde_json::json;
use store::sqlite::SqliteStore;
use store::{DocumentQuery, DocumentStore};

/// Takes everything at once.
struct Taking;

impl Log for Taking {
    fn submit(&self, run: Vec<Submission>) {
        let done = run.into_iter().filter_map(|one| (one.done)(Ok(Position::default())));
        done.for_each(std::task::Waker::wake);
    }
}

fn says(node: &Arc<Webhooks>, id: u64, client_msg_id: Option<&str>) {
    let comment = Arc::new(testkit::comments::comment(id));
    let record = Record::Comment { comment, client_msg_id: client_msg_id.map(Into::into), keep: true };
    let log = WebhookLog::new(Arc::new(Taking), node.clone());
    log.submit(vec![Submission { room_id: RoomId::new("lobby").unwrap(), record, done: Box::new(|_| None) }]);
}

#[tokio::test]
async fn what_two_nodes_took_under_one_client_msg_id_is_one_call() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let store = Arc::new(SqliteStore::open(&dir.path().join("db"), metrics.clone()).unwrap());
    let (clock, url) = (Arc::new(SystemClock), "http://127.0.0.1:9/in".to_owned());
    let (secret, kinds, room_ids) = ("whsec_x".to_owned(), Vec::new(), Vec::new());
    let one = Subscription { id: Snowflake(7), url, kinds, room_ids, secret, previous: None, created_at_ms: 0 };
    assert!(store.add_document(&one.document(0)).await.unwrap());
    let mut nodes = Vec::new();
    for node in [1_u16, 2] {
        let ids = Arc::new(SnowflakeGenerator::new(clock.clone(), node, None));
        nodes.push(Webhooks::open(store.clone(), ids, clock.clone(), metrics.clone()).await.unwrap());
    }
    says(&nodes[0], 1, Some("a"));
    says(&nodes[1], 2, Some("a"));
    says(&nodes[0], 3, Some("b"));
    says(&nodes[0], 4, None);
    says(&nodes[1], 5, None);
    nodes[1].emit("nuke", None, json!({})).await.unwrap();

    nodes[0].emit("nuke", None, json!({})).await.unwrap();
    let query = || DocumentQuery { kind: CALL, limit: 100, ..DocumentQuery::default() };
    let calls = testkit::eventually("the calls", async || {
        Some(store.documents(query()).await.unwrap()).filter(|calls| calls.len() >= 6)
    });
    let calls = calls.await;
    let ids: BTreeSet<_> =
        calls.iter().map(|call| serde_json::from_str::<Call>(&call.body).unwrap().message_id).collect();
    assert_eq!((calls.len(), ids.len()), (6, 6), "the comments a and b, two without an id, and what was emitted");
}

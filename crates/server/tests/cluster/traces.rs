//! One comment, one trace: on whatever node its parts are.

use std::collections::BTreeSet;

use testkit::{Cluster, service};

use crate::BINARY;
use crate::collector::Collector;

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_one_trace_on_all_nodes_that_deliver_it() {
    let (Some(redis), Some(mysql)) = (service("BARRAGE_TEST_REDIS"), service("BARRAGE_TEST_MYSQL")) else { return };
    let (collector, url) = Collector::start().await;
    let config = format!("[telemetry]\notlp_url = \"{url}\"\nsample_one_in = 1\n");
    let cluster = Cluster::start(BINARY, 2, &redis, &mysql, &config).await;
    let mut ann = cluster[0].viewer("ann", "hall").await;
    let mut bo = cluster[1].viewer("bo", "hall").await;
    let id = ann.say("hello").await;
    bo.sees("hello").await;

    let delivered = collector.has("deliver", 2).await;
    let (publisher, published) = collector.has("publish", 1).await.remove(0);
    let nodes: BTreeSet<_> = delivered.iter().map(|(node, _)| node.clone()).collect();
    assert_eq!(nodes.len(), 2, "both nodes deliver it: {nodes:?}");
    assert!(nodes.contains(&publisher), "{publisher} of {nodes:?}");
    for (node, span) in &delivered {
        assert_eq!(span.trace_id, published.trace_id, "{node}");
        assert_eq!(span.parent_span_id, published.span_id, "{node}");
        assert_eq!(crate::collector::text(&span.attributes, "barrage.comment_id"), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_role_to_role_through_kafka() {
    let (collector, url) = Collector::start().await;
    let env = [("BARRAGE__TELEMETRY__OTLP_URL", &*url), ("BARRAGE__TELEMETRY__SAMPLE_ONE_IN", "1")];
    let roles = ["gateway,api", "ingest", "worker,persist"];
    let Some(cluster) = Cluster::kafka_with(BINARY, &roles, &env).await else { return };
    let mut ann = cluster[0].viewer("ann", "hall").await;
    // The first ones are refused until the roles have found each other.
    let mut attempt = 0;
    testkit::eventually("a comment to be taken", async || {
        attempt += 1;
        let ack = ann.comment(&format!("hello {attempt}")).await;
        (ack["type"] == "comment_ack").then_some(())
    })
    .await;
    ann.sees(&format!("hello {attempt}")).await;

    let mut senders = BTreeSet::new();
    let mut traces = BTreeSet::new();
    for name in ["publish", "fan_out", "deliver"] {
        let (node, span) = collector.has(name, 1).await.remove(0);
        senders.insert(node);
        traces.insert(span.trace_id);
    }
    assert_eq!((senders.len(), traces.len()), (3, 1), "three nodes, one trace: {senders:?} {traces:?}");
}

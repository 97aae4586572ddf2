//! What a door's clients send each other reaches the other nodes that hold the channel, and no others.

use std::sync::Arc;

use fanout::redis::RedisChannelFanout;
use fanout::{ChannelFanout as _, ChannelMessage};
use model::Metrics;
use prometheus_client::registry::Registry;
use redis_client::{Redis, RedisAddress};
use tokio::time::timeout;

use super::{ANSWERS, namespace};

async fn node(address: &str, namespace: &str, name: &str) -> RedisChannelFanout {
    let address = address.parse::<RedisAddress>().expect("an address").patient(ANSWERS);
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    let redis = Redis::open(&address, namespace, metrics.clone()).expect("an address");
    redis.ready(testkit::PATIENCE).await.expect("it runs");
    RedisChannelFanout::start(&address, redis, name, "door", metrics).expect("it starts")
}

/// The next message on a channel.
async fn next(node: &RedisChannelFanout) -> (String, String) {
    let ChannelMessage { channel, message } = timeout(testkit::PATIENCE, node.next()).await.expect("a message");
    (channel, String::from_utf8(message).expect("as it was sent"))
}

async fn channels_reach_who_holds_them(service: &str) {
    let Some(address) = testkit::service(service) else { return };
    let namespace = namespace();
    let (ann, bo) = (node(&address, &namespace, "ann").await, node(&address, &namespace, "bo").await);
    for channel in ["hall", "attic"] {
        bo.hold(channel);
        bo.heard(channel).await;
    }
    ann.hold("hall");
    ann.heard("hall").await;
    for n in 0..200 {
        ann.publish("hall", format!("{n}").as_bytes());
    }
    ann.publish("cellar", b"nobody holds it");
    ann.publish("attic", b"the last");
    let (mut in_hall, mut in_attic) = (Vec::new(), Vec::new());
    while in_hall.len() + in_attic.len() < 201 {
        let (channel, message) = next(&bo).await;
        if channel == "hall" { in_hall.push(message) } else { in_attic.push((channel, message)) }
    }
    assert_eq!(in_hall, (0..200).map(|n| n.to_string()).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(in_attic, [("attic".to_owned(), "the last".to_owned())]);

    // Who has let go of a channel hears nothing more of it; and nobody ever heard itself.
    bo.release("hall");
    bo.hold("end");
    bo.heard("end").await;
    let mut round = 0;
    testkit::eventually("the channel to be left", async || {
        round += 1;
        ann.publish("hall", b"after the release");
        ann.publish("end", format!("{round}").as_bytes());
        let mut heard = false;
        loop {
            let (channel, message) = next(&bo).await;
            heard |= channel == "hall";
            if channel == "end" && message == round.to_string() {
                return (!heard).then_some(());
            }
        }
    })
    .await;
    bo.publish("hall", b"to ann");
    assert_eq!(next(&ann).await, ("hall".to_owned(), "to ann".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_one_server() {
    channels_reach_who_holds_them("BARRAGE_TEST_REDIS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_cluster() {
    channels_reach_who_holds_them("BARRAGE_TEST_REDIS_CLUSTER").await;
}

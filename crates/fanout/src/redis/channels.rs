//! [`ChannelFanout`] over Redis pub/sub: one channel of Redis for each of a door's channels that somebody reads.
//!
//! What is published while Redis is away, or faster than it accepts, is lost and counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use model::Metrics;
use model::metrics::count;
use redis_client::{InvalidRedisAddress, Redis, RedisAddress, Subscriber};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::channel::{ChannelFanout, ChannelMessage};

/// Messages that may wait in each direction.
const WAITING_MAX: usize = 4_096;
/// Messages published together.
const TOGETHER: usize = 64;
/// How long a reader waits for the subscription.
const PATIENCE: Duration = Duration::from_secs(1);
/// Stands between the publishing node and its message. No node's name contains it.
const END_OF_SOURCE: u8 = 0;

/// One door's channels between nodes.
pub struct RedisChannelFanout {
    redis: Redis,
    /// The door: before each name.
    door: &'static str,
    subscriber: Subscriber,
    outgoing: mpsc::Sender<ChannelMessage>,
    incoming: Mutex<mpsc::Receiver<ChannelMessage>>,
    metrics: Arc<Metrics>,
    _task: AbortOnDropHandle<()>,
}

impl RedisChannelFanout {
    /// Publishes as `source`, a name that no other living node has. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &RedisAddress,
        redis: Redis,
        source: &str,
        door: &'static str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidRedisAddress> {
        let (heard, incoming) = mpsc::channel(WAITING_MAX);
        let (own, counted) = (source.to_owned(), metrics.clone());
        let on_message = move |channel: &str, bytes: Vec<u8>| {
            let Some(message) = received(channel, &bytes, &own) else { return };
            if heard.try_send(message).is_err() {
                count(&counted.fanout_lost, "reason", "behind");
            }
        };
        // What was lost meanwhile nobody keeps.
        let subscriber = Subscriber::start(address, Arc::new(on_message), Arc::new(|_: &str, _: Duration| {}))?;
        let (outgoing, waiting) = mpsc::channel(WAITING_MAX);
        let publisher = Publisher { redis: redis.clone(), door, source: source.to_owned(), metrics: metrics.clone() };
        let task = AbortOnDropHandle::new(tokio::spawn(publisher.run(waiting)));
        Ok(Self { redis, door, subscriber, outgoing, incoming: Mutex::new(incoming), metrics, _task: task })
    }

    fn key(&self, channel: &str) -> String {
        self.redis.key(&name(self.door, channel))
    }
}

/// A channel's name in Redis; on a Cluster, sharded by the channel.
fn name(door: &str, channel: &str) -> String {
    format!("{door}:{{{channel}}}")
}

/// A message as its channel and bytes say it, unless this node published it.
fn received(channel: &str, bytes: &[u8], own: &str) -> Option<ChannelMessage> {
    let (_, channel) = channel.strip_suffix('}')?.rsplit_once('{')?;
    let end = bytes.iter().position(|byte| *byte == END_OF_SOURCE)?;
    let (source, message) = bytes.split_at_checked(end)?;
    let message = message.get(1..)?.to_vec();
    (source != own.as_bytes()).then(|| ChannelMessage { channel: channel.to_owned(), message })
}

#[async_trait]
impl ChannelFanout for RedisChannelFanout {
    fn publish(&self, channel: &str, message: &[u8]) {
        let message = ChannelMessage { channel: channel.to_owned(), message: message.to_vec() };
        if self.outgoing.try_send(message).is_err() {
            count(&self.metrics.fanout_lost, "reason", "full");
        }
    }

    fn hold(&self, channel: &str) {
        self.subscriber.subscribe(&self.key(channel));
    }

    fn release(&self, channel: &str) {
        self.subscriber.unsubscribe(&self.key(channel));
    }

    async fn heard(&self, channel: &str) {
        if self.redis.is_connected() {
            self.subscriber.subscribed(&self.key(channel), PATIENCE).await;
        }
    }

    async fn next(&self) -> ChannelMessage {
        match self.incoming.lock().await.recv().await {
            Some(message) => message,
            // The subscriber, which holds the other end, lives as long as this.
            None => std::future::pending().await,
        }
    }
}

struct Publisher {
    redis: Redis,
    door: &'static str,
    source: String,
    metrics: Arc<Metrics>,
}

impl Publisher {
    async fn run(self, mut waiting: mpsc::Receiver<ChannelMessage>) {
        let mut messages = Vec::with_capacity(TOGETHER);
        while waiting.recv_many(&mut messages, TOGETHER).await > 0 {
            let mut channels: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
            for ChannelMessage { channel, message } in messages.drain(..) {
                channels.entry(channel).or_default().push(message);
            }
            // Channels do not wait for each other; a channel's messages do, because a Cluster's client keeps no order.
            let publish = async |(channel, messages): (String, Vec<Vec<u8>>)| {
                for message in messages {
                    self.publish(&channel, &message).await;
                }
            };
            join_all(channels.into_iter().map(publish)).await;
        }
    }

    async fn publish(&self, channel: &str, message: &[u8]) {
        let mut command = redis::cmd(if self.redis.is_cluster() { "SPUBLISH" } else { "PUBLISH" });
        let bytes = [self.source.as_bytes(), &[END_OF_SOURCE], message].concat();
        command.arg(self.redis.key(&name(self.door, channel))).arg(bytes);
        // The client has counted and logged why.
        if self.redis.command::<i64>("publish", &command).await.is_err() {
            count(&self.metrics.fanout_lost, "reason", "away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_hears_others_and_not_itself() {
        let bytes = b"node-1\0{\"a\":\"\0\"}";
        let heard = received("ns:pusher:{private-room-a}", bytes, "node-2").expect("a message");
        assert_eq!((heard.channel.as_str(), heard.message.as_slice()), ("private-room-a", &b"{\"a\":\"\0\"}"[..]));
        assert_eq!(received("ns:pusher:{private-room-a}", bytes, "node-1"), None);
        for (channel, bytes) in [("pusher", &b"a\0b"[..]), ("pusher:{x}", b"no end"), ("{", b"a\0b"), ("}", b"")] {
            assert_eq!(received(channel, bytes, "node-2"), None, "{channel}");
        }
        assert_eq!(received(&name("pusher", "x"), b"a\0", "b").map(|heard| heard.message), Some(Vec::new()));
    }
}

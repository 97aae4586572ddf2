//! Subscriptions that come back by themselves.
//!
//! A task owns a connection of its own (RESP3, so that messages and answers share it) and the set of channels that are
//! wanted. On a Cluster channels are sharded (`SSUBSCRIBE`). The client library does not always subscribe again when a
//! shard has a new master, so after every loss, and now and then without one, this task subscribes to everything
//! that is wanted again; doing so twice changes nothing. What was published meanwhile is lost: messages are at most
//! once, and whoever must not miss one numbers them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{FromRedisValue, PushInfo, PushKind, RedisResult};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::address::{Push, Source};
use crate::{ANSWER_TIMEOUT, Address, BadAddress, Connection};

/// Everything is subscribed to again this often without a reason: a loss that nobody noticed lasts no longer.
const AGAIN: Duration = Duration::from_secs(15);
/// Channels of one command; on a Cluster each goes to its own shard, so there it is one.
const CHANNELS_MAX: usize = 256;
/// One attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between attempts, doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A message of a channel, with the channel's name.
pub type Hear = Arc<dyn Fn(&str, Vec<u8>) + Send + Sync>;

/// The handle; dropping it ends all subscriptions.
pub struct Subscriber {
    wishes: Arc<Wishes>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Wishes {
    channels: Mutex<HashSet<String>>,
    changed: Notify,
    lost: Notify,
}

impl Subscriber {
    /// Starts connecting in the background; must be called within a Tokio runtime. `hear` is called on the connection's
    /// task, so it must be quick and must not block.
    ///
    /// # Errors
    /// [`BadAddress`] when the client library finds the address impossible.
    pub fn start(address: &Address, hear: Hear) -> Result<Self, BadAddress> {
        let wishes = Arc::new(Wishes::default());
        let lost = wishes.clone();
        let push: Push = Arc::new(move |push| told(push, &lost, &hear));
        let source = address.pushing(&push)?;
        let task = tokio::spawn(run(wishes.clone(), source, push));
        Ok(Self { wishes, _task: AbortOnDropHandle::new(task) })
    }

    /// From now on the channel is wanted; it is heard as soon as Redis is there.
    pub fn want(&self, channel: &str) {
        if self.wishes.channels.lock().insert(channel.to_owned()) {
            self.wishes.changed.notify_one();
        }
    }

    /// The channel is no longer wanted.
    pub fn leave(&self, channel: &str) {
        if self.wishes.channels.lock().remove(channel) {
            self.wishes.changed.notify_one();
        }
    }
}

fn told(push: PushInfo, wishes: &Wishes, hear: &Hear) {
    match push.kind {
        PushKind::Message | PushKind::SMessage => {
            let mut data = push.data.into_iter();
            let channel = data.next().and_then(|value| String::from_redis_value(value).ok());
            let message = data.next().and_then(|value| Vec::<u8>::from_redis_value(value).ok());
            if let (Some(channel), Some(message)) = (channel, message) {
                hear(&channel, message);
            }
        }
        // Redis sends the last one unasked when a channel's slot has moved to another node.
        PushKind::Disconnection | PushKind::SUnsubscribe => wishes.lost.notify_one(),
        _ => {}
    }
}

/// Never returns; it is aborted with the handle.
async fn run(wishes: Arc<Wishes>, mut source: Source, push: Push) {
    let mut retry = RETRY.0;
    loop {
        let connected = timeout(CONNECT_TIMEOUT, source.connect(CONNECT_TIMEOUT, Some(&push))).await;
        match connected {
            Ok(Ok(mut connection)) => {
                retry = RETRY.0;
                if let Err(error) = serve(&wishes, &mut connection).await {
                    tracing::warn!(%error, "subscriptions in redis are lost");
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "subscriptions wait for redis"),
            Err(_) => tracing::debug!("subscriptions wait for redis"),
        }
        sleep(retry).await;
        retry = (retry * 2).min(RETRY.1);
    }
}

/// Brings what is subscribed in line with what is wanted, until the connection of a single server is lost. A
/// Cluster's stays, and repairs itself; only what hung on the lost node is subscribed to again.
async fn serve(wishes: &Wishes, connection: &mut Connection) -> RedisResult<()> {
    let mut subscribed = HashSet::new();
    let mut again = Instant::now() + AGAIN;
    let mut retry = RETRY.0;
    loop {
        let wanted = wishes.channels.lock().clone();
        let done = align(connection, &wanted, &mut subscribed).await;
        match (&done, &connection) {
            (Ok(()), _) => retry = RETRY.0,
            (Err(_), Connection::Cluster(_)) => {
                sleep(retry).await;
                retry = (retry * 2).min(RETRY.1);
                subscribed.clear();
                continue;
            }
            (Err(_), Connection::Node(_)) => return done,
        }
        tokio::select! {
            () = wishes.changed.notified() => {}
            () = wishes.lost.notified() => match connection {
                Connection::Node(_) => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
                Connection::Cluster(_) => subscribed.clear(),
            },
            () = tokio::time::sleep_until(again) => {
                again = Instant::now() + AGAIN;
                subscribed.clear();
            }
        }
    }
}

async fn align(
    connection: &mut Connection,
    wanted: &HashSet<String>,
    subscribed: &mut HashSet<String>,
) -> RedisResult<()> {
    let gone: Vec<_> = subscribed.difference(wanted).cloned().collect();
    for some in chunks(connection, &gone) {
        ask(connection, some, false).await?;
        subscribed.retain(|channel| !some.contains(channel));
    }
    let new: Vec<_> = wanted.difference(subscribed).cloned().collect();
    for some in chunks(connection, &new) {
        ask(connection, some, true).await?;
        subscribed.extend(some.iter().cloned());
    }
    Ok(())
}

fn chunks<'a>(connection: &Connection, channels: &'a [String]) -> std::slice::Chunks<'a, String> {
    channels.chunks(if matches!(connection, Connection::Cluster(_)) { 1 } else { CHANNELS_MAX })
}

async fn ask(connection: &mut Connection, channels: &[String], subscribe: bool) -> RedisResult<()> {
    let work = async {
        match (connection, subscribe) {
            (Connection::Node(node), true) => node.subscribe(channels).await,
            (Connection::Node(node), false) => node.unsubscribe(channels).await,
            (Connection::Cluster(cluster), true) => cluster.ssubscribe(channels).await,
            (Connection::Cluster(cluster), false) => cluster.sunsubscribe(channels).await,
        }
    };
    // A Cluster may have to be asked twice before it says where a channel lives now.
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut).into();
    timeout(ANSWER_TIMEOUT * 3, work).await.unwrap_or_else(|_| Err(late()))
}

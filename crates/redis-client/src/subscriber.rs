//! Subscriptions that restore themselves.
//!
//! A task owns a connection of its own (RESP3, so that messages and answers share it). [`Channels`] tracks which channels are
//! wanted and which of them are subscribed. On a Cluster channels are sharded (`SSUBSCRIBE`). The client library does not
//! always subscribe again when a shard has a new master. So after every loss, and now and then without one, the task
//! subscribes again to everything wanted; repeating it changes nothing. Messages are at most once: what was published
//! meanwhile is lost, and the caller learns which channels were interrupted, and for how long. The fan-out uses it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use futures::StreamExt;
use parking_lot::Mutex;
use redis::{FromRedisValue, PushInfo, PushKind, RedisResult};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::address::{Connector, Push};
use crate::supervise::RECONNECT;
use crate::{ANSWER_TIMEOUT, Connection, InvalidRedisAddress, RedisAddress, on};

/// Everything is subscribed again this often without a reason: an unnoticed loss lasts no longer. The interval grows by its
/// length for each [`RESUBSCRIBE_CHANNELS`] channels.
const RESUBSCRIBE_INTERVAL: Duration = Duration::from_secs(15);
const RESUBSCRIBE_CHANNELS: usize = 8_192;
/// Between two proofs that a single server's connection is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Channels of one command; on a Cluster each goes to its own shard, so there it is one.
const CHANNELS_MAX: usize = 256;
/// Commands in flight to a Cluster.
const IN_FLIGHT_MAX: usize = 64;
/// One attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Receives the name of a channel and a message of it.
pub type OnMessage = Arc<dyn Fn(&str, Vec<u8>) + Send + Sync>;

/// Receives the name of a channel whose subscription was interrupted and is restored, and how long it may have been
/// interrupted.
pub type OnRestored = Arc<dyn Fn(&str, Duration) + Send + Sync>;

/// The handle; dropping it ends all subscriptions.
pub struct Subscriber {
    table: Arc<SubscriptionTable>,
    _task: AbortOnDropHandle<()>,
}

struct SubscriptionTable {
    channels: Mutex<Channels>,
    on_restored: OnRestored,
    changed: Notify,
    lost: Notify,
}

impl Subscriber {
    /// Starts connecting in the background; must be called within a Tokio runtime. Both are called on the connection's
    /// task, so they must be quick and must not block.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when the client library finds the address impossible.
    pub fn start(
        address: &RedisAddress,
        on_message: OnMessage,
        on_restored: OnRestored,
    ) -> Result<Self, InvalidRedisAddress> {
        let (channels, changed, lost) = (Mutex::default(), Notify::new(), Notify::new());
        let table = Arc::new(SubscriptionTable { channels, on_restored, changed, lost });
        let pushed_to = table.clone();
        let push: Push = Arc::new(move |push| on_push(push, &pushed_to, &on_message));
        let connector = address.pushing_connector(&push)?;
        let task = tokio::spawn(keep_subscribed(table.clone(), connector, push));
        Ok(Self { table, _task: AbortOnDropHandle::new(task) })
    }

    /// Subscribes to the channel as soon as Redis is available.
    pub fn subscribe(&self, channel: &str) {
        if self.table.channels.lock().want(channel) {
            self.table.changed.notify_one();
        }
    }

    /// Unsubscribes from the channel.
    pub fn unsubscribe(&self, channel: &str) {
        if self.table.channels.lock().unwant(channel) {
            self.table.changed.notify_one();
        }
    }

    /// Waits until the channel is subscribed: what is published from here on arrives. False when it is not subscribed in
    /// time, or is not wanted.
    pub async fn subscribed(&self, channel: &str, within: Duration) -> bool {
        let waiting = match self.table.channels.lock().wait(channel) {
            Wait::Live => return true,
            Wait::Unwanted => return false,
            Wait::For(waiting) => waiting,
        };
        matches!(timeout(within, waiting).await, Ok(Ok(())))
    }
}

/// Which channels are wanted, and which of them are subscribed. Does no I/O.
#[derive(Default)]
struct Channels {
    wanted: HashMap<String, Channel>,
    /// Channels that are wanted and not subscribed, or the other way round, or have to be subscribed again.
    unsettled: HashSet<String>,
}

struct Channel {
    state: State,
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Live,
    /// It was live; since this moment messages may have been lost.
    Lost(Instant),
}

enum Wait {
    Live,
    Unwanted,
    For(oneshot::Receiver<()>),
}

impl Channels {
    /// Returns whether that is a change.
    fn want(&mut self, channel: &str) -> bool {
        if self.wanted.contains_key(channel) {
            return false;
        }
        self.wanted.insert(channel.to_owned(), Channel { state: State::New, waiting: Vec::new() });
        self.unsettled.insert(channel.to_owned());
        true
    }

    /// Returns whether that is a change.
    fn unwant(&mut self, channel: &str) -> bool {
        let known = self.wanted.remove(channel).is_some();
        if known {
            self.unsettled.insert(channel.to_owned());
        }
        known
    }

    fn wait(&mut self, channel: &str) -> Wait {
        let Some(known) = self.wanted.get_mut(channel) else { return Wait::Unwanted };
        if known.state == State::Live {
            return Wait::Live;
        }
        let (live, waiting) = oneshot::channel();
        known.waiting.retain(|waiting| !waiting.is_closed());
        known.waiting.push(live);
        Wait::For(waiting)
    }

    /// Takes the channels to subscribe to and those to unsubscribe from. They count as settled until they are put back.
    fn take_unsettled(&mut self) -> (Vec<String>, Vec<String>) {
        std::mem::take(&mut self.unsettled).into_iter().partition(|channel| self.wanted.contains_key(channel))
    }

    /// The attempt failed; since `proven` messages may have been lost.
    fn put_back(&mut self, channels: impl IntoIterator<Item = String>, proven: Instant) {
        for channel in channels {
            self.lose(&channel, proven);
            self.unsettled.insert(channel);
        }
    }

    /// Marks the channel as subscribed. Returns since when messages may have been lost, if they may.
    fn set_live(&mut self, channel: &str) -> Option<Instant> {
        let known = self.wanted.get_mut(channel)?;
        for waiting in known.waiting.drain(..) {
            // The waiter may have given up.
            let _ = waiting.send(());
        }
        match std::mem::replace(&mut known.state, State::Live) {
            State::Lost(since) => Some(since),
            State::New | State::Live => None,
        }
    }

    fn lose(&mut self, channel: &str, proven: Instant) -> bool {
        match self.wanted.get_mut(channel) {
            Some(known) if known.state == State::Live => {
                known.state = State::Lost(proven);
                true
            }
            _ => false,
        }
    }

    /// Redis says that a channel is not subscribed. Returns whether that is a change: not for one that is not wanted.
    fn unsubscribed(&mut self, channel: &str) -> bool {
        let lost = self.lose(channel, Instant::now());
        if lost {
            self.unsettled.insert(channel.to_owned());
        }
        lost
    }

    /// Marks every channel as lost, perhaps since `proven`.
    fn lose_all(&mut self, proven: Instant) {
        for known in self.wanted.values_mut().filter(|known| known.state == State::Live) {
            known.state = State::Lost(proven);
        }
        self.unsettle_all();
    }

    fn unsettle_all(&mut self) {
        self.unsettled = self.wanted.keys().cloned().collect();
    }
}

fn on_push(push: PushInfo, table: &SubscriptionTable, on_message: &OnMessage) {
    let mut data = push.data.into_iter();
    let channel = data.next().and_then(|value| String::from_redis_value(value).ok());
    match (push.kind, channel) {
        (PushKind::Message | PushKind::SMessage, Some(channel)) => {
            if let Some(message) = data.next().and_then(|value| Vec::<u8>::from_redis_value(value).ok()) {
                on_message(&channel, message);
            }
        }
        // Redis sends it unsolicited when a channel's slot has moved to another node.
        (PushKind::SUnsubscribe, Some(channel)) if table.channels.lock().unsubscribed(&channel) => {
            table.changed.notify_one();
        }
        (PushKind::Disconnection, _) => table.lost.notify_one(),
        _ => {}
    }
}

/// Connects and serves, again and again. Never returns; the handle aborts it.
async fn keep_subscribed(table: Arc<SubscriptionTable>, mut connector: Connector, push: Push) {
    let mut pauses = RECONNECT.build();
    loop {
        let connected = timeout(CONNECT_TIMEOUT, connector.connect(CONNECT_TIMEOUT, ANSWER_TIMEOUT, Some(&push))).await;
        match connected {
            Ok(Ok(mut connection)) => {
                pauses = RECONNECT.build();
                if let Err(error) = serve(&table, &mut connection).await {
                    tracing::warn!(%error, "subscriptions in redis are lost");
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "subscriptions wait for redis"),
            Err(_) => tracing::debug!("subscriptions wait for redis"),
        }
        sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// Subscribes to what is wanted, until the connection of a single server is lost. A Cluster's connection stays and repairs
/// itself; only the lost node's channels were interrupted, but nobody knows which these are.
async fn serve(table: &SubscriptionTable, connection: &mut Connection) -> RedisResult<()> {
    table.channels.lock().unsettle_all();
    // Until `proven` every subscription was live; `round` is the moment that the next success proves.
    let (mut proven, mut round) = (Instant::now(), Instant::now());
    let (mut next_round, mut pauses) = (round_end(table), RECONNECT.build());
    loop {
        match (settle(table, connection, proven).await, &connection) {
            (Ok(()), _) => (proven, pauses) = (round.max(proven), RECONNECT.build()),
            (Err(_), Connection::Cluster(_)) => {
                sleep(pauses.next().unwrap_or_default()).await;
                continue;
            }
            (Err(error), Connection::Node(_)) => return lose_all(table, proven, error),
        }
        tokio::select! {
            () = table.changed.notified() => {}
            () = table.lost.notified() => match connection {
                Connection::Node(_) => return lose_all(table, proven, broken(std::io::ErrorKind::ConnectionReset)),
                Connection::Cluster(_) => table.channels.lock().lose_all(proven),
            },
            () = tokio::time::sleep_until(next_round) => {
                next_round = round_end(table);
                table.channels.lock().unsettle_all();
                round = Instant::now();
            }
            () = sleep(HEARTBEAT_INTERVAL), if matches!(connection, Connection::Node(_)) => {
                let asked = Instant::now();
                if let Err(error) = ping(connection).await {
                    return lose_all(table, proven, error);
                }
                proven = asked;
            }
        }
    }
}

fn round_end(table: &SubscriptionTable) -> Instant {
    Instant::now() + RESUBSCRIBE_INTERVAL * (1 + table.channels.lock().wanted.len() / RESUBSCRIBE_CHANNELS) as u32
}

fn lose_all(table: &SubscriptionTable, proven: Instant, error: redis::RedisError) -> RedisResult<()> {
    table.channels.lock().lose_all(proven);
    Err(error)
}

fn broken(kind: std::io::ErrorKind) -> redis::RedisError {
    std::io::Error::from(kind).into()
}

async fn ping(connection: &Connection) -> RedisResult<()> {
    let command = redis::cmd("PING");
    let answer = timeout(ANSWER_TIMEOUT * 3, async { on!(connection.clone(), it => command.query_async(it).await) });
    answer.await.unwrap_or_else(|_| Err(broken(std::io::ErrorKind::TimedOut)))
}

/// Subscribes to what is new and unsubscribes from what is not wanted. Puts back what fails, and returns the last error.
async fn settle(table: &SubscriptionTable, connection: &Connection, proven: Instant) -> RedisResult<()> {
    let (new, gone) = table.channels.lock().take_unsettled();
    let chunk = if matches!(connection, Connection::Cluster(_)) { 1 } else { CHANNELS_MAX };
    let commands: Vec<_> = gone.chunks(chunk).map(|some| (some.to_vec(), false)).collect();
    let commands = commands.into_iter().chain(new.chunks(chunk).map(|some| (some.to_vec(), true)));
    let requests: Vec<_> = commands.map(|(some, subscribe)| request(connection.clone(), some, subscribe)).collect();
    let mut answers = futures::stream::iter(requests).buffer_unordered(IN_FLIGHT_MAX);
    let mut done = Ok(());
    while let Some((channels, subscribe, answer)) = answers.next().await {
        match answer {
            Ok(()) if subscribe => channels.iter().for_each(|channel| set_live(table, channel)),
            Ok(()) => {}
            Err(error) => {
                table.channels.lock().put_back(channels, proven);
                done = Err(error);
            }
        }
    }
    done
}

fn set_live(table: &SubscriptionTable, channel: &str) {
    let lost_since = table.channels.lock().set_live(channel);
    if let Some(since) = lost_since {
        (table.on_restored)(channel, since.elapsed());
    }
}

async fn request(
    connection: Connection,
    channels: Vec<String>,
    subscribe: bool,
) -> (Vec<String>, bool, RedisResult<()>) {
    let work = async {
        match (connection, subscribe) {
            (Connection::Node(mut node), true) => node.subscribe(&channels).await,
            (Connection::Node(mut node), false) => node.unsubscribe(&channels).await,
            (Connection::Cluster(mut cluster), true) => cluster.ssubscribe(&channels).await,
            (Connection::Cluster(mut cluster), false) => cluster.sunsubscribe(&channels).await,
        }
    };
    // A Cluster may have to be asked twice before it says where a channel lives now.
    let answer = timeout(ANSWER_TIMEOUT * 3, work).await;
    (channels, subscribe, answer.unwrap_or_else(|_| Err(broken(std::io::ErrorKind::TimedOut))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_subscribed_once_and_a_loss_says_since_when() {
        let mut channels = Channels::default();
        let now = Instant::now();
        assert!(channels.want("a") && channels.want("b") && !channels.want("a"));
        assert!(channels.unwant("b") && !channels.unwant("b"));
        assert_eq!(channels.take_unsettled(), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(channels.take_unsettled(), (vec![], vec![]), "settled");
        assert_eq!((channels.set_live("a"), channels.set_live("b")), (None, None), "new, and not wanted");

        channels.unsettle_all();
        assert_eq!(channels.take_unsettled().0, ["a"]);
        assert_eq!(channels.set_live("a"), None, "subscribing twice is no loss");
        channels.lose_all(now);
        channels.lose_all(now + HEARTBEAT_INTERVAL);
        assert_eq!(channels.take_unsettled().0, ["a"]);
        assert_eq!(channels.set_live("a"), Some(now), "lost since the first loss");

        assert!(
            channels.unsubscribed("a") && !channels.unsubscribed("b"),
            "it is no change for a channel that is not wanted"
        );
        channels.unwant("a");
        assert_eq!(channels.take_unsettled(), (vec![], vec!["a".to_owned()]));
        assert_eq!(channels.set_live("a"), None, "left while it was being subscribed to");
    }

    #[tokio::test]
    async fn a_waiter_learns_when_the_channel_is_live() {
        let mut channels = Channels::default();
        assert!(matches!(channels.wait("a"), Wait::Unwanted));
        channels.want("a");
        let Wait::For(waiting) = channels.wait("a") else { panic!("it is new") };
        channels.set_live("a");
        waiting.await.expect("live");
        assert!(matches!(channels.wait("a"), Wait::Live));
    }
}

//! Subscriptions that come back by themselves.
//!
//! A task owns a connection of its own (RESP3, so that messages and answers share it); [`Channels`] says what is wanted
//! and what of it is subscribed. On a Cluster channels are sharded (`SSUBSCRIBE`). The client library does not always
//! subscribe again when a shard has a new master, so after every loss, and now and then without one, this task subscribes
//! to everything that is wanted again; doing so twice changes nothing. What was published meanwhile is lost: messages are
//! at most once, and whoever must not miss one is told which channels were deaf, and since when.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use redis::{FromRedisValue, PushInfo, PushKind, RedisResult};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::address::{Push, Source};
use crate::{ANSWER_TIMEOUT, Address, BadAddress, Connection, on};

/// Everything is subscribed to again this often without a reason: a loss that nobody noticed lasts no longer. For each
/// so many channels it is this much longer.
const AGAIN: (Duration, usize) = (Duration::from_secs(15), 8_192);
/// Between two proofs that a single server's connection is alive.
const BEAT: Duration = Duration::from_secs(2);
/// Channels of one command; on a Cluster each goes to its own shard, so there it is one.
const CHANNELS_MAX: usize = 256;
/// Commands that a Cluster is sent at once.
const AT_ONCE: usize = 64;
/// One attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between attempts, doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A message of a channel, with the channel's name.
pub type Hear = Arc<dyn Fn(&str, Vec<u8>) + Send + Sync>;

/// A channel that was deaf is heard again; for how long it may have been deaf.
pub type Regained = Arc<dyn Fn(&str, Duration) + Send + Sync>;

/// The handle; dropping it ends all subscriptions.
pub struct Subscriber {
    wishes: Arc<Wishes>,
    _task: AbortOnDropHandle<()>,
}

struct Wishes {
    channels: Mutex<Channels>,
    regained: Regained,
    changed: Notify,
    lost: Notify,
}

impl Subscriber {
    /// Starts connecting in the background; must be called within a Tokio runtime. Both are called on the connection's
    /// task, so they must be quick and must not block.
    ///
    /// # Errors
    /// [`BadAddress`] when the client library finds the address impossible.
    pub fn start(address: &Address, hear: Hear, regained: Regained) -> Result<Self, BadAddress> {
        let (channels, changed, lost) = (Mutex::default(), Notify::new(), Notify::new());
        let wishes = Arc::new(Wishes { channels, regained, changed, lost });
        let told_of = wishes.clone();
        let push: Push = Arc::new(move |push| told(push, &told_of, &hear));
        let source = address.pushing(&push)?;
        let task = tokio::spawn(run(wishes.clone(), source, push));
        Ok(Self { wishes, _task: AbortOnDropHandle::new(task) })
    }

    /// From now on the channel is wanted; it is heard as soon as Redis is there.
    pub fn want(&self, channel: &str) {
        if self.wishes.channels.lock().want(channel) {
            self.wishes.changed.notify_one();
        }
    }

    /// The channel is no longer wanted.
    pub fn leave(&self, channel: &str) {
        if self.wishes.channels.lock().leave(channel) {
            self.wishes.changed.notify_one();
        }
    }

    /// Waits until a wanted channel is subscribed: what is published from here on is heard. False when it is not by
    /// then, or is not wanted.
    pub async fn heard(&self, channel: &str, patience: Duration) -> bool {
        let waiting = match self.wishes.channels.lock().wait(channel) {
            Wait::Live => return true,
            Wait::Unwanted => return false,
            Wait::For(waiting) => waiting,
        };
        matches!(timeout(patience, waiting).await, Ok(Ok(())))
    }
}

/// What is wanted, and what of it is subscribed. Pure.
#[derive(Default)]
struct Channels {
    wanted: HashMap<String, Channel>,
    /// Those that are wanted and not subscribed, or the other way round, or are to be subscribed to once more.
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
    /// It was live; since this moment it may have been deaf.
    Lost(Instant),
}

enum Wait {
    Live,
    Unwanted,
    For(oneshot::Receiver<()>),
}

impl Channels {
    /// Whether that is news.
    fn want(&mut self, channel: &str) -> bool {
        if self.wanted.contains_key(channel) {
            return false;
        }
        self.wanted.insert(channel.to_owned(), Channel { state: State::New, waiting: Vec::new() });
        self.unsettled.insert(channel.to_owned());
        true
    }

    /// Whether that is news.
    fn leave(&mut self, channel: &str) -> bool {
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

    /// What is to be subscribed to, and what no longer; both count as settled until they are put back.
    fn take(&mut self) -> (Vec<String>, Vec<String>) {
        std::mem::take(&mut self.unsettled).into_iter().partition(|channel| self.wanted.contains_key(channel))
    }

    /// Tried in vain, since `proven` perhaps not heard.
    fn put_back(&mut self, channels: impl IntoIterator<Item = String>, proven: Instant) {
        for channel in channels {
            self.lose(&channel, proven);
            self.unsettled.insert(channel);
        }
    }

    /// It is subscribed; since when it may have been deaf, if it was.
    fn live(&mut self, channel: &str) -> Option<Instant> {
        let known = self.wanted.get_mut(channel)?;
        for waiting in known.waiting.drain(..) {
            // Whoever stopped waiting does not mind.
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

    /// Redis says that a channel is not subscribed. It is no news of one that is not wanted.
    fn unsubscribed(&mut self, channel: &str) -> bool {
        let lost = self.lose(channel, Instant::now());
        if lost {
            self.unsettled.insert(channel.to_owned());
        }
        lost
    }

    /// Nothing is subscribed any more, and perhaps was not since `proven`.
    fn lose_all(&mut self, proven: Instant) {
        for known in self.wanted.values_mut().filter(|known| known.state == State::Live) {
            known.state = State::Lost(proven);
        }
        self.once_more();
    }

    fn once_more(&mut self) {
        self.unsettled = self.wanted.keys().cloned().collect();
    }
}

fn told(push: PushInfo, wishes: &Wishes, hear: &Hear) {
    let mut data = push.data.into_iter();
    let channel = data.next().and_then(|value| String::from_redis_value(value).ok());
    match (push.kind, channel) {
        (PushKind::Message | PushKind::SMessage, Some(channel)) => {
            if let Some(message) = data.next().and_then(|value| Vec::<u8>::from_redis_value(value).ok()) {
                hear(&channel, message);
            }
        }
        // Redis sends it unasked when a channel's slot has moved to another node.
        (PushKind::SUnsubscribe, Some(channel)) if wishes.channels.lock().unsubscribed(&channel) => {
            wishes.changed.notify_one();
        }
        (PushKind::Disconnection, _) => wishes.lost.notify_one(),
        _ => {}
    }
}

/// Never returns; it is aborted with the handle.
async fn run(wishes: Arc<Wishes>, mut source: Source, push: Push) {
    let mut retry = RETRY.0;
    loop {
        let connected = timeout(CONNECT_TIMEOUT, source.connect(CONNECT_TIMEOUT, ANSWER_TIMEOUT, Some(&push))).await;
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
/// Cluster's stays, and repairs itself; only what hung on the lost node was deaf, but which that was is not known.
async fn serve(wishes: &Wishes, connection: &mut Connection) -> RedisResult<()> {
    wishes.channels.lock().once_more();
    // Up to when everything was heard that was subscribed, and what will prove it anew.
    let (mut proven, mut round) = (Instant::now(), Instant::now());
    let (mut again, mut retry) = (next_round(wishes), RETRY.0);
    loop {
        match (settle(wishes, connection, proven).await, &connection) {
            (Ok(()), _) => (proven, retry) = (round.max(proven), RETRY.0),
            (Err(_), Connection::Cluster(_)) => {
                sleep(retry).await;
                retry = (retry * 2).min(RETRY.1);
                continue;
            }
            (Err(error), Connection::Node(_)) => return lost(wishes, proven, error),
        }
        tokio::select! {
            () = wishes.changed.notified() => {}
            () = wishes.lost.notified() => match connection {
                Connection::Node(_) => return lost(wishes, proven, broken(std::io::ErrorKind::ConnectionReset)),
                Connection::Cluster(_) => wishes.channels.lock().lose_all(proven),
            },
            () = tokio::time::sleep_until(again) => {
                again = next_round(wishes);
                wishes.channels.lock().once_more();
                round = Instant::now();
            }
            () = sleep(BEAT), if matches!(connection, Connection::Node(_)) => {
                let asked = Instant::now();
                if let Err(error) = beat(connection).await {
                    return lost(wishes, proven, error);
                }
                proven = asked;
            }
        }
    }
}

fn next_round(wishes: &Wishes) -> Instant {
    let (length, channels) = AGAIN;
    Instant::now() + length * (1 + wishes.channels.lock().wanted.len() / channels) as u32
}

fn lost(wishes: &Wishes, proven: Instant, error: redis::RedisError) -> RedisResult<()> {
    wishes.channels.lock().lose_all(proven);
    Err(error)
}

fn broken(kind: std::io::ErrorKind) -> redis::RedisError {
    std::io::Error::from(kind).into()
}

async fn beat(connection: &Connection) -> RedisResult<()> {
    let ping = redis::cmd("PING");
    let answer = timeout(ANSWER_TIMEOUT * 3, async { on!(connection.clone(), it => ping.query_async(it).await) });
    answer.await.unwrap_or_else(|_| Err(broken(std::io::ErrorKind::TimedOut)))
}

/// Subscribes to what is new and leaves what is not wanted. What fails is put back, and the last error returned.
async fn settle(wishes: &Wishes, connection: &Connection, proven: Instant) -> RedisResult<()> {
    let (new, gone) = wishes.channels.lock().take();
    let chunk = if matches!(connection, Connection::Cluster(_)) { 1 } else { CHANNELS_MAX };
    let commands: Vec<_> = gone.chunks(chunk).map(|some| (some.to_vec(), false)).collect();
    let commands = commands.into_iter().chain(new.chunks(chunk).map(|some| (some.to_vec(), true)));
    let asked: Vec<_> = commands.map(|(some, subscribe)| ask(connection.clone(), some, subscribe)).collect();
    let mut answers = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut done = Ok(());
    while let Some((channels, subscribe, answer)) = answers.next().await {
        match answer {
            Ok(()) if subscribe => channels.iter().for_each(|channel| came(wishes, channel)),
            Ok(()) => {}
            Err(error) => {
                wishes.channels.lock().put_back(channels, proven);
                done = Err(error);
            }
        }
    }
    done
}

fn came(wishes: &Wishes, channel: &str) {
    let deaf_since = wishes.channels.lock().live(channel);
    if let Some(since) = deaf_since {
        (wishes.regained)(channel, since.elapsed());
    }
}

async fn ask(connection: Connection, channels: Vec<String>, subscribe: bool) -> (Vec<String>, bool, RedisResult<()>) {
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
    fn what_is_wanted_is_subscribed_once_and_a_loss_names_who_was_deaf() {
        let mut channels = Channels::default();
        let now = Instant::now();
        assert!(channels.want("a") && channels.want("b") && !channels.want("a"));
        assert!(channels.leave("b") && !channels.leave("b"));
        assert_eq!(channels.take(), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(channels.take(), (vec![], vec![]), "settled");
        assert_eq!((channels.live("a"), channels.live("b")), (None, None), "new, and not wanted");

        channels.once_more();
        assert_eq!(channels.take().0, ["a"]);
        assert_eq!(channels.live("a"), None, "subscribing twice is no loss");
        channels.lose_all(now);
        channels.lose_all(now + BEAT);
        assert_eq!(channels.take().0, ["a"]);
        assert_eq!(channels.live("a"), Some(now), "deaf since the first loss");

        assert!(channels.unsubscribed("a") && !channels.unsubscribed("b"), "what was left is no news");
        channels.leave("a");
        assert_eq!(channels.take(), (vec![], vec!["a".to_owned()]));
        assert_eq!(channels.live("a"), None, "left while it was being subscribed to");
    }

    #[tokio::test]
    async fn whoever_waits_hears_when_it_is_live() {
        let mut channels = Channels::default();
        assert!(matches!(channels.wait("a"), Wait::Unwanted));
        channels.want("a");
        let Wait::For(waiting) = channels.wait("a") else { panic!("it is new") };
        channels.live("a");
        waiting.await.expect("live");
        assert!(matches!(channels.wait("a"), Wait::Live));
    }
}

//! Receives other nodes' notices about users that this node holds.

use std::sync::Arc;
use std::time::Duration;

use model::UserId;
use model::metrics::count;
use redis_client::{InvalidRedisAddress, RedisAddress, Subscriber};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{DISORDER_MS, Shared, WAITING_MAX};
use crate::user::{Notice, Sockets};
use crate::user_codec::{BadUserBatch, PresenceChanged, UserBatch};

/// Subscribes to the channel of every node and reads all messages.
pub(super) fn start(
    address: &RedisAddress,
    shared: &Arc<Shared>,
) -> Result<(Subscriber, JoinHandle<()>), InvalidRedisAddress> {
    let (waiting, messages) = mpsc::channel(WAITING_MAX);
    let shared_channel = shared.shared_channel();
    let full = shared.clone();
    let hear = move |channel: &str, message: Vec<u8>| {
        if waiting.try_send((channel == shared_channel, message)).is_err() {
            count(&full.metrics.fanout_lost, "reason", "behind");
            full.all_missed(full.now_ms() - DISORDER_MS);
        }
    };
    let on_gap = shared.clone();
    let regained = move |channel: &str, silent: Duration| on_gap.regained(channel, silent);
    let subscriber = Subscriber::start(address, Arc::new(hear), Arc::new(regained))?;
    subscriber.subscribe(&shared.shared_channel());
    Ok((subscriber, tokio::spawn(read(shared.clone(), messages))))
}

async fn read(shared: Arc<Shared>, mut messages: mpsc::Receiver<(bool, Vec<u8>)>) {
    while let Some((shared_channel, message)) = messages.recv().await {
        let taken = if shared_channel { shared.on_presence_changed(&message) } else { shared.on_batch(&message) };
        if let Err(error) = taken {
            count(&shared.metrics.fanout_lost, "reason", "unreadable");
            tracing::debug!(%error, "a notice of another node cannot be read");
        }
    }
}

impl Shared {
    fn on_presence_changed(&self, message: &[u8]) -> Result<(), BadUserBatch> {
        let change = PresenceChanged::decode(message)?;
        if change.source != self.source {
            if let Some(since_ms) = change.missed_since_ms {
                self.all_missed(since_ms);
            }
            match change.everybody {
                true => self.pending.all_presence_changed(),
                false => self.pending.presence_changed(change.users),
            }
        }
        Ok(())
    }

    fn on_batch(&self, message: &[u8]) -> Result<(), BadUserBatch> {
        let batch = UserBatch::decode(message)?;
        if batch.source == self.source {
            return Ok(());
        }
        if let Some(since_ms) = batch.missed_since_ms {
            self.disconnected_since(since_ms);
            self.pending.missed(batch.user_id.clone(), since_ms);
        }
        for (sockets, notice) in batch.notices {
            self.notify_once(&batch.user_id, sockets, notice);
        }
        Ok(())
    }

    /// Notifies a user's sockets on this node, unless it is a message that they already got.
    pub(super) fn notify_once(&self, user: &UserId, sockets: Sockets, notice: Notice) {
        let repeat = matches!(&notice, Notice::Message(message) if !self.delivered.lock().first(message.id, user));
        if !repeat {
            self.here.notify(Arc::new([user.clone()]), sockets, notice);
        }
    }

    /// A channel's subscription was interrupted.
    fn regained(&self, channel: &str, silent: Duration) {
        let since_ms = self.now_ms() - silent.as_millis() as i64 - DISORDER_MS;
        self.disconnected_since(since_ms);
        if channel == self.shared_channel() {
            return self.pending.all_presence_changed();
        }
        let name = channel.rsplit_once('{').and_then(|(_, rest)| rest.strip_suffix('}'));
        if let Some(user) = name.and_then(|name| UserId::new(name).ok()) {
            count(&self.metrics.fanout_lost, "reason", "hole");
            self.pending.missed(user, since_ms);
        }
    }
}

//! What other nodes say of people whom this node holds.

use std::sync::Arc;
use std::time::Duration;

use model::UserId;
use model::metrics::count;
use redis_client::{Address, BadAddress, Subscriber};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{DISORDER_MS, Shared, WAITING_MAX};
use crate::notice::{Notice, Sockets};
use crate::people::{BadPost, Stir, UserPost};

/// Subscribes to what every node hears, and reads what comes.
pub(super) fn start(address: &Address, shared: &Arc<Shared>) -> Result<(Subscriber, JoinHandle<()>), BadAddress> {
    let (waiting, messages) = mpsc::channel(WAITING_MAX);
    let everybodys = shared.everybodys();
    let full = shared.clone();
    let hear = move |channel: &str, message: Vec<u8>| {
        if waiting.try_send((channel == everybodys, message)).is_err() {
            count(&full.metrics.fanout_lost, "reason", "behind");
            full.all_missed(full.now_ms() - DISORDER_MS);
        }
    };
    let deaf = shared.clone();
    let regained = move |channel: &str, silent: Duration| deaf.regained(channel, silent);
    let subscriber = Subscriber::start(address, Arc::new(hear), Arc::new(regained))?;
    subscriber.want(&shared.everybodys());
    Ok((subscriber, tokio::spawn(read(shared.clone(), messages))))
}

async fn read(shared: Arc<Shared>, mut messages: mpsc::Receiver<(bool, Vec<u8>)>) {
    while let Some((everybodys, message)) = messages.recv().await {
        let taken = if everybodys { shared.take_stir(&message) } else { shared.take_post(&message) };
        if let Err(error) = taken {
            count(&shared.metrics.fanout_lost, "reason", "unreadable");
            tracing::debug!(%error, "a notice of another node cannot be read");
        }
    }
}

impl Shared {
    fn take_stir(&self, message: &[u8]) -> Result<(), BadPost> {
        let stir = Stir::decode(message)?;
        if stir.source != self.source {
            if let Some(since_ms) = stir.missed_since_ms {
                self.all_missed(since_ms);
            }
            match stir.everybody {
                true => self.pending.stirred_all(),
                false => self.pending.stirred(stir.users),
            }
        }
        Ok(())
    }

    fn take_post(&self, message: &[u8]) -> Result<(), BadPost> {
        let post = UserPost::decode(message)?;
        if post.source == self.source {
            return Ok(());
        }
        if let Some(since_ms) = post.missed_since_ms {
            self.deaf_since(since_ms);
            self.pending.missed(post.user_id.clone(), since_ms);
        }
        for (sockets, notice) in post.notices {
            self.tell_once(&post.user_id, sockets, notice);
        }
        Ok(())
    }

    /// Tells a user's sockets here, unless it is a message that they were told before.
    pub(super) fn tell_once(&self, user: &UserId, sockets: Sockets, notice: Notice) {
        let repeat = matches!(&notice, Notice::Message(message) if !self.told.lock().first(message.id, user));
        if !repeat {
            self.here.notify(Arc::new([user.clone()]), sockets, notice);
        }
    }

    /// A channel was not heard for a while.
    fn regained(&self, channel: &str, silent: Duration) {
        let since_ms = self.now_ms() - silent.as_millis() as i64 - DISORDER_MS;
        self.deaf_since(since_ms);
        if channel == self.everybodys() {
            return self.pending.stirred_all();
        }
        let name = channel.rsplit_once('{').and_then(|(_, rest)| rest.strip_suffix('}'));
        if let Some(user) = name.and_then(|name| UserId::new(name).ok()) {
            count(&self.metrics.fanout_lost, "reason", "hole");
            self.pending.missed(user, since_ms);
        }
    }
}

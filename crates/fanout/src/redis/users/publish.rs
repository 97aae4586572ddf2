//! Publishes this node's notices about users to other nodes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use model::UserId;
use model::metrics::count_by;
use model::snowflake::made_at_ms;
use redis::Pipeline;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Shared;
use super::pending::Owed;
use crate::user::{Notice, Sockets};
use crate::user_codec::{PresenceChanged, UserBatch};

/// Notices published together.
const TOGETHER_MAX: usize = 64;
/// Batches of one pipeline; on a Cluster, batches in flight.
const PIPELINE_MAX: usize = 256;
/// Users whose loss is announced one by one; beyond it every node is delivered.
const OWED_MAX: usize = 10_000;
/// Pause between attempts to announce losses.
const RETRY: Duration = Duration::from_secs(1);
/// A message's id is made this long before its notice at most.
const MARGIN_MS: i64 = 1_000;

/// A notice that waits to be published.
pub(super) enum Outgoing {
    Notice { users: Arc<[UserId]>, sockets: Sockets, notice: Notice },
    PresenceChanged(UserId),
}

impl Outgoing {
    /// What to announce to every node if this is lost.
    pub fn lost(&self, now_ms: i64) -> Owed {
        match self {
            Self::Notice { notice, .. } => Owed { missed_since_ms: missed_since_ms(notice, now_ms), presence: false },
            Self::PresenceChanged(_) => Owed { missed_since_ms: None, presence: true },
        }
    }
}

/// The moment since which its addressee misses something if this notice is lost; `None` when the store has no copy.
fn missed_since_ms(notice: &Notice, now_ms: i64) -> Option<i64> {
    match notice {
        Notice::Message(message) => Some(made_at_ms(message.id).min(now_ms) - MARGIN_MS),
        _ => notice.change().map(|_| now_ms - MARGIN_MS),
    }
}

/// The publishing task. A user's notices arrive in the order of the calls.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    /// Users who missed something, and since when.
    owed: HashMap<UserId, i64>,
}

impl Publisher {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, owed: HashMap::new() }
    }

    pub async fn run(mut self, mut waiting: mpsc::Receiver<Outgoing>) {
        let mut gathered = Vec::with_capacity(TOGETHER_MAX);
        loop {
            // Without anything to say, what is owed is tried again.
            if let Ok(0) = timeout(RETRY, waiting.recv_many(&mut gathered, TOGETHER_MAX)).await {
                return;
            }
            self.turn(std::mem::take(&mut gathered)).await;
        }
    }

    async fn turn(&mut self, gathered: Vec<Outgoing>) {
        let owed = self.shared.pending.owed();
        let (mut batches, mut presence_changed) = (HashMap::<UserId, Vec<(Sockets, Notice)>>::new(), HashSet::new());
        for outgoing in gathered {
            match outgoing {
                Outgoing::Notice { users, sockets, notice } => {
                    for user in users.iter() {
                        batches.entry(user.clone()).or_default().push((sockets.clone(), notice.clone()));
                    }
                }
                Outgoing::PresenceChanged(user) => drop(presence_changed.insert(user)),
            }
        }
        if self.shared.redis.is_connected() {
            // Said before what follows, so that nobody goes on unaware.
            for user in self.owed.keys() {
                batches.entry(user.clone()).or_default();
            }
        }
        self.batch(batches).await;
        if owed != Owed::default() || !presence_changed.is_empty() {
            self.notify_presence(presence_changed.into_iter().collect(), owed).await;
        }
    }

    async fn batch(&mut self, batches: HashMap<UserId, Vec<(Sockets, Notice)>>) {
        let batches: Vec<UserBatch> = batches
            .into_iter()
            .map(|(user_id, notices)| UserBatch {
                source: self.shared.source.clone(),
                missed_since_ms: self.owed.get(&user_id).copied(),
                user_id,
                notices,
            })
            .collect();
        if self.shared.redis.is_cluster() {
            let shared = self.shared.clone();
            let mut sent = futures::stream::iter(batches)
                .map(|batch| publish_one(shared.clone(), batch))
                .buffer_unordered(PIPELINE_MAX);
            while let Some((batch, published)) = sent.next().await {
                self.settle(&batch, published);
            }
        } else {
            for some in batches.chunks(PIPELINE_MAX) {
                let published = self.publish_together(some).await;
                some.iter().for_each(|batch| self.settle(batch, published));
            }
        }
    }

    async fn publish_together(&self, batches: &[UserBatch]) -> bool {
        let mut pipeline = Pipeline::with_capacity(batches.len());
        for batch in batches {
            pipeline.cmd("PUBLISH").arg(self.shared.channel(&batch.user_id)).arg(batch.encode()).ignore();
        }
        self.shared.redis.pipeline::<()>("publish", &pipeline).await.is_ok()
    }

    /// Records a loss to announce. The Redis client counts and logs the cause.
    fn settle(&mut self, batch: &UserBatch, published: bool) {
        if published {
            self.owed.remove(&batch.user_id);
            return;
        }
        if !batch.notices.is_empty() {
            count_by(&self.shared.metrics.fanout_lost, "reason", "away", batch.notices.len() as u64);
        }
        let now_ms = self.shared.now_ms();
        let missed = batch.notices.iter().filter_map(|(_, notice)| missed_since_ms(notice, now_ms)).min();
        let Some(since_ms) = missed.into_iter().chain(batch.missed_since_ms).min() else { return };
        if self.owed.len() >= OWED_MAX && !self.owed.contains_key(&batch.user_id) {
            let oldest_ms = self.owed.drain().map(|(_, since_ms)| since_ms).min().unwrap_or(since_ms);
            self.shared.pending.owe(Owed { missed_since_ms: Some(oldest_ms.min(since_ms)), presence: false });
        } else {
            self.owed.insert(batch.user_id.clone(), since_ms);
        }
    }

    async fn notify_presence(&self, users: Vec<UserId>, owed: Owed) {
        let Owed { missed_since_ms, presence: everybody } = owed;
        let change = PresenceChanged { source: self.shared.source.clone(), users, everybody, missed_since_ms };
        if !publish(&self.shared, &self.shared.shared_channel(), change.encode()).await {
            self.shared.pending.owe(Owed { missed_since_ms, presence: true });
        }
    }
}

async fn publish_one(shared: Arc<Shared>, batch: UserBatch) -> (UserBatch, bool) {
    let published = publish(&shared, &shared.channel(&batch.user_id), batch.encode()).await;
    (batch, published)
}

async fn publish(shared: &Shared, channel: &str, bytes: Vec<u8>) -> bool {
    let mut command = redis::cmd(if shared.redis.is_cluster() { "SPUBLISH" } else { "PUBLISH" });
    command.arg(channel).arg(bytes);
    shared.redis.command::<i64>("publish", &command).await.is_ok()
}

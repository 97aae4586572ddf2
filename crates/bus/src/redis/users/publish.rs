//! What this node says to others about people.

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
use crate::notice::{Notice, Sockets};
use crate::people::{Stir, UserPost};

/// Notices that are published together.
const TOGETHER_MAX: usize = 64;
/// Posts of one pipeline; a Cluster is sent so many at once.
const PIPELINE_MAX: usize = 256;
/// Users to whom it is owed that they missed something; beyond it everybody is told.
const OWED_MAX: usize = 10_000;
/// Between attempts to say what is owed.
const RETRY: Duration = Duration::from_secs(1);
/// A message is made before it is stored and told.
const MARGIN_MS: i64 = 1_000;

/// What waits to be published.
pub(super) enum Outgoing {
    Notice { users: Arc<[UserId]>, sockets: Sockets, notice: Notice },
    Stir(UserId),
}

impl Outgoing {
    /// What is owed to everybody if this is lost.
    pub fn lost(&self, now_ms: i64) -> Owed {
        match self {
            Self::Notice { notice, .. } => Owed { missed_since_ms: missed_since_ms(notice, now_ms), stir: false },
            Self::Stir(_) => Owed { missed_since_ms: None, stir: true },
        }
    }
}

/// Since when somebody has missed something without this notice; `None` when it is not kept anywhere.
fn missed_since_ms(notice: &Notice, now_ms: i64) -> Option<i64> {
    match notice {
        Notice::Message(message) => Some(made_at_ms(message.id).min(now_ms) - MARGIN_MS),
        _ => notice.change().map(|_| now_ms - MARGIN_MS),
    }
}

/// The task that publishes, turn by turn: what a user is told arrives in the order of the calls.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    /// Who missed something, and since when.
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
        let (mut posts, mut stirred) = (HashMap::<UserId, Vec<(Sockets, Notice)>>::new(), HashSet::new());
        for outgoing in gathered {
            match outgoing {
                Outgoing::Notice { users, sockets, notice } => {
                    for user in users.iter() {
                        posts.entry(user.clone()).or_default().push((sockets.clone(), notice.clone()));
                    }
                }
                Outgoing::Stir(user) => drop(stirred.insert(user)),
            }
        }
        if self.shared.redis.is_connected() {
            // Said before what follows, so that nobody goes on unaware.
            for user in self.owed.keys() {
                posts.entry(user.clone()).or_default();
            }
        }
        self.post(posts).await;
        if owed != Owed::default() || !stirred.is_empty() {
            self.stir(stirred.into_iter().collect(), owed).await;
        }
    }

    async fn post(&mut self, posts: HashMap<UserId, Vec<(Sockets, Notice)>>) {
        let posts: Vec<UserPost> = posts
            .into_iter()
            .map(|(user_id, notices)| UserPost {
                source: self.shared.source.clone(),
                missed_since_ms: self.owed.get(&user_id).copied(),
                user_id,
                notices,
            })
            .collect();
        if self.shared.redis.is_cluster() {
            let shared = self.shared.clone();
            let mut sent = futures::stream::iter(posts)
                .map(|post| publish_one(shared.clone(), post))
                .buffer_unordered(PIPELINE_MAX);
            while let Some((post, published)) = sent.next().await {
                self.settle(&post, published);
            }
        } else {
            for some in posts.chunks(PIPELINE_MAX) {
                let published = self.publish_together(some).await;
                some.iter().for_each(|post| self.settle(post, published));
            }
        }
    }

    async fn publish_together(&self, posts: &[UserPost]) -> bool {
        let mut pipeline = Pipeline::with_capacity(posts.len());
        for post in posts {
            pipeline.cmd("PUBLISH").arg(self.shared.channel(&post.user_id)).arg(post.encode()).ignore();
        }
        self.shared.redis.pipeline::<()>("publish", &pipeline).await.is_ok()
    }

    /// Notes what is owed now. The client has counted and logged why.
    fn settle(&mut self, post: &UserPost, published: bool) {
        if published {
            self.owed.remove(&post.user_id);
            return;
        }
        if !post.notices.is_empty() {
            count_by(&self.shared.metrics.fanout_lost, "reason", "away", post.notices.len() as u64);
        }
        let now_ms = self.shared.now_ms();
        let missed = post.notices.iter().filter_map(|(_, notice)| missed_since_ms(notice, now_ms)).min();
        let Some(since_ms) = missed.into_iter().chain(post.missed_since_ms).min() else { return };
        if self.owed.len() >= OWED_MAX && !self.owed.contains_key(&post.user_id) {
            let oldest_ms = self.owed.drain().map(|(_, since_ms)| since_ms).min().unwrap_or(since_ms);
            self.shared.pending.owe(Owed { missed_since_ms: Some(oldest_ms.min(since_ms)), stir: false });
        } else {
            self.owed.insert(post.user_id.clone(), since_ms);
        }
    }

    async fn stir(&self, users: Vec<UserId>, owed: Owed) {
        let Owed { missed_since_ms, stir: everybody } = owed;
        let stir = Stir { source: self.shared.source.clone(), users, everybody, missed_since_ms };
        if !publish(&self.shared, &self.shared.everybodys(), stir.encode()).await {
            self.shared.pending.owe(Owed { missed_since_ms, stir: true });
        }
    }
}

async fn publish_one(shared: Arc<Shared>, post: UserPost) -> (UserPost, bool) {
    let published = publish(&shared, &shared.channel(&post.user_id), post.encode()).await;
    (post, published)
}

async fn publish(shared: &Shared, channel: &str, bytes: Vec<u8>) -> bool {
    let mut command = redis::cmd(if shared.redis.is_cluster() { "SPUBLISH" } else { "PUBLISH" });
    command.arg(channel).arg(bytes);
    shared.redis.command::<i64>("publish", &command).await.is_ok()
}

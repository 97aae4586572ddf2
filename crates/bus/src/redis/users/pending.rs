//! What waits to be looked into: each user once, however often it is said.

use std::collections::{HashMap, HashSet};

use model::UserId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::notice::News;

/// Users of whom it waits that they came or went; beyond it everybody is looked at.
const STIRRED_MAX: usize = 10_000;

/// News that nobody has taken yet, and what the publisher owes everybody. Users who missed something are bounded by
/// those whom this node holds.
#[derive(Default)]
pub(super) struct Pending {
    news: Mutex<Gathered>,
    came: Notify,
    owed: Mutex<Owed>,
}

/// What is to be published for everybody, because what was for some was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owed {
    /// Messages since this moment were missed.
    pub missed_since_ms: Option<i64>,
    /// Somebody came or went.
    pub stir: bool,
}

#[derive(Default)]
struct Gathered {
    stirred: HashSet<UserId>,
    all_stirred: bool,
    missed: HashMap<UserId, i64>,
}

impl Pending {
    pub fn stirred(&self, users: Vec<UserId>) {
        let mut news = self.news.lock();
        if news.stirred.len() + users.len() > STIRRED_MAX {
            news.all_stirred = true;
        } else {
            news.stirred.extend(users);
        }
        drop(news);
        self.came.notify_one();
    }

    pub fn stirred_all(&self) {
        self.news.lock().all_stirred = true;
        self.came.notify_one();
    }

    pub fn missed(&self, user: UserId, since_ms: i64) {
        let mut news = self.news.lock();
        let since = news.missed.entry(user).or_insert(since_ms);
        *since = since_ms.min(*since);
        drop(news);
        self.came.notify_one();
    }

    /// What has gathered, as soon as there is something.
    pub async fn news(&self) -> News {
        loop {
            let Gathered { stirred, all_stirred, missed } = std::mem::take(&mut *self.news.lock());
            if all_stirred || !stirred.is_empty() || !missed.is_empty() {
                let stirred = if all_stirred { Vec::new() } else { stirred.into_iter().collect() };
                return News { stirred, all_stirred, missed: missed.into_iter().collect() };
            }
            self.came.notified().await;
        }
    }

    /// Something could not be published, and for whom is not known any more.
    pub fn owe(&self, more: Owed) {
        let mut owed = self.owed.lock();
        owed.stir |= more.stir;
        owed.missed_since_ms = owed.missed_since_ms.into_iter().chain(more.missed_since_ms).min();
    }

    /// What is owed to everybody, once.
    pub fn owed(&self) -> Owed {
        std::mem::take(&mut *self.owed.lock())
    }
}

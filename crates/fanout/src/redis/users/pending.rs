//! Users that wait for a check, each once however often reported.

use std::collections::{HashMap, HashSet};

use model::UserId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::user::RemoteChanges;

/// Users whose presence change may wait; beyond it every user is checked.
const PRESENCE_MAX: usize = 10_000;

/// Changes that nobody has taken yet, and what the publisher must still announce to every node. Users who missed something
/// are bounded by those that this node holds.
#[derive(Default)]
pub(super) struct Pending {
    changes: Mutex<Gathered>,
    came: Notify,
    owed: Mutex<Owed>,
}

/// Announcements to every node, because notices to some users were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owed {
    /// Messages since this moment were lost.
    pub missed_since_ms: Option<i64>,
    /// Somebody's presence changed.
    pub presence: bool,
}

#[derive(Default)]
struct Gathered {
    presence_changed: HashSet<UserId>,
    all_presence_changed: bool,
    missed: HashMap<UserId, i64>,
}

impl Pending {
    pub fn presence_changed(&self, users: Vec<UserId>) {
        let mut changes = self.changes.lock();
        if changes.presence_changed.len() + users.len() > PRESENCE_MAX {
            changes.all_presence_changed = true;
        } else {
            changes.presence_changed.extend(users);
        }
        drop(changes);
        self.came.notify_one();
    }

    pub fn all_presence_changed(&self) {
        self.changes.lock().all_presence_changed = true;
        self.came.notify_one();
    }

    pub fn missed(&self, user: UserId, since_ms: i64) {
        let mut changes = self.changes.lock();
        let since = changes.missed.entry(user).or_insert(since_ms);
        *since = since_ms.min(*since);
        drop(changes);
        self.came.notify_one();
    }

    /// Waits until something gathered, and takes it.
    pub async fn changes(&self) -> RemoteChanges {
        loop {
            let Gathered { presence_changed, all_presence_changed, missed } = std::mem::take(&mut *self.changes.lock());
            if all_presence_changed || !presence_changed.is_empty() || !missed.is_empty() {
                let presence_changed =
                    if all_presence_changed { Vec::new() } else { presence_changed.into_iter().collect() };
                return RemoteChanges { presence_changed, all_presence_changed, missed: missed.into_iter().collect() };
            }
            self.came.notified().await;
        }
    }

    /// Something could not be published, and its addressee is not known any more.
    pub fn owe(&self, more: Owed) {
        let mut owed = self.owed.lock();
        owed.presence |= more.presence;
        owed.missed_since_ms = owed.missed_since_ms.into_iter().chain(more.missed_since_ms).min();
    }

    /// Takes what must be announced to every node.
    pub fn owed(&self) -> Owed {
        std::mem::take(&mut *self.owed.lock())
    }
}

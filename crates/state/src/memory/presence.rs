//! Presence of one process.

use ahash::HashMap;
use async_trait::async_trait;
use model::UserId;
use parking_lot::Mutex;

use crate::{Presence, Result};

/// Leases in memory; as many as the process has sockets, so nothing needs a bound of its own.
pub struct MemoryPresence {
    lease_ms: i64,
    sockets: Mutex<HashMap<UserId, HashMap<u64, i64>>>,
}

impl MemoryPresence {
    /// Nobody is here; leases last `lease_ms` after they were last renewed.
    #[must_use]
    pub fn new(lease_ms: i64) -> Self {
        Self { lease_ms, sockets: Mutex::default() }
    }

    /// Whether a lease renewed at `at_ms` still holds. One from the future does: clocks step back.
    fn holds(&self, at_ms: i64, now_ms: i64) -> bool {
        now_ms.saturating_sub(at_ms) < self.lease_ms
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn enter(&self, user: &UserId, socket: u64, now_ms: i64) -> Result<bool> {
        let mut sockets = self.sockets.lock();
        let own = sockets.entry(user.clone()).or_default();
        let came = own.is_empty();
        own.insert(socket, now_ms);
        Ok(came)
    }

    async fn leave(&self, user: &UserId, socket: u64, _now_ms: i64) -> Result<bool> {
        let mut sockets = self.sockets.lock();
        let Some(own) = sockets.get_mut(user) else { return Ok(false) };
        let went = own.remove(&socket).is_some() && own.is_empty();
        if own.is_empty() {
            sockets.remove(user);
        }
        Ok(went)
    }

    async fn online(&self, users: &[UserId], now_ms: i64) -> Result<Vec<bool>> {
        let sockets = self.sockets.lock();
        let here = |user| sockets.get(user).is_some_and(|own| own.values().any(|at| self.holds(*at, now_ms)));
        Ok(users.iter().map(here).collect())
    }

    async fn sweep(&self, now_ms: i64) -> Result<Vec<UserId>> {
        let mut gone = Vec::new();
        self.sockets.lock().retain(|user, own| {
            own.retain(|_, at| self.holds(*at, now_ms));
            if own.is_empty() {
                gone.push(user.clone());
            }
            !own.is_empty()
        });
        Ok(gone)
    }
}

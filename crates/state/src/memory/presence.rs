//! Presence of one process.

use ahash::HashMap;
use async_trait::async_trait;
use model::UserId;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{Presence, Result};

/// The open sockets of each user. The process's sockets bound it. They end with the process, so they need no lease.
#[derive(Default)]
pub struct MemoryPresence(Mutex<HashMap<UserId, SmallVec<[u64; 2]>>>);

#[async_trait]
impl Presence for MemoryPresence {
    async fn enter(&self, user: &UserId, socket: u64, _now_ms: i64) -> Result<bool> {
        let mut users = self.0.lock();
        let sockets = users.entry(user.clone()).or_default();
        let came = sockets.is_empty();
        if !sockets.contains(&socket) {
            sockets.push(socket);
        }
        Ok(came)
    }

    async fn leave(&self, user: &UserId, socket: u64, _now_ms: i64) -> Result<bool> {
        let mut users = self.0.lock();
        let Some(sockets) = users.get_mut(user) else { return Ok(false) };
        sockets.retain(|open| *open != socket);
        let went = sockets.is_empty();
        if went {
            users.remove(user);
        }
        Ok(went)
    }

    async fn renew(&self, _now_ms: i64) -> Result<Vec<UserId>> {
        Ok(Vec::new())
    }

    async fn online(&self, users: &[UserId], _now_ms: i64) -> Result<Vec<bool>> {
        let here = self.0.lock();
        Ok(users.iter().map(|user| here.contains_key(user)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance;

    #[tokio::test(flavor = "multi_thread")]
    async fn conforms() {
        conformance::presence::suite(Arc::new(MemoryPresence::default()), "memory", 1_000_000).await;
    }
}

//! The port that knows who is connected. It leases sockets, so that the state converges after a crash.
//!
//! Called by `chat` when sockets open and close, and to answer queries. Names, hidden users and last-seen times are in the
//! store.

use async_trait::async_trait;
use model::UserId;

use crate::Result;

/// Who has an open socket. A socket counts until it leaves, or until its process has not renewed its leases for the
/// backend's lease time. So the sockets of a crashed node end.
#[async_trait]
pub trait Presence: Send + Sync {
    /// A socket of `user` opened. Returns true when it is the user's first.
    async fn enter(&self, user: &UserId, socket: u64, now_ms: i64) -> Result<bool>;
    /// A socket closed. Returns true when it was the user's last.
    async fn leave(&self, user: &UserId, socket: u64, now_ms: i64) -> Result<bool>;
    /// Renews this process's leases. Returns users whose online status may have changed:
    /// - users of other processes whose leases expired, each returned to one caller once,
    /// - this process's own users, when it had no lease, so that others may have reported them offline,
    /// - users whose change the other nodes can see only now,
    /// - users whom this process reported offline because the state did not answer.
    async fn renew(&self, now_ms: i64) -> Result<Vec<UserId>>;
    /// Whether each of `users` is online, in their order.
    async fn online(&self, users: &[UserId], now_ms: i64) -> Result<Vec<bool>>;
}

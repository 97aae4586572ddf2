//! The port that knows who is connected: leases of sockets, so that a crash converges.
//!
//! Called by `chat` when sockets come and go, and when somebody asks. Owns no names, no wishes to be
//! hidden and no last-seen times; those are in the store.

use async_trait::async_trait;
use model::UserId;

use crate::Result;

/// Who has an open socket. A socket counts until it leaves, or until the process that it entered by has not
/// renewed its sockets for the backend's lease time, which is how those of a crashed node end.
#[async_trait]
pub trait Presence: Send + Sync {
    /// A socket of `user` is open. True when it is the user's first: the user came.
    async fn enter(&self, user: &UserId, socket: u64, now_ms: i64) -> Result<bool>;
    /// A socket closed. True when it was the user's last: the user went.
    async fn leave(&self, user: &UserId, socket: u64, now_ms: i64) -> Result<bool>;
    /// Renews what entered by this process; returns users of whom it is to be told how it is: those of other processes
    /// who went because theirs renews no more, each told to one caller once, this one's own when it did not renew
    /// for so long that others may have said they went, and whose coming or going the others can see only now.
    async fn renew(&self, now_ms: i64) -> Result<Vec<UserId>>;
    /// Which of `users` are here, in their order.
    async fn online(&self, users: &[UserId], now_ms: i64) -> Result<Vec<bool>>;
}

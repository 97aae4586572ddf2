//! Who is here: sockets that come and go, people who ask, people who watch, people who hide or block.

use model::{DeviceId, Identity, UserId};

use crate::{Chat, Result};

pub(crate) struct Here;

/// What one person may know of another's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceOf {
    /// Who.
    pub user_id: UserId,
    /// Whether here.
    pub online: bool,
    /// When last here, Unix milliseconds; `None` when never, or hidden.
    pub last_seen_ms: Option<i64>,
}

impl Chat {
    /// A socket has an identity now. `socket` is its number, unique in the deployment.
    pub async fn connected(&self, who: &Identity, device: &DeviceId, socket: u64) {
        let _ = (who, device, socket);
        unimplemented!()
    }

    /// A socket closed, or has no identity any more. What it watched is forgotten.
    pub async fn disconnected(&self, user: &UserId, socket: u64) {
        let _ = (user, socket);
        unimplemented!()
    }

    /// Whether somebody is here.
    ///
    /// # Errors
    /// [`crate::ChatError::Limited`], [`crate::ChatError::Unavailable`].
    pub async fn presence(&self, who: &Identity, user: &UserId) -> Result<PresenceOf> {
        let _ = (who, user);
        unimplemented!()
    }

    /// Whether these people are here now; `socket` is told when one comes or goes, until it watches
    /// others. At most 200.
    ///
    /// # Errors
    /// [`crate::ChatError::Invalid`], [`crate::ChatError::Limited`], [`crate::ChatError::Unavailable`].
    pub async fn watch(&self, who: &Identity, socket: u64, users: Vec<UserId>) -> Result<Vec<PresenceOf>> {
        let _ = (who, socket, users);
        unimplemented!()
    }

    /// Which of these people have an open socket, hidden ones too; for the notification hook.
    ///
    /// # Errors
    /// [`crate::ChatError::Unavailable`].
    pub async fn offline(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        let _ = users;
        unimplemented!()
    }

    /// Shows oneself, or hides from everybody.
    ///
    /// # Errors
    /// [`crate::ChatError::Unavailable`].
    pub async fn set_visible(&self, who: &Identity, visible: bool) -> Result<()> {
        let _ = (who, visible);
        unimplemented!()
    }

    /// Takes no direct messages from `other` any more.
    ///
    /// # Errors
    /// [`crate::ChatError::Invalid`] for oneself or beyond 1,000, [`crate::ChatError::Unavailable`].
    pub async fn block(&self, who: &Identity, other: &UserId) -> Result<()> {
        let _ = (who, other);
        unimplemented!()
    }

    /// Takes them again.
    ///
    /// # Errors
    /// [`crate::ChatError::Unavailable`].
    pub async fn unblock(&self, who: &Identity, other: &UserId) -> Result<()> {
        let _ = (who, other);
        unimplemented!()
    }

    /// Whom one blocks.
    ///
    /// # Errors
    /// [`crate::ChatError::Unavailable`].
    pub async fn blocks(&self, who: &Identity) -> Result<Vec<UserId>> {
        let _ = who;
        unimplemented!()
    }
}

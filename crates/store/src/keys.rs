//! The port of the key directory: what devices publish so that others can encrypt for them.
//!
//! Called by `chat` alone. Keys are public and opaque here; who may publish and what a key looks like
//! is decided above, what a signature says by whoever encrypts. Atomic and bounded as the other ports.

use async_trait::async_trait;
use model::{DeviceId, UserId};

use crate::Result;

/// A device's lasting keys; texts as the device wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKeys {
    /// The device.
    pub device_id: DeviceId,
    /// With whom sessions are made.
    pub identity_key: Box<str>,
    /// Who has signed.
    pub signing_key: Box<str>,
    /// Over both.
    pub signature: Box<str>,
}

/// A key for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneTimeKey {
    /// Its name on its device.
    pub key_id: Box<str>,
    /// The key.
    pub key: Box<str>,
    /// Over it.
    pub signature: Box<str>,
}

/// What a device publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeys {
    /// The lasting keys.
    pub device: DeviceKeys,
    /// One-time keys to add.
    pub one_time_keys: Vec<OneTimeKey>,
    /// The fallback key, unless the one before is to stay.
    pub fallback_key: Option<OneTimeKey>,
    /// When.
    pub at_ms: i64,
}

/// How much is kept of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimits {
    /// Devices; beyond it those go that published longest ago.
    pub devices_max: usize,
    /// One-time keys of one device; beyond it the oldest go, as devices themselves forget them.
    pub one_time_keys_max: usize,
}

/// A device with a key to start a session with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedKey {
    /// The device.
    pub device: DeviceKeys,
    /// A one-time key, else the fallback key; `None` when there is neither.
    pub key: Option<OneTimeKey>,
    /// Whether it is the fallback key.
    pub fallback: bool,
}

/// The port.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Publishes a device's keys and returns how many one-time keys it has left. Other lasting keys than
    /// before take away all that hung on the old ones. A one-time key whose name was published before
    /// under the same lasting keys is not added again, even after it was handed out (a backend
    /// remembers at least the last 200 names handed out).
    async fn publish_keys(&self, user: &UserId, keys: NewKeys, limits: KeyLimits) -> Result<u32>;
    /// A user's devices by id, each with the number of one-time keys left.
    async fn device_keys(&self, user: &UserId) -> Result<Vec<(DeviceKeys, u32)>>;
    /// Takes one key of each of these devices (of all when `None`): a one-time key is handed out
    /// once, however many ask at the same time, the oldest first; the fallback key again and again.
    async fn claim_keys(&self, user: &UserId, devices: Option<Vec<DeviceId>>) -> Result<Vec<ClaimedKey>>;
    /// Forgets a device's keys; false when there were none.
    async fn remove_keys(&self, user: &UserId, device: &DeviceId) -> Result<bool>;
}

//! The port of the key directory: the public keys by which others encrypt for a device.
//!
//! Called by `chat` alone, which decides who may publish and what a key looks like. Keys are opaque here. The client that
//! encrypts verifies the signatures.

use async_trait::async_trait;
use model::{DeviceId, UserId};

use crate::Result;

/// A device's long-term keys, as the device wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKeys {
    /// The device.
    pub device_id: DeviceId,
    /// The key that sessions are made with.
    pub identity_key: Box<str>,
    /// The key that signs.
    pub signing_key: Box<str>,
    /// The signature over both keys.
    pub signature: Box<str>,
}

impl DeviceKeys {
    /// Whether both have the same long-term keys; the signature may differ.
    pub(crate) fn has_same_keys(&self, other: &Self) -> bool {
        (&self.identity_key, &self.signing_key) == (&other.identity_key, &other.signing_key)
    }
}

/// A key for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneTimeKey {
    /// Its id on its device.
    pub key_id: Box<str>,
    /// The key.
    pub key: Box<str>,
    /// The signature over the key.
    pub signature: Box<str>,
}

/// What a device publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeys {
    /// The long-term keys.
    pub device: DeviceKeys,
    /// One-time keys to add.
    pub one_time_keys: Vec<OneTimeKey>,
    /// The new fallback key; `None` keeps the old one.
    pub fallback_key: Option<OneTimeKey>,
    /// When.
    pub at_ms: i64,
}

/// Ids of keys handed out that a backend remembers for one device.
pub(crate) const CLAIMED_MAX: usize = 200;

/// How much is stored for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimits {
    /// Devices; beyond it, those go first that published longest ago.
    pub devices_max: usize,
    /// One-time keys of one device; beyond it the oldest go, as devices themselves forget them.
    pub one_time_keys_max: usize,
}

/// A device with a key to start a session with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedKey {
    /// The device.
    pub device: DeviceKeys,
    /// A one-time key, else the fallback key, else `None`.
    pub key: Option<OneTimeKey>,
    /// Whether it is the fallback key.
    pub fallback: bool,
}

/// Stores device keys.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Publishes a device's keys. Returns how many one-time keys are left. New long-term keys remove everything that
    /// belonged to the old ones. Under the same long-term keys a key id is never added twice, even after the key was
    /// handed out. A backend remembers at least the last 200 ids handed out.
    async fn publish_keys(&self, user: &UserId, keys: NewKeys, limits: KeyLimits) -> Result<u32>;
    /// A user's devices by id, each with the number of one-time keys left.
    async fn device_keys(&self, user: &UserId) -> Result<Vec<(DeviceKeys, u32)>>;
    /// Claims one key of each of these devices, or of all when `None`. Hands out each one-time key once, oldest first,
    /// however many callers ask at once. Hands out the fallback key again and again.
    async fn claim_keys(&self, user: &UserId, devices: Option<Vec<DeviceId>>) -> Result<Vec<ClaimedKey>>;
    /// Removes a device's keys; false when there were none.
    async fn remove_keys(&self, user: &UserId, device: &DeviceId) -> Result<bool>;
}

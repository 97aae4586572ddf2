//! The key directory of end-to-end encryption: who may publish what, how much and how often.
//!
//! Called by the HTTP API. It checks the shape of keys alone. Clients that encrypt check signatures, because they must
//! not have to trust this server.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use model::{Clock, DeviceId, Identity, UserId};
use state::{LimitKey, Rate, RateLimiter};
use store::keys::{ClaimedKey, DeviceKeys, KeyLimits, KeyStore, NewKeys, OneTimeKey};

use crate::{ChatError, Result};

/// Keys kept for one user.
const LIMITS: KeyLimits = KeyLimits { devices_max: 32, one_time_keys_max: 100 };
/// Bytes of a Curve25519 or Ed25519 key.
const KEY_BYTES: usize = 32;
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;
/// Characters of a key's id.
const KEY_ID_CHARS_MAX: usize = 32;
/// Uploads of one user.
const PUBLISH: Rate = Rate::per_s(1).burst(30);
/// Claims of one user, of everybody's keys together.
const CLAIM: Rate = Rate::per_s(2).burst(100);
/// Claims of one user of the keys of one other: each may use up a key of every device. A client needs one when it first
/// writes to a device.
const CLAIM_OF_ONE: Rate = Rate::per(20, 3_600_000);

/// The rules of the key directory.
pub struct Keys {
    store: Arc<dyn KeyStore>,
    rate_limiter: Arc<dyn RateLimiter>,
    clock: Arc<dyn Clock>,
}

impl Keys {
    /// The rules over a store.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>, rate_limiter: Arc<dyn RateLimiter>, clock: Arc<dyn Clock>) -> Self {
        Self { store, rate_limiter, clock }
    }

    /// Publishes keys of one of the caller's own devices; returns how many one-time keys it has then.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn publish(
        &self,
        who: &Identity,
        device: DeviceKeys,
        one_time_keys: Vec<OneTimeKey>,
        fallback_key: Option<OneTimeKey>,
    ) -> Result<u32> {
        check_device(&device)?;
        if one_time_keys.len() > LIMITS.one_time_keys_max {
            return Err(ChatError::Invalid("one_time_keys: at most 100".into()));
        }
        one_time_keys.iter().chain(&fallback_key).try_for_each(check_key)?;
        self.allow("publish_keys", who, PUBLISH).await?;
        let keys = NewKeys { device, one_time_keys, fallback_key, at_ms: self.clock.now_ms() };
        Ok(self.store.publish_keys(&who.user_id, keys, LIMITS).await?)
    }

    /// A user's devices, each with its number of one-time keys.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`].
    pub async fn devices(&self, user: &UserId) -> Result<Vec<(DeviceKeys, u32)>> {
        Ok(self.store.device_keys(user).await?)
    }

    /// Claims one key of each of these devices of `user`; of all when `None`.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn claim(&self, who: &Identity, user: &UserId, of: Option<Vec<DeviceId>>) -> Result<Vec<ClaimedKey>> {
        self.allow("claim_keys", who, CLAIM).await?;
        // No id contains a slash.
        let pair = format!("{}/{user}", who.user_id);
        self.allow_by("claim_keys_of_one", &pair, CLAIM_OF_ONE).await?;
        Ok(self.store.claim_keys(user, of).await?)
    }

    /// Removes one of the caller's own devices.
    ///
    /// # Errors
    /// [`ChatError::NotFound`], [`ChatError::Unavailable`].
    pub async fn remove(&self, who: &Identity, device: &DeviceId) -> Result<()> {
        match self.store.remove_keys(&who.user_id, device).await? {
            true => Ok(()),
            false => Err(ChatError::NotFound("device")),
        }
    }

    async fn allow(&self, scope: &'static str, who: &Identity, rate: Rate) -> Result<()> {
        self.allow_by(scope, who.user_id.as_str(), rate).await
    }

    async fn allow_by(&self, scope: &'static str, id: &str, rate: Rate) -> Result<()> {
        let key = LimitKey { scope, id };
        let answer = self.rate_limiter.allow(key, rate, self.clock.now_ms()).await?;
        answer.map_err(|retry_after_ms| ChatError::Limited { retry_after_ms })
    }
}

fn check_device(device: &DeviceKeys) -> Result<()> {
    check_bytes("identity_key", &device.identity_key, KEY_BYTES)?;
    check_bytes("signing_key", &device.signing_key, KEY_BYTES)?;
    check_bytes("signature", &device.signature, SIGNATURE_BYTES)
}

fn check_key(key: &OneTimeKey) -> Result<()> {
    let letters = key.key_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/_-".contains(&byte));
    if !(letters && (1..=KEY_ID_CHARS_MAX).contains(&key.key_id.len())) {
        return Err(ChatError::Invalid("key_id must be 1-32 characters of A-Z a-z 0-9 + / _ -".into()));
    }
    check_bytes("key", &key.key, KEY_BYTES)?;
    check_bytes("signature", &key.signature, SIGNATURE_BYTES)
}

/// Checks that a text is unpadded base64 of this many bytes.
fn check_bytes(name: &'static str, text: &str, bytes: usize) -> Result<()> {
    match STANDARD_NO_PAD.decode(text) {
        Ok(decoded) if decoded.len() == bytes => Ok(()),
        _ => Err(ChatError::Invalid(format!("{name} must be {bytes} bytes in base64 without padding").into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_length_and_alphabet() {
        let key = "A".repeat(43);
        assert_eq!(check_bytes("key", &key, KEY_BYTES), Ok(()));
        for bad in ["", &key[1..], &format!("{key}="), &format!("{}_", &key[1..]), &format!("{key}A")] {
            assert!(check_bytes("key", bad, KEY_BYTES).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_keys_are_short_and_plain() {
        let named = |key_id: &str| {
            let (key, signature) = ("A".repeat(43).into(), "A".repeat(86).into());
            check_key(&OneTimeKey { key_id: key_id.into(), key, signature })
        };
        assert!(["AAAAAAAAAAo", "k-1_2", &"x".repeat(32)].into_iter().all(|good| named(good).is_ok()));
        assert!(["", "a b", "\u{5bc6}", &"x".repeat(33)].into_iter().all(|bad| named(bad).is_err()));
    }
}

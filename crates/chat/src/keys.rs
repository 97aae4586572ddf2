//! The key directory of end-to-end encryption: who may publish what, how much and how often.
//!
//! Called by the HTTP API. Looks at the shape of keys alone: whether a signature holds is for those to
//! check who encrypt, because they are the ones who must not have to trust this server.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use model::{Clock, DeviceId, Identity, UserId};
use state::{Gate, LimitKey, Rate};
use store::keys::{ClaimedKey, DeviceKeys, KeyLimits, KeyStore, NewKeys, OneTimeKey};

use crate::{ChatError, Result};

/// What is kept of one user.
const LIMITS: KeyLimits = KeyLimits { devices_max: 32, one_time_keys_max: 100 };
/// Bytes of a Curve25519 or Ed25519 key.
const KEY_BYTES: usize = 32;
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;
/// Characters of a key's name.
const KEY_ID_CHARS_MAX: usize = 32;
/// Uploads of one user.
const PUBLISH: Rate = Rate::per_s(1).burst(30);
/// Claims of one user. Each may use up a key of somebody else.
const CLAIM: Rate = Rate::per_s(2).burst(100);

/// The rules of the key directory.
pub struct Keys {
    store: Arc<dyn KeyStore>,
    gate: Arc<dyn Gate>,
    clock: Arc<dyn Clock>,
}

impl Keys {
    /// The rules over a store.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>, gate: Arc<dyn Gate>, clock: Arc<dyn Clock>) -> Self {
        Self { store, gate, clock }
    }

    /// Publishes keys of one of the caller's own devices; how many one-time keys are left then.
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
        sound_device(&device)?;
        if one_time_keys.len() > LIMITS.one_time_keys_max {
            return Err(ChatError::Invalid("one_time_keys: at most 100".into()));
        }
        one_time_keys.iter().chain(&fallback_key).try_for_each(sound_key)?;
        self.allow("publish_keys", who, PUBLISH).await?;
        let keys = NewKeys { device, one_time_keys, fallback_key, at_ms: self.clock.now_ms() };
        Ok(self.store.publish_keys(&who.user_id, keys, LIMITS).await?)
    }

    /// A user's devices, each with the number of its one-time keys.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`].
    pub async fn devices(&self, user: &UserId) -> Result<Vec<(DeviceKeys, u32)>> {
        Ok(self.store.device_keys(user).await?)
    }

    /// Takes one key of each of these devices of `user`, of all when `None`.
    ///
    /// # Errors
    /// [`ChatError::Limited`], [`ChatError::Unavailable`].
    pub async fn claim(&self, who: &Identity, user: &UserId, of: Option<Vec<DeviceId>>) -> Result<Vec<ClaimedKey>> {
        self.allow("claim_keys", who, CLAIM).await?;
        Ok(self.store.claim_keys(user, of).await?)
    }

    /// Forgets one of the caller's own devices.
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
        let key = LimitKey { scope, id: who.user_id.as_str() };
        let answer = self.gate.allow(key, rate, self.clock.now_ms()).await?;
        answer.map_err(|retry_after_ms| ChatError::Limited { retry_after_ms })
    }
}

fn sound_device(device: &DeviceKeys) -> Result<()> {
    sound("identity_key", &device.identity_key, KEY_BYTES)?;
    sound("signing_key", &device.signing_key, KEY_BYTES)?;
    sound("signature", &device.signature, SIGNATURE_BYTES)
}

fn sound_key(key: &OneTimeKey) -> Result<()> {
    let letters = key.key_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/_-".contains(&byte));
    if !(letters && (1..=KEY_ID_CHARS_MAX).contains(&key.key_id.len())) {
        return Err(ChatError::Invalid("key_id must be 1-32 characters of A-Z a-z 0-9 + / _ -".into()));
    }
    sound("key", &key.key, KEY_BYTES)?;
    sound("signature", &key.signature, SIGNATURE_BYTES)
}

/// Whether a text is unpadded base64 of so many bytes.
fn sound(name: &'static str, text: &str, bytes: usize) -> Result<()> {
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
        assert_eq!(sound("key", &key, KEY_BYTES), Ok(()));
        for bad in ["", &key[1..], &format!("{key}="), &format!("{}_", &key[1..]), &format!("{key}A")] {
            assert!(sound("key", bad, KEY_BYTES).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_keys_are_short_and_plain() {
        let named = |key_id: &str| {
            let (key, signature) = ("A".repeat(43).into(), "A".repeat(86).into());
            sound_key(&OneTimeKey { key_id: key_id.into(), key, signature })
        };
        assert!(["AAAAAAAAAAo", "k-1_2", &"x".repeat(32)].into_iter().all(|good| named(good).is_ok()));
        assert!(["", "a b", "\u{5bc6}", &"x".repeat(33)].into_iter().all(|bad| named(bad).is_err()));
    }
}

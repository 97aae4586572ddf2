//! What devices publish, and the checks before anything is believed.
//!
//! Every key is signed by its device with Ed25519, over a text that says what it is for, so that a
//! directory can neither hand out keys of its own making under a pinned device nor pass one kind
//! of key off as another. Keys and signatures are unpadded standard base64.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use vodozemac::olm::Account;
use vodozemac::{Curve25519PublicKey, Ed25519PublicKey, Ed25519Signature, KeyError, SignatureError};

/// Why keys are not believed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Not a key.
    #[error("a key cannot be read: {0}")]
    Key(#[from] KeyError),
    /// Not signed by the device that is said to own it.
    #[error("the keys of {0} are not signed by that device")]
    Signature(String, #[source] SignatureError),
}

/// A device's lasting keys, as the directory shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The device, unique for its user.
    pub device_id: String,
    /// Curve25519: with whom sessions are made.
    pub identity_key: String,
    /// Ed25519: who has signed.
    pub signing_key: String,
    /// Over user, device and both keys.
    pub signature: String,
}

/// A key for one session, or the fallback when those have run out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeKey {
    /// Its name on its device.
    pub key_id: String,
    /// Curve25519.
    pub key: String,
    /// Over user, device, name and key.
    pub signature: String,
    /// Handed out again and again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
}

/// A key to start a session with a device that is trusted; none when it has run out of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claimed {
    /// The device.
    pub device_id: String,
    /// The key.
    pub one_time_key: Option<OneTimeKey>,
}

/// A signed key in an upload, where its name is the map's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedKey {
    /// Curve25519.
    pub key: String,
    /// As in [`OneTimeKey`].
    pub signature: String,
}

/// The body of `PUT /keys/{device_id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    /// Curve25519.
    pub identity_key: String,
    /// Ed25519.
    pub signing_key: String,
    /// As in [`Published`].
    pub signature: String,
    /// New one-time keys by name.
    pub one_time_keys: HashMap<String, SignedKey>,
    /// A new fallback key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_key: Option<OneTimeKey>,
}

fn device_text(user: &str, device: &str, identity_key: &str, signing_key: &str) -> String {
    format!("barrage device keys 1\n{user}\n{device}\n{identity_key}\n{signing_key}")
}

fn one_time_text(user: &str, device: &str, key_id: &str, key: &str, fallback: bool) -> String {
    let kind = if fallback { "fallback" } else { "one-time" };
    format!("barrage {kind} key 1\n{user}\n{device}\n{key_id}\n{key}")
}

/// The device's own lasting keys, signed.
pub fn publish(account: &Account, user: &str, device: &str) -> Published {
    let (identity_key, signing_key) = (account.curve25519_key().to_base64(), account.ed25519_key().to_base64());
    let signature = account.sign(device_text(user, device, &identity_key, &signing_key)).to_base64();
    Published { device_id: device.into(), identity_key, signing_key, signature }
}

/// A one-time or fallback key, signed.
pub fn sign(account: &Account, user: &str, device: &str, key_id: String, key: String, fallback: bool) -> OneTimeKey {
    let signature = account.sign(one_time_text(user, device, &key_id, &key, fallback)).to_base64();
    OneTimeKey { key_id, key, signature, fallback }
}

impl Published {
    /// Checks the signature; the identity key.
    pub fn check(&self, user: &str) -> Result<Curve25519PublicKey, KeysError> {
        let text = device_text(user, &self.device_id, &self.identity_key, &self.signing_key);
        self.signed(user, &text, &self.signature)?;
        Ok(Curve25519PublicKey::from_base64(&self.identity_key)?)
    }

    /// Checks a one-time key's signature; the key.
    pub fn check_one_time(&self, user: &str, one_time: &OneTimeKey) -> Result<Curve25519PublicKey, KeysError> {
        let OneTimeKey { key_id, key, signature, fallback } = one_time;
        self.signed(user, &one_time_text(user, &self.device_id, key_id, key, *fallback), signature)?;
        Ok(Curve25519PublicKey::from_base64(key)?)
    }

    fn signed(&self, user: &str, text: &str, signature: &str) -> Result<(), KeysError> {
        let refused = |error| KeysError::Signature(format!("{user}/{}", self.device_id), error);
        let signature = Ed25519Signature::from_base64(signature).map_err(refused)?;
        Ed25519PublicKey::from_base64(&self.signing_key)?.verify(text.as_bytes(), &signature).map_err(refused)
    }
}

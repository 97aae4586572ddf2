//! A device: its account, the devices it trusts, and its sessions with them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use vodozemac::olm::{
    Account, AccountPickle, DecryptionError, EncryptionError, OlmMessage, PreKeyMessage, Session, SessionConfig,
    SessionCreationError, SessionPickle,
};
use vodozemac::{Curve25519PublicKey, PickleError};

use crate::code;
use crate::envelope::{Envelope, Plain, VERSION};
use crate::keys::{self, Claimed, KeysError, OneTimeKey, Published, SignedKey, Upload};

/// One-time keys a device keeps on the server; vodozemac keeps twice as many private ones.
const ONE_TIME_KEYS: usize = 50;
/// Sessions kept with one device. More than one arise when both sides start at the same time.
const SESSIONS_MAX: usize = 5;

/// Why something cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key or its signature.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A trusted device shows other keys than before.
    #[error("the keys of {0} have changed")]
    Changed(String),
    /// The sender's device is not trusted yet: its user's devices have to be looked up.
    #[error("{0} is unknown")]
    Unknown(String),
    /// Not one device of the other person can be reached.
    #[error("{0} has no device that can be reached")]
    Unreachable(String),
    /// Written before this device was there, or for others.
    #[error("the message is not for this device")]
    NotForUs,
    /// The directory shows keys that are not this device's under its name.
    #[error("the directory shows other keys for this device")]
    Impostor,
    /// Not an envelope, or of another version.
    #[error("the message cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// An envelope of a version that this program does not know.
    #[error("the message has version {0}")]
    Version(u32),
    /// It was written by or to somebody else than it is shown as.
    #[error("the message is shown as something it is not")]
    Misattributed,
    /// Goes on with a session that this device does not have.
    #[error("there is no session with {0}")]
    NoSession(String),
    /// No session fits, or the message was read before.
    #[error("the message cannot be decrypted: {0}")]
    Decryption(#[from] DecryptionError),
    /// A session cannot be made.
    #[error("no session: {0}")]
    Session(#[from] SessionCreationError),
    /// Encryption failed.
    #[error("cannot encrypt: {0}")]
    Encryption(#[from] EncryptionError),
    /// What was kept is damaged, or the key is another.
    #[error("the saved keys cannot be opened: {0}")]
    Saved(#[from] PickleError),
}

impl Error {
    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Keys(_) => "bad_keys",
            Self::Changed(_) => "keys_changed",
            Self::Unknown(_) => "unknown_device",
            Self::Unreachable(_) => "unreachable",
            Self::NotForUs => "not_for_us",
            Self::Impostor => "impostor",
            Self::Unreadable(_) | Self::Version(_) => "unreadable",
            Self::Misattributed => "misattributed",
            Self::NoSession(_) | Self::Decryption(_) | Self::Session(_) | Self::Encryption(_) => "undecryptable",
            Self::Saved(_) => "saved",
        }
    }
}

type Result<T> = std::result::Result<T, Error>;

/// A trusted device and the sessions with it, the one last heard from at the end.
struct Peer {
    user: String,
    keys: Published,
    sessions: Vec<Session>,
}

/// This device.
pub struct Device {
    user: String,
    device: String,
    account: Account,
    /// As many as the people one has talked with have devices: few enough to look through.
    peers: Vec<Peer>,
}

impl Device {
    /// A device with new keys.
    #[must_use]
    pub fn new(user: &str, device: &str) -> Self {
        Self { user: user.into(), device: device.into(), account: Account::new(), peers: Vec::new() }
    }

    fn address(&self) -> String {
        format!("{}/{}", self.user, self.device)
    }

    fn own_keys(&self) -> Published {
        keys::publish(&self.account, &self.user, &self.device)
    }

    /// What to publish when the server holds `kept` one-time keys of this device.
    pub fn upload(&mut self, kept: usize) -> Upload {
        let unpublished = self.account.one_time_keys().len();
        self.account.generate_one_time_keys(ONE_TIME_KEYS.saturating_sub(kept + unpublished));
        if kept == 0 && self.account.fallback_key().is_empty() {
            self.account.generate_fallback_key();
        }
        let Published { identity_key, signing_key, signature, .. } = self.own_keys();
        let signed = |key_id: String, key: Curve25519PublicKey, fallback: bool| {
            keys::sign(&self.account, &self.user, &self.device, key_id, key.to_base64(), fallback)
        };
        let one_time = self.account.one_time_keys().into_iter();
        let one_time = one_time.map(|(id, key)| signed(id.to_base64(), key, false));
        let fallback = self.account.fallback_key().into_iter().next();
        Upload {
            identity_key,
            signing_key,
            signature,
            one_time_keys: one_time
                .map(|OneTimeKey { key_id, key, signature, .. }| (key_id, SignedKey { key, signature }))
                .collect(),
            fallback_key: fallback.map(|(id, key)| signed(id.to_base64(), key, true)),
        }
    }

    /// The last upload has arrived.
    pub fn published(&mut self) {
        self.account.mark_keys_as_published();
    }

    /// Checks a user's devices and pins their keys; those that are gone are forgotten.
    ///
    /// # Errors
    /// When a signature does not hold or a pinned device's keys have changed; nothing is changed then.
    pub fn trust(&mut self, user: &str, devices: &[Published]) -> Result<()> {
        let others = || devices.iter().filter(|device| user != self.user || device.device_id != self.device);
        if devices.len() != others().count() && !devices.contains(&self.own_keys()) {
            return Err(Error::Impostor);
        }
        for device in others() {
            device.check(user)?;
            let pinned = self.peers_of(user).find(|peer| peer.keys.device_id == device.device_id);
            if pinned.is_some_and(|pinned| !same_keys(&pinned.keys, device)) {
                return Err(Error::Changed(format!("{user}/{}", device.device_id)));
            }
        }
        let listed: Vec<_> = others().cloned().collect();
        let is_listed = |id: &str| listed.iter().any(|device| device.device_id == id);
        self.peers.retain(|peer| peer.user != user || is_listed(&peer.keys.device_id));
        for keys in listed {
            if self.peers_of(user).all(|peer| peer.keys.device_id != keys.device_id) {
                self.peers.push(Peer { user: user.into(), keys, sessions: Vec::new() });
            }
        }
        Ok(())
    }

    fn peers_of(&self, user: &str) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(move |peer| peer.user == user)
    }

    /// Forgets a user's devices and sessions.
    pub fn forget(&mut self, user: &str) {
        self.peers.retain(|peer| peer.user != user);
    }

    /// Trusted devices of a user without a session.
    #[must_use]
    pub fn unreached(&self, user: &str) -> Vec<&str> {
        let unreached = self.peers_of(user).filter(|peer| peer.sessions.is_empty());
        unreached.map(|peer| peer.keys.device_id.as_str()).collect()
    }

    /// Starts sessions with trusted devices; one that has no key left stays unreached.
    ///
    /// # Errors
    /// When a key is not signed by its device.
    pub fn reach(&mut self, user: &str, claimed: &[Claimed]) -> Result<()> {
        for Claimed { device_id, one_time_key } in claimed {
            let Some(peer) = self.peers.iter_mut().find(|peer| peer.user == user && peer.keys.device_id == *device_id)
            else {
                continue;
            };
            let Some(one_time) = one_time_key else { continue };
            let identity = peer.keys.check(user)?;
            let one_time = peer.keys.check_one_time(user, one_time)?;
            let session = self.account.create_outbound_session(SessionConfig::default(), identity, one_time)?;
            peer.keep(session);
        }
        Ok(())
    }

    /// An envelope for every reached device of `to_user` and of this user.
    ///
    /// # Errors
    /// When no device of `to_user` is reached.
    pub fn encrypt(&mut self, to_user: &str, text: &str) -> Result<String> {
        let (from, mut devices, mut reached) = (self.address(), HashMap::new(), false);
        for peer in self.peers.iter_mut().filter(|peer| peer.user == to_user || peer.user == self.user) {
            let Some(session) = peer.sessions.last_mut() else { continue };
            let to = format!("{}/{}", peer.user, peer.keys.device_id);
            let plain = Plain { from: from.clone(), to: to.clone(), to_user: to_user.into(), text: text.into() };
            devices.insert(to, session.encrypt(serde_json::to_vec(&plain)?)?);
            reached |= peer.user == to_user;
        }
        if !reached {
            return Err(Error::Unreachable(to_user.into()));
        }
        Ok(serde_json::to_string(&Envelope { v: VERSION, from_device: self.device.clone(), devices })?)
    }

    /// The text of a message that is shown as written by `from_user` to `to_user`.
    ///
    /// # Errors
    /// [`Error::Unknown`] asks for a lookup of the sender's devices; the others are final.
    pub fn decrypt(&mut self, from_user: &str, to_user: &str, content: &str) -> Result<String> {
        let Envelope { v, from_device, mut devices } = serde_json::from_slice(content.as_bytes())?;
        if v != VERSION {
            return Err(Error::Version(v));
        }
        let message = devices.remove(&self.address()).ok_or(Error::NotForUs)?;
        let from = format!("{from_user}/{from_device}");
        let peer = self.peers.iter_mut().find(|peer| peer.user == from_user && peer.keys.device_id == from_device);
        let peer = peer.ok_or_else(|| Error::Unknown(from.clone()))?;
        let plain = peer.decrypt(&mut self.account, &message)?;
        let plain: Plain = serde_json::from_slice(&plain)?;
        if plain.from != from || plain.to != self.address() || plain.to_user != to_user {
            return Err(Error::Misattributed);
        }
        Ok(plain.text)
    }

    /// The code to compare with another person, over the devices that are trusted on both sides.
    #[must_use]
    pub fn verification_code(&self, with: &str) -> String {
        let trusted = |user: &str| self.peers_of(user).map(|peer| &peer.keys).collect::<Vec<_>>();
        let own = self.own_keys();
        let mine = code::fingerprint(&self.user, trusted(&self.user).into_iter().chain([&own]));
        code::code(&mine, &code::fingerprint(with, trusted(with)))
    }
}

fn same_keys(one: &Published, other: &Published) -> bool {
    (&one.identity_key, &one.signing_key) == (&other.identity_key, &other.signing_key)
}

impl Peer {
    fn keep(&mut self, session: Session) {
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    fn decrypt(&mut self, account: &mut Account, message: &OlmMessage) -> Result<Vec<u8>> {
        let mut failure = None;
        for place in (0..self.sessions.len()).rev() {
            let Some(session) = self.sessions.get_mut(place) else { continue };
            match session.decrypt(message) {
                Ok(plain) => {
                    // Answers go by the session last heard from, so that both sides settle on one.
                    let session = self.sessions.remove(place);
                    self.sessions.push(session);
                    return Ok(plain);
                }
                Err(error) => failure = Some(error),
            }
        }
        match (message, failure) {
            // A fallback key would start the same session again for whoever repeats its first message.
            (OlmMessage::PreKey(first), Some(failure)) if self.has(&first.session_id()) => Err(failure.into()),
            (OlmMessage::PreKey(first), _) => self.meet(account, first),
            (OlmMessage::Normal(_), Some(failure)) => Err(failure.into()),
            (OlmMessage::Normal(_), None) => Err(Error::NoSession(format!("{}/{}", self.user, self.keys.device_id))),
        }
    }

    fn has(&self, session_id: &str) -> bool {
        self.sessions.iter().any(|session| session.session_id() == session_id)
    }

    /// Somebody has started a session with us.
    fn meet(&mut self, account: &mut Account, first: &PreKeyMessage) -> Result<Vec<u8>> {
        let identity = self.keys.check(&self.user)?;
        let met = account.create_inbound_session(SessionConfig::default(), identity, first)?;
        self.keep(met.session);
        Ok(met.plaintext)
    }
}

// Keeping ----------------------------------------------------------------------------------------

#[derive(Serialize, Deserialize)]
struct SavedPeer {
    user: String,
    keys: Published,
    sessions: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    user: String,
    device: String,
    account: String,
    peers: Vec<SavedPeer>,
}

impl Device {
    /// All of its state; private keys are encrypted with `key`.
    ///
    /// # Errors
    /// None in practice: JSON of texts is always written.
    pub fn save(&self, key: &[u8; 32]) -> Result<String> {
        let saved = Saved {
            user: self.user.clone(),
            device: self.device.clone(),
            account: self.account.pickle().encrypt(key),
            peers: self.peers.iter().map(|peer| peer.save(key)).collect(),
        };
        Ok(serde_json::to_string(&saved)?)
    }

    /// The device that was saved.
    ///
    /// # Errors
    /// When it is damaged or `key` is another than it was saved with.
    pub fn restore(saved: &str, key: &[u8; 32]) -> Result<Self> {
        let Saved { user, device, account, peers } = serde_json::from_slice(saved.as_bytes())?;
        let account = Account::from_pickle(AccountPickle::from_encrypted(&account, key)?);
        let peers = peers.into_iter().map(|peer| Peer::restore(peer, key)).collect::<Result<_>>()?;
        Ok(Self { user, device, account, peers })
    }
}

impl Peer {
    fn save(&self, key: &[u8; 32]) -> SavedPeer {
        let sessions = self.sessions.iter().map(|session| session.pickle().encrypt(key)).collect();
        SavedPeer { user: self.user.clone(), keys: self.keys.clone(), sessions }
    }

    fn restore(saved: SavedPeer, key: &[u8; 32]) -> Result<Self> {
        let SavedPeer { user, keys, sessions } = saved;
        let mut opened = Vec::with_capacity(sessions.len());
        for session in sessions {
            opened.push(Session::from_pickle(SessionPickle::from_encrypted(&session, key)?));
        }
        Ok(Self { user, keys, sessions: opened })
    }
}

//! One device's side of end-to-end encrypted direct chat: keys, sessions, envelopes, codes.
//!
//! A thin layer over vodozemac's Olm (<https://gitlab.matrix.org/matrix-org/olm/-/blob/master/docs/olm.md>).
//! Browsers call it compiled to WebAssembly through `web/src/chat/e2ee/e2ee.ts`; tests of the server use
//! [`device`] as it is. Knows no network and no storage: what is to be sent, kept or asked for goes in and
//! out as JSON text. Never lets a private key out but inside [`Device::save`].

#![forbid(unsafe_code)]

pub mod code;
pub mod device;
pub mod envelope;
pub mod keys;

use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::device::Error;
use crate::keys::{Claimed, Published};

/// What JavaScript is given for a failure: an `Error` whose message is `code: sentence`.
type Js<T> = Result<T, JsError>;

fn js(error: impl Into<Error>) -> JsError {
    let error = error.into();
    JsError::new(&format!("{}: {error}", error.code()))
}

/// A device, as JavaScript sees it. Every argument and answer that is not a plain text is JSON.
#[wasm_bindgen]
pub struct Device(device::Device);

#[wasm_bindgen]
impl Device {
    /// A device with new keys.
    #[wasm_bindgen(constructor)]
    pub fn new(user: &str, device: &str) -> Self {
        Self(device::Device::new(user, device))
    }

    /// The device that [`Device::save`] wrote, opened with the same 32 bytes.
    pub fn restore(saved: &str, key: &[u8]) -> Js<Self> {
        device::Device::restore(saved, &pickle_key(key)?).map(Self).map_err(js)
    }

    /// All of its state, encrypted with 32 bytes. To be kept after every call that changes it.
    pub fn save(&self, key: &[u8]) -> Js<String> {
        self.0.save(&pickle_key(key)?).map_err(js)
    }

    /// What to publish, when the server holds `kept` of its one-time keys: `{identity_key, …}`.
    pub fn upload(&mut self, kept: usize) -> Js<String> {
        serde_json::to_string(&self.0.upload(kept)).map_err(js)
    }

    /// What was last given by [`Device::upload`] is on the server.
    pub fn published(&mut self) {
        self.0.published();
    }

    /// Checks and remembers a user's devices: `[{device_id, identity_key, signing_key, signature}]`.
    pub fn trust(&mut self, user: &str, devices: &str) -> Js<()> {
        let devices: Vec<Published> = serde_json::from_slice(devices.as_bytes()).map_err(js)?;
        self.0.trust(user, &devices).map_err(js)
    }

    /// Forgets a user's devices, so that changed ones can be trusted anew.
    pub fn forget(&mut self, user: &str) {
        self.0.forget(user);
    }

    /// Which of a user's trusted devices have no session yet, as a JSON list of device ids.
    pub fn unreached(&self, user: &str) -> Js<String> {
        serde_json::to_string(&self.0.unreached(user)).map_err(js)
    }

    /// Starts sessions with claimed keys: `[{device_id, …, one_time_key}]`.
    pub fn reach(&mut self, user: &str, claimed: &str) -> Js<()> {
        let claimed: Vec<Claimed> = serde_json::from_slice(claimed.as_bytes()).map_err(js)?;
        self.0.reach(user, &claimed).map_err(js)
    }

    /// The content of a message to a user: an envelope for each device reached, one's own others too.
    pub fn encrypt(&mut self, to_user: &str, text: &str) -> Js<String> {
        self.0.encrypt(to_user, text).map_err(js)
    }

    /// The text of a message. Works once: the ratchet has moved on then.
    pub fn decrypt(&mut self, from_user: &str, to_user: &str, content: &str) -> Js<String> {
        self.0.decrypt(from_user, to_user, content).map_err(js)
    }

    /// 60 digits that both people see alike while nobody stands between them.
    #[wasm_bindgen(js_name = verificationCode)]
    pub fn verification_code(&self, with: &str) -> String {
        self.0.verification_code(with)
    }
}

fn pickle_key(key: &[u8]) -> Js<[u8; 32]> {
    key.try_into().map_err(|_| JsError::new("key: the storage key must have 32 bytes"))
}

//! What travels: an envelope with one ciphertext per device, and what is inside each.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use vodozemac::olm::OlmMessage;

/// The version of the envelope.
pub const VERSION: u32 = 1;

/// The content of an encrypted message. Whoever relays it sees this and no more.
#[derive(Serialize, Deserialize)]
pub struct Envelope {
    /// [`VERSION`].
    pub v: u32,
    /// Which of the sender's devices has written it.
    pub from_device: String,
    /// `user/device` → `{type: 0 | 1, body}`: Olm's messages, of which type 0 also start a session.
    pub devices: HashMap<String, OlmMessage>,
}

/// What one device reads. The addresses are inside the ciphertext, so that nobody on the way can show
/// a message as somebody else's or as meant for somebody else.
#[derive(Serialize, Deserialize)]
pub struct Plain {
    /// `user/device` that wrote it.
    pub from: String,
    /// `user/device` it was encrypted for.
    pub to: String,
    /// The person it was written to.
    pub to_user: String,
    /// The text.
    pub text: String,
}

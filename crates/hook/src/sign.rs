//! Signing calls as Standard Webhooks does (<https://www.standardwebhooks.com>, version 1): HMAC-SHA256 over
//! `id.timestamp.body`, in the header `webhook-signature: v1,<base64>`. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What a secret in the standard's own form begins with; base64 follows.
const PREFIX: &str = "whsec_";

/// The bytes of a secret: those that `whsec_…` names, or else those of the text itself.
#[must_use]
pub fn key(secret: &str) -> Vec<u8> {
    let named = secret.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    named.unwrap_or_else(|| secret.as_bytes().to_vec())
}

/// The value of `webhook-signature` for a body sent at `timestamp_s` (Unix seconds).
#[must_use]
pub fn signature(key: &[u8], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    let mac = mac.chain_update(format!("{id}.{timestamp_s}.")).chain_update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_standards() {
        // The example of the standard's own libraries.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn other_secrets_are_taken_as_they_are() {
        assert_eq!(key("sixteen bytes or more"), b"sixteen bytes or more");
        assert_eq!(key("whsec_not base64"), b"whsec_not base64");
    }
}

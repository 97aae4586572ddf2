//! Signs calls as Standard Webhooks does (<https://www.standardwebhooks.com>, version 1): HMAC-SHA256 over
//! `id.timestamp.body`, in the header `webhook-signature: v1,<base64>`. Called by whatever posts for this program; does no I/O.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

/// The prefix of a secret in the standard's own form; base64 follows.
const PREFIX: &str = "whsec_";

/// The bytes of a secret: those that `whsec_…` encodes, or those of the text itself.
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

/// The headers of a call: its id, its time, and a signature for each key, the newest first.
#[must_use]
pub fn headers(keys: &[Vec<u8>], id: &str, timestamp_s: i64, body: &[u8]) -> HeaderMap {
    let signatures: Vec<_> = keys.iter().map(|key| signature(key, id, timestamp_s, body)).collect();
    let named = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp_s.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ];
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    for (name, value) in named {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// Makes hashes of clients' addresses: equal for one address, and of no use to whoever has not the secret.
#[derive(Clone)]
pub struct AddressHasher(Hmac<Sha256>);

impl AddressHasher {
    /// From the secret that only this deployment's nodes have.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mac =
            Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        Self(mac.chain_update(b"client_ip_hash\0"))
    }

    /// The hash in hexadecimal. Of IPv6 the network counts, because one client has all addresses of its own.
    #[must_use]
    pub fn hash(&self, address: IpAddr) -> String {
        let mac = match address.to_canonical() {
            IpAddr::V4(v4) => self.0.clone().chain_update(v4.octets()),
            IpAddr::V6(v6) => self.0.clone().chain_update(v6.octets().split_at(8).0),
        };
        let bytes = mac.finalize().into_bytes();
        bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
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
    fn one_client_has_one_hash_and_another_secret_another() {
        let hash = |secret: &str, address: &str| {
            AddressHasher::new(secret.as_bytes()).hash(address.parse().expect("an address"))
        };
        let first = hash("secret", "192.0.2.1");
        assert_eq!((first.len(), &first), (32, &hash("secret", "::ffff:192.0.2.1")));
        assert_ne!(first, hash("secret", "192.0.2.2"));
        assert_ne!(first, hash("another", "192.0.2.1"));
        assert_eq!(hash("secret", "2001:db8::1"), hash("secret", "2001:db8::2"));
        assert_ne!(hash("secret", "2001:db8::1"), hash("secret", "2001:db8:0:1::1"));
    }

    #[test]
    fn other_secrets_are_taken_as_they_are() {
        assert_eq!(key("sixteen bytes or more"), b"sixteen bytes or more");
        assert_eq!(key("whsec_not base64"), b"whsec_not base64");
    }
}

//! Signatures of the Channels protocol: HMAC-SHA256 in hexadecimal, of subscriptions and of HTTP calls.
//!
//! Pure: the secret, the time and the text are given.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use protocol::handshake::query_pairs;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::PusherKeys;

/// How far a call's time may be from ours, in seconds.
const CALL_S_MAX: i64 = 600;

/// The signature of a text.
pub(super) fn sign(secret: &str, text: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// Whether `auth`, which is `key:signature`, signs a subscription of this socket.
pub(super) fn signs_subscription(
    keys: &PusherKeys,
    auth: &str,
    socket_id: &str,
    channel: &str,
    channel_data: Option<&str>,
) -> bool {
    let Some((key, signature)) = auth.split_once(':') else { return false };
    let text = match channel_data {
        Some(data) => format!("{socket_id}:{channel}:{data}"),
        None => format!("{socket_id}:{channel}"),
    };
    key == keys.key && is_equal(signature, &sign(&keys.secret, &text))
}

/// A call of the HTTP API.
pub(super) struct Call<'a> {
    pub method: &'a str,
    /// As it was sent.
    pub path: &'a str,
    pub query: &'a str,
    pub body: &'a [u8],
}

impl Call<'_> {
    /// Whether it is signed, and recently.
    ///
    /// # Errors
    /// What is wrong, for the caller's log.
    pub fn check(&self, keys: &PusherKeys, now_s: i64) -> Result<(), &'static str> {
        let mut parameters = BTreeMap::new();
        for (name, value) in query_pairs(self.query) {
            parameters.insert(name.to_ascii_lowercase(), value.into_owned());
        }
        let signature = parameters.remove("auth_signature").ok_or("auth_signature is missing")?;
        let parameter = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
        if parameter("auth_key") != keys.key {
            return Err("auth_key is not this app's");
        }
        let at_s: i64 = parameter("auth_timestamp").parse().map_err(|_| "auth_timestamp is missing")?;
        if at_s.saturating_sub(now_s).saturating_abs() > CALL_S_MAX {
            return Err("auth_timestamp is more than ten minutes off");
        }
        if !self.body.is_empty() && !is_equal(parameter("body_md5"), &hex(&Md5::digest(self.body))) {
            return Err("body_md5 is not the body's");
        }
        let listed: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("{}\n{}\n{}", self.method, self.path, listed.join("&"));
        if is_equal(&signature, &sign(&keys.secret, &text)) { Ok(()) } else { Err("auth_signature does not verify") }
    }
}

fn is_equal(given: &str, right: &str) -> bool {
    given.as_bytes().ct_eq(right.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Pusher's own documentation.
    fn keys() -> PusherKeys {
        PusherKeys { app_id: "3".into(), key: "278d425bdf160c739803".into(), secret: "7ad3773142a6692b25b8".into() }
    }

    #[test]
    fn a_subscription_is_signed_as_the_documentation_shows() {
        let auth = "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        assert!(signs_subscription(&keys(), auth, "1234.1234", "private-foobar", None));
        let others = [("1234.1235", "private-foobar"), ("1234.1234", "private-foobaz")];
        assert!(others.iter().all(|(socket, channel)| !signs_subscription(&keys(), auth, socket, channel, None)));
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        let auth = "278d425bdf160c739803:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80";
        assert!(signs_subscription(&keys(), auth, "1234.1234", "presence-foobar", Some(data)));
        for wrong in ["", ":", "278d425bdf160c739803:", "other:58df8b0c", "278d425bdf160c739803:58DF"] {
            assert!(!signs_subscription(&keys(), wrong, "1234.1234", "private-foobar", None), "{wrong}");
        }
    }

    #[test]
    fn a_call_is_signed_as_the_documentation_shows() {
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let query = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
                     &body_md5=ec365a775a4cd0599faeb73354201b6f\
                     &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
        let call = |query, body| Call { method: "POST", path: "/apps/3/events", query, body };
        assert_eq!(call(query, body.as_slice()).check(&keys(), 1_353_088_179), Ok(()));
        assert!(call(query, body.as_slice()).check(&keys(), 1_353_088_179 + 601).is_err());
        assert!(call(query, b"{}").check(&keys(), 1_353_088_179).is_err());
        assert!(call("", b"").check(&keys(), 0).is_err());
        let tampered = query.replace("auth_version=1.0", "auth_version=1.0&socket_id=1.1");
        assert!(call(&tampered, body.as_slice()).check(&keys(), 1_353_088_179).is_err());
    }
}

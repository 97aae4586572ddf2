//! The admin key: what it is compared with, and how often an address may guess it.
//!
//! [`crate::caller`] asks it for every bearer that is no token. It holds the key's digest alone, and counts of wrong
//! guesses for a bounded number of addresses.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use model::{Code, WireError};
use sha2::{Digest, Sha256};
use state::connections::network;
use subtle::ConstantTimeEq as _;

/// Wrong keys that an address may send in one [`WINDOW_MS`].
const WRONG_MAX: u32 = 20;
/// How long wrong keys are counted together, in milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Addresses counted at once. When there are more, those whose window is over are forgotten, then all.
const ADDRESSES_MAX: usize = 10_000;

/// The admin key.
pub struct AdminKey {
    digest: [u8; 32],
    looks_like_token: bool,
    wrong: Mutex<HashMap<IpAddr, WrongKeys>>,
}

#[derive(Clone, Copy)]
struct WrongKeys {
    since_ms: i64,
    count: u32,
}

impl AdminKey {
    /// The key as configured.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self { digest: Sha256::digest(key).into(), looks_like_token: looks_like_token(key), wrong: Mutex::default() }
    }

    /// Whether `secret` is the key. An address that has sent too many wrong ones is not told. A token is no guess, so
    /// that users never keep an administrator of the same address out.
    ///
    /// # Errors
    /// `rate_limited`, until the address's minute is over.
    pub(crate) fn matches(&self, secret: &str, address: IpAddr, now_ms: i64) -> Result<bool, WireError> {
        if looks_like_token(secret) && !self.looks_like_token {
            return Ok(false);
        }
        let address = network(address);
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = wrong.get(&address).copied().filter(|keys| now_ms - keys.since_ms < WINDOW_MS);
        let mut keys = counted.unwrap_or(WrongKeys { since_ms: now_ms, count: 0 });
        if keys.count >= WRONG_MAX {
            let retry_after_ms = (keys.since_ms + WINDOW_MS - now_ms).max(1).cast_unsigned();
            let error = WireError::new(Code::RateLimited, "too many wrong admin keys from this address");
            return Err(error.retry_after_ms(retry_after_ms));
        }
        // Digests of one length compare in the same time, whatever the key.
        if Sha256::digest(secret).as_slice().ct_eq(&self.digest).into() {
            return Ok(true);
        }
        keys.count += 1;
        if keys.count == WRONG_MAX {
            tracing::warn!(%address, "too many wrong admin keys: refusing more from this address for a minute");
        }
        if wrong.len() >= ADDRESSES_MAX && !wrong.contains_key(&address) {
            wrong.retain(|_, keys| now_ms - keys.since_ms < WINDOW_MS);
            if wrong.len() >= ADDRESSES_MAX {
                wrong.clear();
            }
        }
        wrong.insert(address, keys);
        Ok(false)
    }
}

/// A JWT has three parts (RFC 7519).
fn looks_like_token(secret: &str) -> bool {
    secret.matches('.').count() == 2
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn an_address_guesses_twenty_times_a_minute() {
        let key = AdminKey::new("the-right-key-of-tests");
        for _ in 0..WRONG_MAX {
            assert_eq!(key.matches("wrong", ip(1), 1_000), Ok(false));
        }
        let refused = key.matches("the-right-key-of-tests", ip(1), 31_000).expect_err("refused");
        assert_eq!((refused.code, refused.retry_after_ms), (Code::RateLimited, Some(30_000)));
        assert_eq!(key.matches("the-right-key-of-tests", ip(2), 31_000), Ok(true), "another address");
        assert_eq!(key.matches("the-right-key-of-tests", ip(1), 61_000), Ok(true), "a minute later");
    }

    #[test]
    fn tokens_are_no_guesses() {
        let key = AdminKey::new("the-right-key-of-tests");
        assert!((0..100).all(|_| key.matches("a.b.c", ip(1), 0) == Ok(false)));
        assert_eq!(key.matches("the-right-key-of-tests", ip(1), 0), Ok(true));
        assert_eq!(AdminKey::new("a.key.with-dots").matches("a.key.with-dots", ip(1), 0), Ok(true));
    }

    #[test]
    fn right_keys_are_not_counted() {
        let key = AdminKey::new("the-right-key-of-tests");
        assert!((0..100).all(|_| key.matches("the-right-key-of-tests", ip(1), 0) == Ok(true)));
    }

    #[test]
    fn the_counts_are_bounded() {
        let key = AdminKey::new("the-right-key-of-tests");
        for n in 0..3 * ADDRESSES_MAX as u32 {
            assert_eq!(key.matches("wrong", ip(n), 0), Ok(false));
        }
        assert!(key.wrong.lock().expect("unpoisoned").len() <= ADDRESSES_MAX);
    }
}

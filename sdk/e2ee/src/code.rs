//! The verification code: 60 digits that two people compare to learn that nobody stands between them.
//!
//! Each person's fingerprint is 30 digits of an iterated SHA-512 over the person's id and the sorted
//! keys of all their devices; the two fingerprints, the smaller first, make the code. (The scheme of
//! Signal's safety numbers, over all of a person's devices: the iteration makes a search for a similar-looking
//! fingerprint thousands of times dearer.) Any device that is added or changed changes the code.

use sha2::{Digest, Sha512};

use crate::keys::Published;

const ITERATIONS: u32 = 5_200;
const GROUPS: usize = 6;

/// A person's 30 digits.
pub fn fingerprint<'a>(user: &str, devices: impl IntoIterator<Item = &'a Published>) -> String {
    let mut lines: Vec<_> = devices
        .into_iter()
        .map(|device| format!("{}\n{}\n{}\n", device.device_id, device.identity_key, device.signing_key))
        .collect();
    lines.sort_unstable();
    let text = format!("barrage fingerprint 1\n{user}\n{}", lines.concat());
    let mut digest = Sha512::digest(&text);
    for _ in 1..ITERATIONS {
        digest = Sha512::new().chain_update(digest).chain_update(&text).finalize();
    }
    digest.chunks_exact(5).take(GROUPS).map(five_digits).collect()
}

/// 40 bits as five digits.
fn five_digits(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{:05}", number % 100_000)
}

/// Two people's code, in twelve groups of five; the same whoever asks.
pub fn code(one: &str, other: &str) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    let digits = format!("{first}{second}");
    let groups: Vec<_> = digits.as_bytes().chunks(5).map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

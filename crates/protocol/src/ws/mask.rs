//! Masking (RFC 6455 §5.3): XOR with a repeating four-byte key. Its own inverse.

/// Masks or unmasks `payload` in place. Eight bytes a step, which the compiler turns into vector code.
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    // Words are whole multiples of the key, so the tail starts again at its first byte.
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::apply;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_definition(payload: Vec<u8>, key: [u8; 4]) {
            let mut masked = payload.clone();
            apply(&mut masked, key);
            let expected: Vec<u8> = payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
            prop_assert_eq!(masked, expected);
        }
    }
}

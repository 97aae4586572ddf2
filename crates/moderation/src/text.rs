//! What a text looks like: its capitals, and whether it is emoji alone. Called by [`crate::rules`].

/// Texts with fewer letters may shout.
const LETTERS_MIN: u32 = 8;

/// The share of a text's letters that are capitals; 0 for a text with fewer than 8 letters, or without a capital.
pub(crate) fn capitals(text: &str) -> f64 {
    let (mut letters, mut capitals) = (0u32, 0u32);
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        letters += 1;
        capitals += u32::from(c.is_uppercase());
    }
    if letters < LETTERS_MIN { 0.0 } else { f64::from(capitals) / f64::from(letters) }
}

/// Whether a text has emoji, and nothing else but white space.
pub(crate) fn is_emoji_only(text: &str) -> bool {
    let mut any = false;
    let mut chars = text.chars().filter(|c| !c.is_whitespace()).peekable();
    while let Some(c) = chars.next() {
        if is_emoji(c) {
            any = true;
        } else if matches!(c, '0'..='9' | '#' | '*') {
            // A keycap: the digit, perhaps a selector, and the key.
            chars.next_if_eq(&'\u{fe0f}');
            if chars.next_if_eq(&'\u{20e3}').is_none() {
                return false;
            }
            any = true;
        } else if !is_modifier(c) {
            return false;
        }
    }
    any
}

/// Roughly Unicode's `Extended_Pictographic` and the regional indicators.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{2600}'..='\u{27bf}'
        | '\u{2b00}'..='\u{2bff}' | '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{3030}' | '\u{303d}'
        | '\u{3297}' | '\u{3299}')
}

/// Joiners, selectors and tags, which make one emoji of several characters.
fn is_modifier(c: char) -> bool {
    matches!(c, '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_alone_is_told_from_text() {
        for text in ["😀", "👍🏽 ❤️", "👨‍👩‍👧", "🇨🇳", "1️⃣", "⚽⚽"] {
            assert!(is_emoji_only(text), "{text}");
        }
        for text in ["", " ", "666", "好😀", ":)", "1", "\u{200d}"] {
            assert!(!is_emoji_only(text), "{text}");
        }
    }

    #[test]
    fn capitals_count_from_eight_letters_on() {
        assert_eq!(capitals("SHOUT"), 0.0);
        assert_eq!(capitals("SHOUTING"), 1.0);
        assert_eq!(capitals("SHOUting"), 0.5);
        assert_eq!(capitals("大家好大家好大家好"), 0.0);
    }
}

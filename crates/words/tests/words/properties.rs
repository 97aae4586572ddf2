//! Rules that hold for all words and texts.

// A test may panic.
#![allow(clippy::unwrap_used)]

use crate::hostile;
use proptest::prelude::*;
use words::{Filter, Lists, Verdict};

fn masking(words: &[String]) -> Filter {
    Filter::build(&Lists { mask: words.to_vec(), ..Lists::default() }).unwrap()
}

fn published(filter: &Filter, text: &str) -> String {
    match filter.check(text) {
        Verdict::Masked(masked) => masked,
        Verdict::Clean => text.to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Text in which hits, near-hits and tricks are likely.
fn tricky() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            4 => prop_oneof![Just('a'), Just('b'), Just('l'), Just('敏'), Just('感'), Just('词')],
            1 => prop_oneof![Just('А'), Just('ａ'), Just('Ⓑ'), Just('敏'), Just('詞'), Just('1'), Just('が'), Just('か')],
            1 => prop_oneof![Just('*'), Just(' '), Just('，'), Just('❤'), Just('\u{200b}'), Just('\u{301}'), Just('\u{3099}'), Just('\u{fdfa}'), Just('@')],
        ],
        0..40,
    )
    .prop_map(String::from_iter)
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[abl]{1,6}", "[敏感词]{1,4}", "[ab敏感1]{1,4}", "[ab ❤*词]{1,3}[a敏]"]
}

/// Every place where a word of plain dense letters stands in a text, without any normalisation.
fn covered_by_oracle(words: &[String], text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut masked = chars.clone();
    for word in words {
        let word: Vec<char> = word.chars().collect();
        for at in 0..chars.len() {
            if chars[at..].starts_with(&word) {
                masked[at..at + word.len()].fill('*');
            }
        }
    }
    masked.into_iter().collect()
}

/// Every place where a lower-case word stands between non-letters.
fn stands_in(word: &str, text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_lowercase()).any(|w| w == word)
}

fn disguise(c: char, how: u8) -> String {
    match how % 6 {
        0 => c.to_uppercase().collect(),
        1 => char::from_u32(u32::from(c) + 0xfee0).filter(|_| c.is_ascii()).unwrap_or(c).to_string(),
        2 => format!("{c}\u{301}"),
        3 => format!("{c}\u{fe0f}"),
        4 => char::from_u32(u32::from('ⓐ') + u32::from(c) - u32::from('a'))
            .filter(|_| c.is_ascii())
            .unwrap_or(c)
            .to_string(),
        _ => c.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_survived(words in proptest::collection::vec(".{1,8}", 0..4), text in ".{0,60}") {
        hostile::check(words, &text);
    }

    #[test]
    fn tricky_text_is_survived(words in proptest::collection::vec(word(), 0..5), text in tricky()) {
        hostile::check(words, &text);
    }

    #[test]
    fn masking_twice_is_masking_once(words in proptest::collection::vec(word(), 1..5), text in tricky()) {
        let filter = masking(&words);
        let once = published(&filter, &text);
        prop_assert_eq!(published(&filter, &once), once);
    }

    #[test]
    fn plain_dense_text_agrees_with_a_naive_search(
        words in proptest::collection::vec("[甲乙丙丁]{1,4}", 1..6),
        text in "[甲乙丙丁戊]{0,30}",
    ) {
        let longer: Vec<_> = words.iter().filter(|w| w.chars().count() < 3).cloned().collect();
        // Words of three letters and more are also found stretched (甲乙乙丙), and what a mask brings together is masked
        // too: the naive search is a lower bound for all words, and exact for short ones in a single round.
        let naive = covered_by_oracle(&words, &text);
        for (n, m) in naive.chars().zip(published(&masking(&words), &text).chars()) {
            prop_assert!(n != '*' || m == '*');
        }
        let hit = masking(&longer).first_hit(&text).is_some();
        prop_assert_eq!(hit, covered_by_oracle(&longer, &text).contains('*'));
    }

    #[test]
    fn plain_latin_text_agrees_with_a_naive_search(word in "[abc]{1,5}", text in "[abc ]{0,30}") {
        let filter = masking(std::slice::from_ref(&word));
        if stands_in(&word, &text) {
            prop_assert!(filter.first_hit(&text).is_some());
        } else if word.len() < 3 {
            prop_assert_eq!(filter.first_hit(&text), None);
        }
    }

    #[test]
    fn a_planted_word_is_found(
        word in prop_oneof!["[a-z]{3,10}", "[敏感词汇暴力赌博]{2,6}"],
        before in "[你好世界 ]{0,8}",
        after in "[你好世界 ]{0,8}",
        how in proptest::collection::vec((any::<u8>(), "[*._~❤ -]{1,4}\u{200b}?"), 10),
        spelled in any::<bool>(),
    ) {
        // Through symbols only words long enough are looked for; shorter ones are planted spelled out or unbroken.
        let last = word.chars().count() - 1;
        let disguised: String = word.chars().zip(&how).enumerate().map(|(i, (c, (how, gap)))| {
            disguise(c, *how) + if spelled && i < last { gap } else { "\u{2060}" }
        }).collect();
        let text = format!("{before}{disguised}{after}");
        let expected = before.chars().chain(disguised.trim_end_matches(['\u{2060}', '\u{301}', '\u{fe0f}']).chars().map(|_| '*'))
            .chain(disguised.chars().rev().take_while(|c| matches!(c, '\u{2060}' | '\u{301}' | '\u{fe0f}')).collect::<Vec<_>>().into_iter().rev())
            .chain(after.chars()).collect::<String>();
        prop_assert_eq!(published(&masking(&[word]), &text), expected);
    }

    #[test]
    fn a_word_broken_once_is_found(word in "[a-z]{4,10}", at in 1..4usize, symbol in "[*._~❤@#-]{1,3}") {
        let text = format!("{}{symbol}{}", &word[..at], &word[at..]);
        prop_assert_eq!(published(&masking(&[word]), &text), "*".repeat(text.chars().count()));
    }
}

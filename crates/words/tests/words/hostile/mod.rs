//! What must hold for any words and any text. Shared by the property tests and the fuzz target.

use words::{
    Filter, Lists, NAME_CHARS_MAX, Verdict, clean_name, fold_key, normalise, same_text_key, sanitise, sanitise_lines,
};

/// Panics when a promise of the crate is broken. The text is tried with the words as masks, then as blocks.
pub fn check(words: Vec<String>, text: &str) {
    check_cleaning(text);
    let _ = (normalise(text), fold_key(text), same_text_key(text));
    let Ok(masks) = Filter::build(&Lists { mask: words.clone(), ..Lists::default() }) else {
        return;
    };
    let blocks = Filter::build(&Lists { block: words, ..Lists::default() }).expect("masks were accepted");
    match masks.check(text) {
        Verdict::Clean => {
            assert_eq!(masks.first_hit(text), None);
            assert_eq!(blocks.check(text), Verdict::Clean);
        }
        Verdict::Masked(masked) => {
            assert!(masks.first_hit(text).is_some());
            assert!(matches!(blocks.check(text), Verdict::Block { .. }));
            check_mask(text, &masked);
            assert!(matches!(masks.check(&masked), Verdict::Clean | Verdict::Masked(_)));
        }
        other => panic!("{other:?} without such a list"),
    }
}

fn check_mask(text: &str, masked: &str) {
    assert_eq!(masked.chars().count(), text.chars().count());
    assert!(text.chars().zip(masked.chars()).all(|(c, m)| m == c || m == '*'), "{text:?} became {masked:?}");
}

fn check_cleaning(text: &str) {
    let clean = sanitise(text);
    assert_eq!(sanitise(&clean), clean, "cleaning {text:?} again");
    assert!(clean.len() <= text.len());
    assert!(!clean.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')));
    assert_eq!(clean.trim(), clean);
    let lines = sanitise_lines(text);
    assert_eq!(sanitise_lines(&lines), lines, "cleaning the lines of {text:?} again");
    if let Some(name) = clean_name(text) {
        assert!((1..=NAME_CHARS_MAX).contains(&name.chars().count()));
        assert_eq!(clean_name(&name).as_deref(), Some(name.as_str()), "cleaning the name {text:?} again");
    }
}

//! Cleaning, and the keys under which texts count as the same.

use std::borrow::Cow;

use words::{NAME_CHARS_MAX, clean_name, fold_key, normalise, same_text_key, sanitise, sanitise_lines};

#[test]
fn near_identical_texts_share_a_key() {
    for same in [
        &["66666", "666", "６６６６", "6 6 6", "666！！"][..],
        &["哈哈哈哈", "哈哈哈", "哈哈", "哈 哈 哈~"],
        &["Nice!!", "nice", "ＮＩＣＥ。", "n\u{200b}ice", "nice👍"],
        &["頭髮", "头发"],
        &["！！！", "!", "！"],
        &["❤❤❤", "❤️", "❤"],
        &["-1", " －１！"],
    ] {
        for text in same {
            assert_eq!(normalise(text), normalise(same[0]), "{text:?}");
            assert_eq!(fold_key(text), fold_key(same[0]), "{text:?}");
        }
    }
}

#[test]
fn different_texts_do_not() {
    let texts = [
        "好", "坏", "哈", "good", "god", "❤", "👍", "!", "?", "。", "3:2", "32", "-1", "+1", "1", "\u{200b}",
        "\u{200c}", " ", "🇨🇳", "🇯🇵", "",
    ];
    for (i, a) in texts.iter().enumerate() {
        for b in &texts[i + 1..] {
            assert_ne!(fold_key(a), fold_key(b), "{a:?} {b:?}");
        }
    }
}

#[test]
fn the_same_text_is_the_same_however_it_is_typed() {
    assert_eq!(same_text_key(" Hello　World "), same_text_key("ｈello world"));
    assert_eq!(same_text_key("a\u{200b}b"), same_text_key("ab"));
    for (a, b) in
        [("hello", "hello!"), ("666", "6666"), ("頭", "头"), (" ", ""), ("\u{200b}", "\u{200c}"), ("ab", "a b")]
    {
        assert_ne!(same_text_key(a), same_text_key(b), "{a:?} {b:?}");
    }
}

/// Other processes, and later versions, compare with these.
#[test]
fn keys_never_change() {
    assert_eq!(fold_key("nice"), KEYS.0);
    assert_eq!(same_text_key("nice!"), KEYS.1);
}
const KEYS: (u64, u64) = (8_133_551_725_785_838_776, 10_186_283_828_000_853_887);

#[test]
fn comments_are_cleaned() {
    for (text, clean) in [
        ("  hi 你好  ", "hi 你好"),
        ("a\0b\u{7}c\u{9f}d", "abcd"),
        ("one\r\n\r\n  two\tthree\u{2028}four", "one two three four"),
        ("a  b", "a  b"),
        ("\u{202e}evil\u{202c} \u{2066}x\u{2069}\u{200f}", "evil x"),
        ("敏\u{200b}\u{2060}\u{feff}感", "敏感"),
        ("👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 a\u{200d}b", "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 ab"),
        ("می\u{200c}خواهم क्\u{200d}ष", "می\u{200c}خواهم क्\u{200d}ष"),
        ("می\u{200c}\u{200c}خ", "می\u{200c}خ"),
        (
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        ),
        ("x\u{e0067}\u{e007f}", "x"),
        ("\u{301}e\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}", "e\u{301}\u{302}\u{303}\u{304}"),
        ("❤\u{fe0f}\u{fe0f}\u{fe0f}", "❤\u{fe0f}"),
        ("\u{3164}\u{2800} \u{ffa0}", ""),
        ("\u{feff}", ""),
        ("a \u{200b}\n b", "a b"),
        ("สวัสดี", "สวัสดี"),
    ] {
        assert_eq!(sanitise(text), clean, "{text:?}");
    }
    assert!(matches!(sanitise(" 前方高能 "), Cow::Borrowed("前方高能")));
    assert!(matches!(sanitise("👨\u{200d}👩\u{200d}👧"), Cow::Borrowed(_)));
}

#[test]
fn writing_stays_as_it_is_written() {
    for text in [
        "അവന്\u{200d} വന്നു",
        "അവന്\u{200d}",
        "উৎ ত্\u{200d}",
        "نه\u{200d}",
        "ه\u{200d} ق",
        "می\u{200c} خواهم",
        "\u{1828}\u{180e}\u{1820} \u{182e}\u{1823}\u{1829}\u{200d}",
        "\u{1820}\u{180b}",
        "( ͡° ͜ʖ ͡°)",
        "( ͡°( ͡° ͜ʖ( ͡° ͜ʖ ͡°)ʖ ͡°) ͡°)",
        "( • ̀ω•́ )✧",
        "(｡•́︿•̀｡) ಠ_ಠ ¯\\_(ツ)_/¯",
        "नमस्ते สวัสดี مرحبا بالعالم! שלום",
    ] {
        assert_eq!(sanitise(text), text, "{text:?}");
    }
    for (text, clean) in [
        ("word\u{200d} 敏\u{200c}感\u{200d}", "word 敏感"),
        ("١\u{200d}٢", "١٢"),
        ("نه\u{200d}\u{200d}\u{200c}", "نه\u{200d}"),
        ("mongol\u{180e} \u{180b}", "mongol"),
        (" \u{301}x", "x"),
        ("a \u{301}\u{301}\u{301}\u{301}\u{301}\u{301}b", "a \u{301}\u{301}\u{301}\u{301}b"),
        ("a\n\u{301}b", "a \u{301}b"),
    ] {
        assert_eq!(sanitise(text), clean, "{text:?}");
    }
}

#[test]
fn lines_stay_lines() {
    for (text, clean) in [
        (" one ", "one"),
        ("  /\\\n /  \\ \n\u{3000}==", "  /\\\n /  \\\n\u{3000}=="),
        ("\n \n\ta\u{202e}\r\n\n  b\n\n", " a\n\n  b"),
        ("\n only\n", "only"),
        ("\n\u{200b}\n", ""),
    ] {
        assert_eq!(sanitise_lines(text), clean, "{text:?}");
        assert_eq!(sanitise_lines(clean), clean, "{text:?}");
    }
}

#[test]
fn names_are_cleaned_as_texts_are() {
    let long = "长".repeat(40);
    let marked = format!("A{}", "\u{301}".repeat(25));
    for (name, clean) in [
        (" 小明 ", Some("小明")),
        ("a\u{202e}b\u{200b}\n c\0", Some("ab c")),
        (marked.as_str(), Some("A\u{301}\u{301}\u{301}\u{301}")),
        ("\u{200b}\u{3164} \u{2800}\u{200d}\u{fe0f}\u{301}", None),
        ("", None),
    ] {
        assert_eq!(clean_name(name).as_deref(), clean, "{name:?}");
    }
    assert_eq!(clean_name(&long).map(|name| name.chars().count()), Some(NAME_CHARS_MAX));
    let family = format!("{}👨\u{200d}👩", "x".repeat(NAME_CHARS_MAX - 2));
    assert_eq!(clean_name(&family), Some(format!("{}👨", "x".repeat(NAME_CHARS_MAX - 2))), "no half of an emoji");
}

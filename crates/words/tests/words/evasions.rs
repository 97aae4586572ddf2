//! What people write, and what the filter makes of it.

// A test may panic.
#![allow(clippy::unwrap_used)]

use words::{BuildError, Filter, Lists, PATTERNS_MAX, Verdict, WORDS_MAX, dry_run, validate_word};

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| w.to_string()).collect()
}

fn masking(words: &[&str]) -> Filter {
    Filter::build(&Lists { mask: list(words), ..Lists::default() }).unwrap()
}

/// The text as published.
fn published(filter: &Filter, text: &str) -> String {
    match filter.check(text) {
        Verdict::Clean => text.to_owned(),
        Verdict::Masked(masked) => masked,
        other => panic!("{text:?}: {other:?}"),
    }
}

#[track_caller]
fn check_table(filter: &Filter, table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(published(filter, text), *expected, "{text:?}");
    }
}

#[test]
fn private_texts_are_masked_and_blocked_but_never_held() {
    let lists = Lists { mask: list(&["darn"]), review: list(&["hold"]), block: list(&["spam"]) };
    let filter = Filter::build(&lists).unwrap();
    assert_eq!(filter.check_private("darn, hold on"), Verdict::Masked("****, hold on".into()));
    assert_eq!(filter.check_private("hold on"), Verdict::Clean);
    assert_eq!(filter.check_private("hold the spam"), Verdict::Block { word: "spam".into() });
    assert_eq!(filter.check("darn, hold on"), Verdict::Review { word: "hold".into() });
}

#[test]
fn chinese_words_are_found_however_they_are_written() {
    let filter = masking(&["敏感词", "暴力", "赌博网站", "加微信", "㊙密", "乾隆", "法轮功"]);
    check_table(
        &filter,
        &[
            ("这是敏感词啊", "这是***啊"),
            ("敏*感 词", "*****"),
            ("敏❤感词", "****"),
            ("敏❤️感👨‍👩‍👧词", "**********"),
            ("敏\u{200b}感\u{feff}词", "*****"),
            ("敏\u{fe0f}感\u{301}词", "*****"),
            ("敏.感.词", "*****"),
            ("敏，感，词", "*****"),
            ("敏感\n词", "****"),
            ("敏敏感感词词", "敏****词"),
            ("暴*力", "***"),
            ("暴 力", "***"),
            ("暴力", "**"),
            ("賭博網站", "****"),
            ("賭 博 網 站 送钱", "******* 送钱"),
            ("加薇信 加微_信", "加薇信 ****"),
            ("秘密", "**"),
            ("㊙️密", "***"),
            ("乾隆", "**"),
            ("法⃝轮⃝功⃝", "*****⃝"),
            ("⼒暴⼒", "⼒**"),
        ],
    );
}

#[test]
fn two_characters_around_a_comma_are_two_words() {
    let filter = masking(&["共产", "一个"]);
    check_table(&filter, &[("公共，产品", "公共，产品"), ("统一。个人", "统一。个人"), ("共-产", "***")]);
}

#[test]
fn a_wide_gap_parts_a_word() {
    let filter = masking(&["敏感词"]);
    check_table(&filter, &[("敏********感词", "***********"), ("敏*********感词", "敏*********感词")]);
}

#[test]
fn english_words_are_found_however_they_are_written() {
    let filter = masking(&["fuck", "bad", "ass", "paypal", "shit", "kill yourself", "god"]);
    check_table(
        &filter,
        &[
            ("FUCK you", "**** you"),
            ("ＦＵＣＫ", "****"),
            ("Ⓕⓤⓒⓚ 🅵🆄🅲🅺 𝒻𝓊𝒸𝓀 𝕱𝖚𝖈𝖐", "**** **** **** ****"),
            ("fuⅽk", "****"),
            ("fúck fu\u{308}ck", "**** *****"),
            ("fu*ck f-u-c-k f u c k", "***** ******* *******"),
            ("f\u{200d}u\u{2060}ck", "******"),
            ("fuuuuck", "*******"),
            ("你fuck吧", "你****吧"),
            ("fuck666", "****666"),
            ("b.a.d", "*****"),
            ("so b a d!", "so *****!"),
            ("baaaad", "******"),
            ("a-s-s", "*****"),
            ("раypal РАYPАL pаypal", "****** ****** ******"),
            ("paypaI", "******"),
            ("sh1t $hit sh!t s.h.1.t", "**** **** **** *******"),
            ("ꜰᴜᴄᴋ ғuсk", "**** ****"),
            ("kill   yourself killyourself", "*************** ************"),
            ("🅱️ad", "****"),
        ],
    );
}

#[test]
fn innocent_english_is_left_alone() {
    let filter = masking(&["ass", "bad", "shit", "god", "shell", "therapist", "kill", "hell", "anal", "paypal"]);
    for text in [
        "class",
        "assassin",
        "badge",
        "it's hit",
        "push it",
        "good goods",
        "she'll be there",
        "the rapist",
        "a s so",
        "as so",
        "analysis",
        "1he11o skills kiil",
        "pay pal",
        "cl\u{200b}ass",
        "ｃｌａｓｓ",
        "5417 8080",
    ] {
        assert_eq!(filter.check(text), Verdict::Clean, "{text:?}");
    }
}

#[test]
fn mixed_words_and_symbols() {
    let filter = masking(&["加vx", "c++", "🔞", "微❤信", "8964", "AV女优", "***", "！"]);
    check_table(
        &filter,
        &[
            ("加ＶＸ123", "***123"),
            ("加 v x", "*****"),
            ("C++很好 abc++", "***很好 abc++"),
            ("🔞片", "*片"),
            ("微❤信", "***"),
            ("微信", "微信"),
            ("8964 18964 8-9-6-4 ⑧⑨⑥④", "**** 18964 ******* ****"),
            ("看av女優", "看****"),
            ("a***b", "a***b"),
            ("好!", "好*"),
        ],
    );
}

#[test]
fn kana_hangul_and_others() {
    let filter = masking(&["ばか", "バカ", "바보", "株式会社", "дурак", "ควย"]);
    check_table(
        &filter,
        &[
            ("はか", "はか"),
            ("は\u{3099}か", "***"),
            ("は゛か", "***"),
            ("ﾊﾞｶ", "***"),
            ("바보야", "**야"),
            ("\u{1107}\u{1161}\u{1107}\u{1169}", "****"),
            ("バ・カ", "***"),
            ("㍿です", "*です"),
            ("ДУРАК! дурака", "*****! дурака"),
            ("ควย", "***"),
        ],
    );
}

#[test]
fn overlapping_and_longest_matches_are_all_covered() {
    let filter = masking(&["敏感", "敏感词", "感词汇", "词", "汇表格"]);
    check_table(&filter, &[("敏感词汇表格子", "******子"), ("敏感", "**"), ("感词", "感*")]);
}

#[test]
fn what_a_mask_brings_together_is_masked_too() {
    let filter = masking(&["坏蛋"]);
    check_table(&filter, &[("坏坏蛋蛋", "****")]);
}

#[test]
fn block_beats_review_beats_mask() {
    let filter =
        Filter::build(&Lists {
            mask: list(&["甲", "同"]), review: list(&["乙", "同"]), block: list(&["丙", "同"])
        })
        .unwrap();
    assert_eq!(filter.check("甲"), Verdict::Masked("*".into()));
    assert_eq!(filter.check("甲乙"), Verdict::Review { word: "乙".into() });
    assert_eq!(filter.check("甲丙乙"), Verdict::Block { word: "丙".into() });
    assert_eq!(filter.check("同"), Verdict::Block { word: "同".into() });
    assert_eq!(filter.check("丁"), Verdict::Clean);
    assert_eq!(filter.check(""), Verdict::Clean);
}

#[test]
fn the_listed_spelling_is_reported() {
    let filter = Filter::build(&Lists { block: list(&["ＦＵＣＫ"]), ..Lists::default() }).unwrap();
    assert_eq!(filter.check("f*u*c*k"), Verdict::Block { word: "ＦＵＣＫ".into() });
}

#[test]
fn an_expanding_character_is_masked_once() {
    let filter = masking(&["الله"]);
    assert_eq!(published(&filter, "好\u{fdf2}"), "好*");
    assert_eq!(published(&filter, &"\u{fdf2} ".repeat(3)), "* * * ");
}

#[test]
fn lists_are_validated() {
    let with = |word: &str| Filter::build(&Lists { review: list(&["好", word]), ..Lists::default() }).map(|f| f.len());
    for empty in ["", "  ", "\u{200b}\u{fe0f}", "\u{301}"] {
        assert!(matches!(with(empty), Err(BuildError::Empty { .. })), "{empty:?}");
    }
    assert_eq!(with(&"长".repeat(64)), Ok(2));
    let long = "长".repeat(65);
    assert_eq!(with(&long), Err(BuildError::TooLong { word: "长".repeat(64) }));
    assert_eq!(validate_word(&long), Err(BuildError::TooLong { word: "长".repeat(64) }));
    assert_eq!(validate_word("好"), Ok(()));
    let many = Lists { mask: vec!["x".into(); WORDS_MAX + 1], ..Lists::default() };
    assert_eq!(Filter::build(&many).unwrap_err(), BuildError::TooMany { count: WORDS_MAX + 1 });
    assert_eq!(
        with("\u{200b}").unwrap_err().to_string(),
        "the word \"\\u{200b}\" is empty once spaces and invisible characters are dropped"
    );
}

#[test]
fn lists_read_and_write_as_json() {
    let lists: Lists = serde_json::from_str(r#"{"mask": ["a"], "later": 1}"#).unwrap();
    assert_eq!(lists, Lists { mask: list(&["a"]), ..Lists::default() });
    assert_eq!(serde_json::to_string(&lists).unwrap(), r#"{"mask":["a"],"review":[],"block":[]}"#);
}

#[test]
fn a_dry_run_counts_and_names_the_words() {
    let filter = Filter::build(&Lists { mask: list(&["哈"]), review: list(&["乙"]), block: list(&["丙"]) }).unwrap();
    let report = dry_run(&filter, ["哈哈", "哈乙", "丙", "好", "哈"]);
    assert_eq!((report.checked, report.mask_hits, report.review_hits, report.block_hits), (5, 2, 1, 1));
    assert_eq!(report.words.first().map(|w| (w.word.as_str(), w.hits)), Some(("哈", 2)));
    assert_eq!(report.samples.iter().map(|s| s.text.as_str()).collect::<Vec<_>>(), ["哈哈", "哈乙", "丙", "哈"]);
    let many = dry_run(&filter, vec!["哈"; 1000]);
    assert_eq!((many.samples.len(), many.mask_hits), (words::SAMPLES_MAX, 1000));
}

#[test]
fn an_entry_may_say_how_it_matches() {
    let filter = masking(&["word:敏感", "inside:bad", "word:c4t", "regex:spa+m|v\\s*x\\d+", "inside:word:x"]);
    check_table(
        &filter,
        &[
            ("敏感", "**"),
            ("很敏感词", "很敏感词"),
            ("很 敏感，词", "很 **，词"),
            ("敏感a", "**a"),
            ("badge sobads", "***ge so***s"),
            ("sobaaadly", "so*****ly"),
            ("so baaad", "so *****"),
            ("B-A-D", "*****"),
            ("rob a dog", "rob a dog"),
            ("c4t c4ts", "*** c4ts"),
            ("SPAAAM spm", "****** spm"),
            ("加V X123", "加******"),
            ("加ＶＸ①②", "加****"),
            ("a word:x b", "a ****** b"),
        ],
    );
}

#[test]
fn words_stand_alone_where_their_script_puts_spaces() {
    let filter = masking(&["ass", "дурак", "敏感", "ばか", "바보", "加vx"]);
    check_table(
        &filter,
        &[
            ("class ass", "class ***"),
            ("дурака дурак", "дурака *****"),
            ("很敏感词", "很**词"),
            ("おばかさん", "お**さん"),
            ("바보야", "**야"),
            ("请加vxa", "请***a"),
        ],
    );
}

#[test]
fn stretched_letters_fold() {
    let filter = masking(&["bad", "good", "敏感词"]);
    check_table(
        &filter,
        &[
            ("baaad BAAAAD badddd bbbaaaddd", "***** ****** ****** *********"),
            ("goooood gooodd", "******* gooodd"),
            ("ｂａａａｄ b.a.a.a.d", "***** *********"),
            ("敏敏感感感词", "敏*****"),
        ],
    );
    for innocent in ["baad", "god", "baaadge"] {
        assert_eq!(filter.check(innocent), Verdict::Clean, "{innocent}");
    }
}

#[test]
fn patterns_decide_as_words_do() {
    let lists = Lists {
        mask: list(&["regex:bad"]),
        review: list(&["regex:^hold"]),
        block: list(&["regex:never (ever )?again$"]),
    };
    let filter = Filter::build(&lists).unwrap();
    assert_eq!(filter.check("hold bad"), Verdict::Review { word: "regex:^hold".into() });
    assert_eq!(filter.check_private("hold bad"), Verdict::Masked("hold ***".into()));
    assert_eq!(filter.check("Never again"), Verdict::Block { word: "regex:never (ever )?again$".into() });
    assert_eq!(dry_run(&filter, ["bad", "bad"]).words[0].word, "regex:bad");
}

#[test]
fn patterns_are_bounded_and_refused_with_a_reason() {
    let refused = |entry: &str| {
        let error = Filter::build(&Lists { block: list(&[entry]), ..Lists::default() }).unwrap_err();
        assert_eq!(validate_word(entry), Err(error.clone()));
        error.to_string()
    };
    assert_eq!(refused("regex:(a"), "the pattern \"(a\" cannot be used: unclosed group");
    assert_eq!(refused("regex:a*"), "the pattern \"a*\" cannot be used: it matches the empty text, and so everything");
    assert_eq!(refused("regex:\\w{1000}"), "the pattern \"\\\\w{1000}\" cannot be used: it is too large once compiled");
    assert!(refused("regex:(a)\\1").contains("backreferences are not supported"));
    assert!(refused(&format!("regex:{}", "a".repeat(201))).ends_with("it may have 200 characters"));
    for empty in ["regex:", "word:", "inside: \u{200b}"] {
        assert!(refused(empty).contains("is empty"), "{empty:?}");
    }
    assert!(refused(&format!("好{}", "\u{200b}".repeat(200))).contains("512 bytes"));
    let many = Lists { mask: (0..=PATTERNS_MAX).map(|n| format!("regex:a{n}")).collect(), ..Lists::default() };
    assert_eq!(Filter::build(&many).unwrap_err(), BuildError::TooManyPatterns { count: PATTERNS_MAX + 1 });
}

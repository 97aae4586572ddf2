//! How one character is folded before it is compared, and what kind of character it is.
//!
//! Owns the tables (traditional to simplified, letters that look like Latin ones). Called by `letters`,
//! which turns a text into folded letters with their origins. Never sees more than one character.
//!
//! Folding is done character by character on lists and texts alike, so it need not be right as a translation,
//! only the same on both sides: 乾隆 and 乾燥 both begin with 干 here, whatever a dictionary says.

use std::sync::LazyLock;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// What a folded character is, as far as word boundaries and inserted symbols care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A letter of a script that puts spaces between words: Latin, Cyrillic, Greek, Arabic…
    Letter,
    /// A digit or other number of those scripts.
    Digit,
    /// A letter of a script written without spaces, or whose words take endings: Chinese, kana, Hangul, Thai…
    Dense,
    /// White space.
    Space,
    /// Punctuation that ends a clause, so that what follows is rarely the same word.
    Clause,
    /// An apostrophe, which is part of ordinary English words.
    Apostrophe,
    /// Every other symbol, emoji included.
    Symbol,
}

impl Kind {
    /// Letters and digits: what remains when inserted symbols are dropped.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Kind::Letter | Kind::Digit | Kind::Dense)
    }
}

/// The kind of a folded character.
pub(crate) fn kind(c: char) -> Kind {
    match c {
        'a'..='z' => Kind::Letter,
        '0'..='9' => Kind::Digit,
        '\u{4e00}'..='\u{9fff}' => Kind::Dense,
        ',' | ';' | ':' | '!' | '?' | '"' | '。' | '、' | '「' | '」' | '“' | '”' => Kind::Clause,
        '\'' | '’' | '‘' => Kind::Apostrophe,
        c if c.is_whitespace() => Kind::Space,
        c if !c.is_alphanumeric() => Kind::Symbol,
        c if is_dense(c) => Kind::Dense,
        c if c.is_numeric() => Kind::Digit,
        _ => Kind::Letter,
    }
}

fn is_dense(c: char) -> bool {
    matches!(u32::from(c),
        0x0e00..=0x109f      // Thai, Lao, Tibetan, Myanmar
        | 0x1100..=0x11ff    // Hangul jamo
        | 0x1780..=0x17ff    // Khmer
        | 0x1950..=0x19df    // Tai Le, New Tai Lue
        | 0x2e80..=0x9fff    // CJK, kana, bopomofo
        | 0xa960..=0xa97f | 0xac00..=0xd7ff // Hangul
        | 0xf900..=0xfaff
        | 0x1aff0..=0x1b16f  // kana supplements
        | 0x20000..=0x3ffff)
}

/// Calls `emit` with what `c` folds to: nothing for what is invisible, several characters for ligatures.
///
/// Compatibility decomposition (NFKD, UAX #15), lower case, traditional Chinese to simplified, combining marks and
/// default-ignorable characters dropped, every white space a plain space. The caller joins what [`joins_back`] names.
pub(crate) fn fold(c: char, emit: &mut impl FnMut(char)) {
    match c {
        'a'..='z' | '!'..='@' => emit(c),
        'A'..='Z' => emit(c.to_ascii_lowercase()),
        '\u{3400}'..='\u{9fff}' => emit(simplified(c)),
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{ac00}'..='\u{d7a3}' => emit(c),
        c if c.is_whitespace() => emit(' '),
        c if is_ignorable(c) => {}
        // Spacing voice marks: NFKC would put a space before them.
        '\u{309b}' => emit('\u{3099}'),
        '\u{309c}' => emit('\u{309a}'),
        c => match stylised(c) {
            Some(s) => emit(s),
            None => decompose_compatible(c, |d| fold_decomposed(d, emit)),
        },
    }
}

fn fold_decomposed(c: char, emit: &mut impl FnMut(char)) {
    match c {
        c if joins_back(c) => emit(c),
        c if is_ignorable(c) || is_dropped_mark(c) => {}
        c if c.is_whitespace() => emit(' '),
        'ς' => emit('σ'),
        'ß' | 'ẞ' => ['s', 's'].into_iter().for_each(emit),
        c => c.to_lowercase().map(simplified).for_each(emit),
    }
}

/// True for voice marks and Hangul vowels and finals, which combine with the letter before them
/// (`か` + `゛` is `が`, `ㅎ` + `ㅏ` is `하`), unlike the combining marks that folding drops.
pub(crate) fn joins_back(c: char) -> bool {
    matches!(c, '\u{3099}' | '\u{309a}' | '\u{1161}'..='\u{1175}' | '\u{11a8}'..='\u{11c2}')
}

/// Marks over and under letters. Those that are vowels of their script (Thai, Devanagari…) are alphabetic and stay,
/// except the Latin letters written as marks (U+0363–036F), which only decorate.
fn is_dropped_mark(c: char) -> bool {
    is_combining_mark(c) && (!c.is_alphabetic() || ('\u{300}'..='\u{36f}').contains(&c))
}

/// Characters without a picture: controls and the default-ignorable ones (Unicode, `DerivedCoreProperties`),
/// and the Arabic tatweel, which only stretches a word.
pub(crate) fn is_ignorable(c: char) -> bool {
    if matches!(c, ' '..='~' | '\u{3165}'..='\u{d7ff}') {
        return false; // Nearly all text.
    }
    matches!(u32::from(c),
        0x00..=0x08 | 0x0e..=0x1f | 0x7f..=0x84 | 0x86..=0x9f | 0xad | 0x34f | 0x61c | 0x640
        | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
        | 0x202a..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0
        | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

/// Circled and squared letters and digits that have no compatibility decomposition.
fn stylised(c: char) -> Option<char> {
    let code = u32::from(c);
    let letter = |first: u32| char::from_u32(u32::from('a') + code - first);
    let digit = |first: u32| char::from_u32(u32::from('1') + code - first);
    match code {
        0x1f150..=0x1f169 => letter(0x1f150),
        0x1f170..=0x1f189 => letter(0x1f170),
        0x24f5..=0x24fd => digit(0x24f5),
        0x2776..=0x277e => digit(0x2776),
        0x2780..=0x2788 => digit(0x2780),
        0x278a..=0x2792 => digit(0x278a),
        0x24ff => Some('0'),
        _ => None,
    }
}

const HAN: std::ops::RangeInclusive<char> = '\u{3400}'..='\u{9fff}';

/// Simplified form of each character of [`HAN`].
static SIMPLIFIED: LazyLock<Vec<char>> = LazyLock::new(|| HAN.map(simplify).collect());

fn simplify(c: char) -> char {
    match c {
        // The library converts these by their neighbours; alone they would stay apart from their simplified form.
        '著' => '着',
        '藉' => '借',
        c => fast2s::convert(c.encode_utf8(&mut [0; 4])).chars().next().unwrap_or(c),
    }
}

fn simplified(c: char) -> char {
    match u32::from(c).checked_sub(u32::from(*HAN.start())) {
        Some(at) => SIMPLIFIED.get(at as usize).copied().unwrap_or(c),
        None => c,
    }
}

/// How far a letter of the lookalike view is from the plain letter it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disguise {
    /// The letter itself (or not a disguised letter at all).
    Plain,
    /// A letter of another script or style with the same shape: Cyrillic `а`, small capital `ꜰ`.
    Homoglyph,
    /// A digit or symbol used as a letter: `0`, `$`.
    Leet,
}

/// The Latin letter that `c` looks like when it is not that letter, whatever its neighbours.
pub(crate) fn homoglyph(c: char) -> Option<char> {
    match u32::from(c) {
        code @ 0x80..=0xffff => match HOMOGLYPHS.get(code as usize) {
            None | Some(0) => None,
            Some(latin) => Some(char::from(*latin)),
        },
        code @ 0x1f1e6..=0x1f1ff => char::from_u32(u32::from('a') + code - 0x1f1e6),
        _ => None,
    }
}

/// The letter a digit or symbol is used for. `1`, `!` and `|` stand for `i`, and `l` counts as `i` in that view.
pub(crate) fn leet(c: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        _ => return None,
    })
}

/// By code point below U+10000: the Latin letter it looks like, or 0.
///
/// From Unicode's confusables (UTS #39 skeletons, marks ignored), for scripts whose letters pass for Latin ones; a
/// small letter without an entry takes its capital's (`к` from `К`). Small capitals and `ғ` are not in that data.
static HOMOGLYPHS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let shapes: Vec<(String, u8)> =
        ('a'..='z').flat_map(|c| [(shape(c), c as u8), (shape(c.to_ascii_uppercase()), c as u8)]).collect();
    // `I` and `l` share a shape; both read as `i` in the lookalike view, so the first found is as good.
    let latin = |c: char| shapes.iter().find(|(s, _)| *s == shape(c)).map(|(_, latin)| *latin);
    let mut table = vec![0; 0x10000];
    for c in LOOKALIKE_SCRIPTS.iter().cloned().flatten().filter(|c| c.is_alphabetic()) {
        // What folding already makes Latin is no disguise: é.
        let mut folds_to_latin = false;
        fold(c, &mut |f| folds_to_latin |= f.is_ascii());
        if folds_to_latin {
            continue;
        }
        let upper = c.to_uppercase().next().filter(|upper| !upper.is_ascii());
        let found = latin(c).or_else(|| upper.and_then(latin));
        if let (Some(slot), Some(found)) = (table.get_mut(c as usize), found) {
            *slot = found;
        }
    }
    for (c, latin) in "ᴀʙᴅᴇɢʜɪᴊᴋʟᴍɴᴘʀꜰꜱᴛʏғ".chars().zip("abdeghijklmnprfstyf".bytes()) {
        if let Some(slot) = table.get_mut(c as usize) {
            *slot = latin;
        }
    }
    table
});

const LOOKALIKE_SCRIPTS: [std::ops::RangeInclusive<char>; 8] = [
    '\u{00c0}'..='\u{058f}', // Latin with marks and extended, IPA, Greek, Cyrillic, Armenian
    '\u{13a0}'..='\u{13ff}', // Cherokee
    '\u{1d00}'..='\u{1dbf}', // phonetic extensions
    '\u{1e00}'..='\u{1fff}',
    '\u{2c60}'..='\u{2dff}', // Latin extended, Coptic, Georgian
    '\u{a4d0}'..='\u{a4ff}', // Lisu
    '\u{a640}'..='\u{a7ff}',
    '\u{ab30}'..='\u{abbf}',
];

fn shape(c: char) -> String {
    unicode_security::skeleton(c.encode_utf8(&mut [0; 4])).filter(|c| !is_combining_mark(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut out = String::new();
        text.chars().for_each(|c| fold(c, &mut |f| out.push(f)));
        out
    }

    #[test]
    fn folds_to_one_form() {
        for (from, to) in [
            ("ＶＸ１２３", "vx123"),
            ("㊙\u{fe0f}", "秘"),
            ("①②③", "123"),
            ("❶⓵⓿", "110"),
            ("𝒻𝓊𝒸𝓀 Ⓕⓤⓒⓚ 🅵🆄🅲🅺", "fuck fuck fuck"),
            ("賭博網站", "赌博网站"),
            ("頭髮發展", "头发发展"),
            ("乾燥乾隆", "干燥干隆"),
            ("看著借藉", "看着借借"),
            ("e\u{301}é\u{363}", "ee"),
            ("a\u{200b}\u{202e}\u{feff}\u{ad}b", "ab"),
            ("Straße ΣΑΣ", "strasse σασ"),
            ("ﬁ㎏㍍", "fikgメートル"),
            ("สวัสดี", "สวัสดี"),
            ("\u{3000}\t", "  "),
        ] {
            assert_eq!(folded(from), to, "{from:?}");
        }
    }

    #[test]
    fn knows_letters_that_look_latin() {
        let seen: String = "рауѕсехкКВіøꜰɪᴋοΑᴄԁ".chars().map(|c| homoglyph(c).unwrap_or('?')).collect();
        assert_eq!(seen, "payscexkkbiofikoacd");
        // `l`, `I` and what looks like them share one shape.
        assert!(matches!((homoglyph('ł'), homoglyph('ӏ')), (Some('i' | 'l'), Some('i' | 'l'))));
        assert_eq!(homoglyph('к'), Some('k'));
        for plain in "aé1中あ한!".chars() {
            assert_eq!(homoglyph(plain), None, "{plain}");
        }
    }
}

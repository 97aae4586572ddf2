//! Terms that a room does not want to read, with `*` for any letters. Called by `ingest`, which keeps them compiled.
//!
//! Texts and terms are compared as near-identical texts are: case, width, style, punctuation and repeated letters do not
//! count. Linear in the text for each term.

/// A room's terms.
#[derive(Debug, Default)]
pub struct Terms(Vec<Term>);

#[derive(Debug)]
struct Term {
    /// What stands between the stars, in order.
    pieces: Vec<String>,
    /// Whether something may stand before and after.
    open: (bool, bool),
    /// Looked for in the whole text instead of in each word: it has a space, or is of a script without spaces.
    is_anywhere: bool,
}

impl Term {
    fn new(term: &str) -> Option<Self> {
        let pieces: Vec<String> = term.split('*').map(words::normalise).filter(|piece| !piece.is_empty()).collect();
        let is_anywhere = term.trim().chars().any(|c| c.is_whitespace() || c >= '\u{2e80}');
        let open = (term.starts_with('*') || is_anywhere, term.ends_with('*') || is_anywhere);
        (!pieces.is_empty()).then_some(Self { pieces, open, is_anywhere })
    }

    fn fits(&self, text: &str) -> bool {
        let (mut rest, last) = (text, self.pieces.len() - 1);
        for (n, piece) in self.pieces.iter().enumerate() {
            let is_last = n == last && !self.open.1;
            rest = match (n == 0 && !self.open.0, is_last) {
                (true, true) => return rest == piece,
                (true, false) => match rest.strip_prefix(piece.as_str()) {
                    Some(rest) => rest,
                    None => return false,
                },
                (false, true) => return rest.ends_with(piece.as_str()),
                (false, false) => match rest.split_once(piece.as_str()) {
                    Some((_, rest)) => rest,
                    None => return false,
                },
            };
        }
        true
    }
}

impl Terms {
    /// Compiled.
    #[must_use]
    pub fn new(terms: &[String]) -> Self {
        Self(terms.iter().filter_map(|term| Term::new(term)).collect())
    }

    /// Whether a text has one of them.
    #[must_use]
    pub fn hit(&self, text: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let whole = words::normalise(text);
        let words: Vec<String> = text.split_whitespace().map(words::normalise).collect();
        self.0.iter().any(|term| match term.is_anywhere {
            true => term.fits(&whole),
            false => words.iter().any(|word| term.fits(word)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_letters_and_words_are_whole() {
        for (term, text, hits) in [
            ("hat", "a HAT!", true),
            ("hat", "that hatter", false),
            ("hat*", "the hatter", true),
            ("hat*", "that", false),
            ("*hat", "that", true),
            ("*hat", "hatter", false),
            ("*hat*", "thatch", true),
            ("f*k", "oh folk", true),
            ("f*k", "folks", false),
            ("f*k", "fork of", true),
            ("b*y*w", "buy now", false),
            ("buy now", "please Buy  Now!", true),
            ("buy*now", "buynow", true),
            ("微信", "加微信abc", true),
            ("加*领", "加微信领福利", true),
            ("加*领", "领福利加", false),
            ("ss", "ssss", true),
            ("*", "anything", false),
        ] {
            assert_eq!(Terms::new(&[term.to_owned()]).hit(text), hits, "{term} in {text}");
        }
        assert!(!Terms::default().hit("anything"));
    }

    proptest! {
        #[test]
        fn a_term_is_found_in_what_fills_its_stars(a in "[a-z]{1,5}", b in "[a-z]{1,5}", filling in "[a-z]{0,9}") {
            // What is folded apart may fold otherwise together.
            let (left, right) = (words::normalise(&a), words::normalise(&b));
            let word = format!("{a}{filling}{b}");
            let folded = words::normalise(&word);
            prop_assume!(folded.starts_with(&left) && folded.ends_with(&right) && folded.len() >= left.len() + right.len());
            let term = format!("{a}*{b}");
            prop_assert!(Terms::new(&[term]).hit(&word));
        }

        #[test]
        fn no_text_is_fatal(term in ".{0,20}", text in ".{0,60}") {
            let _ = Terms::new(&[term]).hit(&text);
        }
    }
}

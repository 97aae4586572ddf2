//! What happens to every comment whatever the lists say: characters that act on the screen instead of being read.
//!
//! Called by `ingest` before a comment's length is counted. Pure; returns the text itself when nothing had to change.

use std::borrow::Cow;

use unicode_normalization::char::is_combining_mark;

/// Most combining marks on one letter; Hebrew and Vietnamese need three, what is stacked higher covers other lines.
const MARKS_MAX: u32 = 4;
/// Most tag characters after a flag: six make the longest flag in use (`🏴󠁧󠁢󠁥󠁮󠁧󠁿`).
const TAGS_MAX: u32 = 6;
/// Most characters of a name.
pub const NAME_CHARS_MAX: usize = 32;

/// Cleans a comment.
///
/// - Control characters (C0, C1) and noncharacters go; a run of white space with a line break or tab in it becomes one space.
/// - Bidirectional overrides, embeddings, isolates and marks go: on a shared screen they turn other people's text.
/// - Zero-width and other invisible characters go, but for joiners inside emoji and after letters of scripts that join
///   them (Arabic, Indic, Mongolian; at a word's end they choose its last letter's form), a variation selector after
///   something to vary, Mongolian's own selectors and vowel separator after its letters, and flags' tags.
/// - Of combining marks the first four on a letter stay, and the first four on a space inside a text (`( ͡° ͜ʖ ͡°)`);
///   those at the beginning, on nothing, go.
/// - White space (and the blank braille cell) at both ends goes. What is left of nothing visible is the empty text.
///
/// Idempotent. Never makes a text longer, in characters or bytes.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(trim(text));
    }
    let cleaned = clean(text);
    match trim(&cleaned) {
        same if same == text => Cow::Borrowed(text),
        trimmed => Cow::Owned(trimmed.to_owned()),
    }
}

/// Cleans a text line by line, each as [`sanitise`] cleans a text. Line breaks stay; so do the spaces before a line of a text
/// that has several. Empty lines at both ends go.
pub fn sanitise_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return sanitise(text);
    }
    let clean = |line: &str| {
        let indent = line.chars().take_while(|c| matches!(c, ' ' | '\t' | '\u{3000}')).count();
        let spaces = line.chars().take(indent).map(|c| if c == '\t' { ' ' } else { c });
        let rest = sanitise(line);
        if rest.is_empty() { String::new() } else { spaces.chain(rest.chars()).collect::<String>() }
    };
    let lines: Vec<String> = text.lines().map(clean).collect();
    let (first, last) =
        (lines.iter().position(|line| !line.is_empty()), lines.iter().rposition(|line| !line.is_empty()));
    match first.zip(last).and_then(|(first, last)| lines.get(first..=last)) {
        None => Cow::Borrowed(""),
        Some([line]) => Cow::Owned(trim(line).to_owned()),
        Some(lines) => Cow::Owned(lines.join("\n")),
    }
}

/// A name of a user, room, group or gift: cleaned as a text is, and cut to [`NAME_CHARS_MAX`] characters. `None` when
/// nothing visible is left; the caller then shows the id.
#[must_use]
pub fn clean_name(name: &str) -> Option<String> {
    let clean = sanitise(name);
    let short: String = clean.chars().take(NAME_CHARS_MAX).collect();
    // The cut may leave a space or half an emoji at the end.
    let short = sanitise(&short);
    (!short.is_empty()).then(|| short.into_owned())
}

/// Characters that always stay, and take no part in any rule but trimming.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{ff}' | '\u{3000}'..='\u{3029}' | '\u{3041}'..='\u{3096}' | '\u{30a0}'..='\u{30ff}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{ff01}'..='\u{ff5e}' | '\u{1f300}'..='\u{1f64f}')
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{2800}'
}

fn clean(text: &str) -> String {
    let mut cleaner = Cleaner { out: String::with_capacity(text.len()), ..Cleaner::default() };
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if is_break(c) => {
                while chars.next_if(|c| c.is_whitespace() || is_never_kept(*c)).is_some() {}
                cleaner.line_break();
            }
            '\u{200c}' | '\u{200d}' => cleaner.joiner(c, chars.peek().copied()),
            '\u{180b}'..='\u{180f}' => cleaner.mongolian(c),
            c => cleaner.push(c),
        }
    }
    cleaner.out
}

#[derive(Default)]
struct Cleaner {
    out: String,
    /// The last character kept.
    last: Option<char>,
    /// Something visible was kept.
    begun: bool,
    marks: u32,
    tags: u32,
}

impl Cleaner {
    fn keep(&mut self, c: char) {
        self.out.push(c);
        self.last = Some(c);
        self.begun |= !is_blank(c);
    }

    fn line_break(&mut self) {
        self.out.truncate(self.out.trim_end().len());
        self.keep(' ');
    }

    fn joiner(&mut self, c: char, next: Option<char>) {
        let emoji = |last| next.is_some_and(|next| joins_emoji(c, last, next));
        if self.last.is_some_and(|last| joins_letters(last) || emoji(last)) {
            self.keep(c);
        }
    }

    fn mongolian(&mut self, c: char) {
        if self.last.is_some_and(|last| matches!(last, '\u{1807}' | '\u{1820}'..='\u{18aa}')) {
            self.keep(c);
        }
    }

    fn push(&mut self, c: char) {
        match c {
            c if is_tag(c) => self.tag(c),
            c if is_selector(c) => {
                if self.last.is_some_and(|last| !is_blank(last) && !is_combining_mark(last) && !is_selector(last)) {
                    self.keep(c);
                }
            }
            c if is_never_kept(c) => {}
            c if is_combining_mark(c) => self.mark(c),
            c => {
                (self.marks, self.tags) = (0, 0);
                self.keep(c);
            }
        }
    }

    fn mark(&mut self, c: char) {
        // On a space only inside a text: what is trimmed before it would leave it on nothing.
        if self.marks < MARKS_MAX && self.begun {
            self.marks += 1;
            self.keep(c);
        }
    }

    fn tag(&mut self, c: char) {
        if self.tags < TAGS_MAX && self.last.is_some_and(|last| last == '\u{1f3f4}' || is_tag(last)) {
            self.tags += 1;
            self.keep(c);
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007f}')
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Invisible characters that no text here needs. Tags, selectors and joiners are looked at before.
fn is_never_kept(c: char) -> bool {
    let kept_sometimes = is_tag(c) || is_selector(c) || matches!(c, '\u{200c}' | '\u{200d}' | '\u{640}');
    let noncharacter = u32::from(c) & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    noncharacter || (crate::fold::is_ignorable(c) && !kept_sometimes)
}

fn joins_emoji(c: char, last: char, next: char) -> bool {
    c == '\u{200d}' && (is_pictograph(last) || matches!(last, '\u{fe0f}' | '\u{20e3}')) && is_pictograph(next)
}

/// Roughly `Extended_Pictographic` and the skin tones.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{2bff}' | '\u{a9}' | '\u{ae}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}')
}

/// Letters and marks of scripts in which a joiner after one of them changes how it is written.
fn joins_letters(c: char) -> bool {
    let of_script = matches!(c, '\u{620}'..='\u{6ff}' | '\u{710}'..='\u{77f}' | '\u{8a0}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{1807}' | '\u{1820}'..='\u{18aa}');
    of_script && (c.is_alphabetic() || is_combining_mark(c) || c == '\u{1807}')
}

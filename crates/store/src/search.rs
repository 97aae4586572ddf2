//! Search in messages: what matches, and how much of a backend's rows one page looks at.
//!
//! Called by the backends' `search`, which give a scan the user's messages, newest first. There is no index of words. It
//! would be a second store of every text, which recalls, edits and erasure would have to reach. MariaDB and TiDB also
//! have none that finds Chinese words. So a page is a bounded look back, and its cursor goes on from there.

use std::sync::Arc;

use model::Snowflake;
use model::chat::{Message, MsgType};

/// Messages that one page looks at.
pub(crate) const SCANNED_MAX: usize = 1_000;
/// Bytes of their contents.
const SCANNED_BYTES_MAX: usize = 512 * 1024;

/// The words of a search; letters in upper and lower case are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchText(Box<[Box<str>]>);

impl SearchText {
    /// The words of `text`; `None` when there is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let words: Box<[Box<str>]> = text.split_whitespace().map(|word| fold(word).into()).collect();
        Some(Self(words)).filter(|text| !text.0.is_empty())
    }

    /// Whether a content has each of the words somewhere, also inside its own words.
    #[must_use]
    pub fn matches(&self, content: &str) -> bool {
        let content = fold(content);
        self.0.iter().all(|word| content.contains(&**word))
    }
}

fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// One page of a search, as it grows.
pub(crate) struct Scan<'a> {
    text: &'a SearchText,
    limit: usize,
    bytes: usize,
    last: Option<Snowflake>,
    stopped: bool,
    /// What was found, newest first.
    pub found: Vec<Arc<Message>>,
}

impl<'a> Scan<'a> {
    pub fn new(text: &'a SearchText, limit: usize) -> Self {
        Self { text, limit, bytes: 0, last: None, stopped: false, found: Vec::new() }
    }

    /// Looks at the next older message; false when the page ends with it.
    pub fn take(&mut self, message: Arc<Message>) -> bool {
        self.last = Some(message.id);
        self.bytes += message.content.len();
        if message.msg_type == MsgType::Text && message.recalled.is_none() && self.text.matches(&message.content) {
            self.found.push(message);
        }
        self.stopped = self.found.len() >= self.limit || self.bytes >= SCANNED_BYTES_MAX;
        !self.stopped
    }

    /// Where the next page begins; `candidates` is how many messages the backend had for this one.
    pub fn next(&self, candidates: usize) -> Option<Snowflake> {
        self.last.filter(|_| self.stopped || candidates >= SCANNED_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_must_be_there_in_any_case_and_place() {
        let matches = |text: &str, content: &str| SearchText::new(text).expect("words").matches(content);
        assert!(matches("hello", "Say HELLO, world") && matches("ld he", "hello world"));
        assert!(matches("弹幕", "今天的弹幕来了") && matches("幕", "弹幕"));
        assert!(matches("ÄPFEL", "zwei äpfel") && matches("привет", "ПРИВЕТ"));
        assert!(!matches("hello there", "hello world") && !matches("%", "100") && !matches("h_llo", "hello"));
        assert_eq!(SearchText::new(" \n\t"), None);
    }
}

//! The classifier that is built in: linear over the n-grams of a text's characters, for Chinese and English.
//!
//! `tools/classifier/train.py` makes `data/classifier.bin` and computes the same features. A label is a hint for people and for
//! thresholds, never a fact: see the data card beside the script. Called by `ingest`. Linear in the text; never panics on one.

use crate::links::hosts;

/// What it finds, in this order; `links` is a rule and not learnt.
pub const LABELS: [&str; 4] = ["spam", "insult", "sexual", "links"];

const DATA: &[u8] = include_bytes!("../data/classifier.bin");
const MAGIC: &[u8] = b"BCL1";
const GRAMS: std::ops::RangeInclusive<usize> = 1..=4;
/// Longer texts are judged by their beginning.
const CHARS_MAX: usize = 512;

/// One label's weights.
struct Model {
    bias: f32,
    unit: f32,
    weights: &'static [u8],
}

/// The classifier.
pub struct Classifier {
    buckets: u32,
    models: Vec<Model>,
}

impl Classifier {
    /// The one that is built in; `None` if its data cannot be read, which a test rules out.
    #[must_use]
    pub fn builtin() -> Option<Self> {
        let rest = DATA.strip_prefix(MAGIC)?;
        let (buckets, mut rest) = rest.split_first_chunk::<4>()?;
        let buckets = u32::from_le_bytes(*buckets);
        let mut models = Vec::new();
        while !rest.is_empty() {
            let (bias, more) = rest.split_first_chunk::<4>()?;
            let (unit, more) = more.split_first_chunk::<4>()?;
            let (weights, more) = more.split_at_checked(buckets as usize)?;
            models.push(Model { bias: f32::from_le_bytes(*bias), unit: f32::from_le_bytes(*unit), weights });
            rest = more;
        }
        (models.len() + 1 == LABELS.len() && buckets > 0).then_some(Self { buckets, models })
    }

    /// The score of each label, 0 to 1. From 0.5 on it is meant to be more often right than wrong.
    #[must_use]
    pub fn scores(&self, text: &str) -> [f64; LABELS.len()] {
        let features = features(text, self.buckets);
        let scale = if features.is_empty() { 0.0 } else { 1.0 / (features.len() as f32).sqrt() };
        let mut scores = [0.0; LABELS.len()];
        for (score, model) in scores.iter_mut().zip(&self.models) {
            let weight =
                |bucket: &u32| model.weights.get(*bucket as usize).map_or(0, |weight| i32::from(weight.cast_signed()));
            let sum: i32 = features.iter().map(weight).sum();
            let z = model.bias + scale * model.unit * sum as f32;
            *score = f64::from(1.0 / (1.0 + (-z).exp()));
        }
        if let Some(links) = scores.last_mut() {
            *links = if hosts(text).is_empty() { 0.0 } else { 1.0 };
        }
        scores
    }
}

/// Lower case, full width as half width, digits as 0, spaces as one, a letter at most three times.
fn fold(text: &str) -> Vec<char> {
    let mut out: Vec<char> = vec!['^'];
    for c in text.chars().take(CHARS_MAX).flat_map(char::to_lowercase) {
        let c = match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c).to_ascii_lowercase(),
            c => c,
        };
        let c = if c.is_whitespace() {
            ' '
        } else if c.is_ascii_digit() {
            '0'
        } else {
            c
        };
        let after_space = matches!(out.as_slice(), [_, .., ' ']) || out.len() == 1;
        if c == ' ' && after_space {
            continue;
        }
        if out.len() > 3 && out.iter().rev().take(3).all(|last| *last == c) {
            continue;
        }
        out.push(c);
    }
    if out.last() == Some(&' ') {
        out.pop();
    }
    out.push('$');
    out
}

fn features(text: &str, buckets: u32) -> Vec<u32> {
    let folded = fold(text);
    let mut found = Vec::with_capacity(folded.len() * 4);
    let mut bytes = [0; 4];
    for n in GRAMS {
        for gram in folded.windows(n) {
            let mut hashed = 0x811c_9dc5_u32 ^ n as u32;
            for c in gram {
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    hashed = (hashed ^ u32::from(byte)).wrapping_mul(0x0100_0193);
                }
            }
            found.push((hashed ^ (hashed >> 16)) % buckets);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_tells_advertising_and_insults_from_talk() {
        let classifier = Classifier::builtin().expect("its data");
        let found = |text: &str| {
            let scores = classifier.scores(text);
            LABELS
                .into_iter()
                .zip(scores)
                .filter(|(_, score)| *score >= 0.5)
                .map(|(label, _)| label)
                .collect::<Vec<_>>()
        };
        for (text, expected) in [
            ("加微信abc123领红包", vec!["spam"]),
            ("buy cheap followers, dm me", vec!["spam"]),
            ("你是不是傻逼", vec!["insult"]),
            ("you are a complete moron", vec!["insult"]),
            ("同城约炮", vec!["sexual"]),
            ("see example.com", vec!["links"]),
            ("哈哈哈哈笑死我了", vec![]),
            ("what a great goal", vec![]),
            ("这首歌叫什么名字", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(found(text), expected, "{text}: {:?}", classifier.scores(text));
        }
    }

    proptest! {
        #[test]
        fn scores_are_shares_whatever_the_text(text in ".{0,300}") {
            let classifier = Classifier::builtin().expect("its data");
            prop_assert!(classifier.scores(&text).iter().all(|score| (0.0..=1.0).contains(score)));
        }
    }
}

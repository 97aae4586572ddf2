//! What lists would have done to texts already written: the question to ask before they go live.

use std::collections::HashMap;

use serde::Serialize;

use crate::filter::{Filter, List};

/// Most texts given as samples, and most words counted one by one in the answer.
pub const SAMPLES_MAX: usize = 20;

/// What a filter would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = WordDryRun)]
pub struct DryRun {
    /// Texts checked.
    pub checked: u64,
    /// Texts that would have been masked.
    pub mask_hits: u64,
    /// Texts that would have been held.
    pub review_hits: u64,
    /// Texts that would have been refused.
    pub block_hits: u64,
    /// The first texts hit, at most [`SAMPLES_MAX`].
    pub samples: Vec<Sample>,
    /// The words that decided most often, at most [`SAMPLES_MAX`], most first: an over-eager word stands out here.
    pub words: Vec<WordHits>,
}

/// A text that would have been hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = WordSample)]
pub struct Sample {
    /// The text.
    pub text: String,
    /// The list that decides about it.
    pub list: List,
    /// The word of that list, as listed.
    pub word: String,
}

/// How often a word decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct WordHits {
    /// Its list.
    pub list: List,
    /// The word, as listed.
    pub word: String,
    /// Texts it decided about.
    pub hits: u64,
}

/// Runs `filter` over `texts`, changing nothing.
pub fn dry_run<T: AsRef<str>>(filter: &Filter, texts: impl IntoIterator<Item = T>) -> DryRun {
    let mut report = DryRun::default();
    let mut hits: HashMap<(List, &str), u64> = HashMap::new();
    for text in texts {
        let text = text.as_ref();
        report.checked += 1;
        let Some((list, word)) = filter.first_hit(text) else {
            continue;
        };
        *hits.entry((list, word)).or_default() += 1;
        *report.count(list) += 1;
        if report.samples.len() < SAMPLES_MAX {
            report.samples.push(Sample { text: text.to_owned(), list, word: word.to_owned() });
        }
    }
    report.words =
        hits.into_iter().map(|((list, word), hits)| WordHits { list, word: word.to_owned(), hits }).collect();
    report.words.sort_by(|a, b| b.hits.cmp(&a.hits).then_with(|| a.word.cmp(&b.word)));
    report.words.truncate(SAMPLES_MAX);
    report
}

impl DryRun {
    fn count(&mut self, list: List) -> &mut u64 {
        match list {
            List::Mask => &mut self.mask_hits,
            List::Review => &mut self.review_hits,
            List::Block => &mut self.block_hits,
        }
    }
}

//! The word lists in force on this node: read without a lock, replaced while comments flow.
//!
//! Owns the lists and the built filter. The store keeps them; [`crate::moderation`] changes both.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::panics::contain;
use store::{Store, StoreError, WordList};
use tokio::sync::{Mutex, MutexGuard};
use words::{BuildError, Filter, Lists};

/// The lists and the filter built from them.
pub struct WordFilter {
    current: ArcSwap<(Lists, Filter)>,
    /// Held while the lists change in the store and here, so that what is read from the store never undoes a newer change.
    change: Mutex<()>,
}

/// Why the lists were not read again.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's lists cannot be used here: a node of another version takes what this one does not.
    #[error(transparent)]
    Unusable(#[from] BuildError),
}

impl WordFilter {
    /// A filter from what the store has.
    ///
    /// # Errors
    /// When the lists cannot be used; the store only holds lists that could be.
    pub fn new(words: Vec<(WordList, String)>) -> Result<Self, BuildError> {
        let lists = lists_of(words);
        let filter = Filter::build(&lists)?;
        Ok(Self { current: ArcSwap::from_pointee((lists, filter)), change: Mutex::new(()) })
    }

    /// What is to be done with a text.
    #[must_use]
    pub fn check(&self, text: &str) -> words::Verdict {
        self.current.load().1.check(text)
    }

    /// The same for a text that no moderator is to see.
    #[must_use]
    pub fn check_private(&self, text: &str) -> words::Verdict {
        self.current.load().1.check_private(text)
    }

    /// The lists in force.
    #[must_use]
    pub fn lists(&self) -> Lists {
        self.current.load().0.clone()
    }

    /// Waits for whoever is changing the lists, and keeps others from it.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().await
    }

    /// Reads the lists from the store.
    ///
    /// # Errors
    /// [`ReadError`]; the old lists stay in force.
    pub async fn reload(&self, store: &dyn Store) -> Result<(), ReadError> {
        let _change = self.change().await;
        let lists = lists_of(store.words().await?);
        if lists != self.lists() {
            self.replace(lists).await?;
        }
        Ok(())
    }

    /// Puts other lists in force. The automaton is built beside the running one, off the runtime's
    /// threads, so that 100,000 words pause nobody.
    ///
    /// # Errors
    /// When the lists cannot be used; the old ones stay in force.
    pub async fn replace(&self, lists: Lists) -> Result<(), BuildError> {
        let build = move || contain(|| Filter::build(&lists).map(|filter| (lists, filter)));
        let built = tokio::task::spawn_blocking(build).await.ok().flatten();
        let built = built.ok_or_else(|| BuildError::TooLarge("building them failed".into()))??;
        self.current.store(Arc::new(built));
        Ok(())
    }
}

/// Lists as the store keeps them.
#[must_use]
pub fn words_of(lists: &Lists) -> Vec<(WordList, String)> {
    let of = |list, words: &[String]| words.iter().map(move |word| (list, word.clone())).collect::<Vec<_>>();
    let (mask, review) = (of(WordList::Mask, &lists.mask), of(WordList::Review, &lists.review));
    mask.into_iter().chain(review).chain(of(WordList::Block, &lists.block)).collect()
}

fn lists_of(words: Vec<(WordList, String)>) -> Lists {
    let mut lists = Lists::default();
    for (list, word) in words {
        list_mut(&mut lists, list).push(word);
    }
    lists
}

/// One of the three lists.
pub fn list_mut(lists: &mut Lists, list: WordList) -> &mut Vec<String> {
    match list {
        WordList::Mask => &mut lists.mask,
        WordList::Review => &mut lists.review,
        WordList::Block => &mut lists.block,
    }
}

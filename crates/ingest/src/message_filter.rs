//! The rules of comments that hold for private messages too: bans and mutes everywhere, and the word lists.
//!
//! Called by `chat` through the wiring. Nobody reviews private messages, so the review list does not apply.

use model::Identity;
use model::metrics::count;
use words::Verdict;

use crate::{Ingest, Refusal};

impl Ingest {
    /// Returns the text as it may be stored. `readable` is false for ids of uploads and ciphertext, which no word list
    /// applies to.
    ///
    /// # Errors
    /// [`Refusal::Banned`], [`Refusal::Muted`] or [`Refusal::Blocked`].
    pub fn filter_message(&self, who: &Identity, text: &str, readable: bool) -> Result<String, Refusal> {
        self.bans.check_speech(&who.user_id, None, self.clock.now_ms())?;
        if !readable {
            return Ok(text.to_owned());
        }
        let hit = |list| count(&self.metrics.word_hits, "list", list);
        match self.filter.check_private(text) {
            Verdict::Clean | Verdict::Review { .. } => Ok(text.to_owned()),
            Verdict::Masked(masked) => {
                hit("mask");
                Ok(masked)
            }
            Verdict::Block { .. } => {
                hit("block");
                Err(Refusal::Blocked)
            }
        }
    }
}

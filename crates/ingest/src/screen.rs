//! What of a comment's rules holds for private messages too: bans and mutes that hold everywhere, and the word lists.
//!
//! Called by `chat` through the wiring. Nobody reviews private messages, so the review list does not apply.

use model::Identity;
use model::metrics::count;
use words::Verdict;

use crate::{Ingest, Refusal};

impl Ingest {
    /// The text as it may be kept. One that is not `read`, because it is a key, a name of a file or ciphertext, is
    /// only held against bans and mutes.
    ///
    /// # Errors
    /// [`Refusal::Banned`], [`Refusal::Muted`] or [`Refusal::Blocked`].
    pub fn screen(&self, who: &Identity, text: &str, read: bool) -> Result<String, Refusal> {
        self.bans.may_speak_at_all(&who.user_id, self.clock.now_ms())?;
        if !read {
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

//! Word lists: replaced while comments flow, and tried on a room's history before they are.

use bus::{Change, Record};
use model::RoomId;
use model::panics::contain;
use serde::Serialize;
use store::WordList;
use words::{BuildError, DryRun, Filter, Lists};

use super::{Done, ModerationError, Moderator};
use crate::Ingest;
use crate::filter::{list_mut, words_of};

/// Comments a dry run looks at.
pub const DRY_RUN_COMMENTS_MAX: usize = 10_000;

/// What a dry run found.
#[derive(Debug, Serialize)]
pub struct Trial {
    #[serde(flatten)]
    found: DryRun,
    /// The share of the comments that some list would have hit, 0 to 1.
    share: f64,
}

impl Ingest {
    /// Replaces all word lists, in force at once.
    ///
    /// # Errors
    /// When a word cannot be used; nothing is changed then.
    pub async fn set_words(&self, who: &Moderator, lists: Lists) -> Done<()> {
        self.authorise(who, None).await?;
        let words = words_of(&lists);
        let detail = format!("{} words", words.len());
        {
            let _change = self.filter.change().await;
            self.filter.replace(lists).await?;
            self.store.set_words(words).await?;
        }
        self.tell_words().await?;
        self.audit(who, "words.replace", None, "all".into(), Some(detail)).await
    }

    /// Adds a word to a list, in force at once.
    ///
    /// # Errors
    /// When the word cannot be used.
    pub async fn add_word(&self, who: &Moderator, list: WordList, word: &str) -> Done<()> {
        self.authorise(who, None).await?;
        {
            let _change = self.filter.change().await;
            let mut lists = self.filter.lists();
            let words = list_mut(&mut lists, list);
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
            self.filter.replace(lists).await?;
            self.store.add_word(list, word).await?;
        }
        self.tell_words().await?;
        self.audit(who, "words.add", None, word.into(), None).await
    }

    /// Removes a word from a list, in force at once.
    ///
    /// # Errors
    /// When it is not on the list.
    pub async fn remove_word(&self, who: &Moderator, list: WordList, word: &str) -> Done<()> {
        self.authorise(who, None).await?;
        {
            let _change = self.filter.change().await;
            if !self.store.remove_word(list, word).await? {
                return Err(ModerationError::NotFound("the word is not on the list"));
            }
            let mut lists = self.filter.lists();
            list_mut(&mut lists, list).retain(|known| known != word);
            self.filter.replace(lists).await?;
        }
        self.tell_words().await?;
        self.audit(who, "words.remove", None, word.into(), None).await
    }

    async fn tell_words(&self) -> Done<()> {
        self.log.append(RoomId::everywhere(), Record::Changed(Change::Words)).await?;
        Ok(())
    }

    /// What a room's own history would have met with, had these lists been in force.
    ///
    /// # Errors
    /// When the lists cannot be used.
    pub async fn try_words(&self, who: &Moderator, room: &RoomId, lists: Lists, limit: usize) -> Done<Trial> {
        self.authorise(who, Some(room)).await?;
        let history = self.store.latest_comments(room, limit.min(DRY_RUN_COMMENTS_MAX)).await?;
        let try_them = move || {
            let filter = Filter::build(&lists)?;
            let texts: Vec<_> =
                history.iter().map(|placed| (placed.comment.id.to_string(), &*placed.comment.content)).collect();
            Ok::<_, BuildError>(trial(&filter, &texts))
        };
        let trial = tokio::task::spawn_blocking(|| contain(try_them)).await;
        Ok(trial.ok().flatten().ok_or(ModerationError::Away)??)
    }
}

fn trial(filter: &Filter, texts: &[(String, &str)]) -> Trial {
    let found = words::dry_run(filter, texts.iter().map(|(_, text)| text));
    let hits = found.mask_hits + found.review_hits + found.block_hits;
    let share = if found.checked == 0 { 0.0 } else { hits as f64 / found.checked as f64 };
    Trial { found, share }
}

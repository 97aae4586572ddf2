//! Word lists: changed while comments flow, and tested on a room's history before that.

use log::{Change, Record};
use model::RoomId;
use model::panics::contain;
use serde::Serialize;
use store::WordList;
use words::{BuildError, DryRun, Filter, Lists};

use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;
use crate::filter::{list_mut, words_of};

/// Comments that a dry run checks.
pub const DRY_RUN_COMMENTS_MAX: usize = 10_000;

/// The result of a dry run.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WordTrial)]
pub struct DryRunReport {
    #[serde(flatten)]
    found: DryRun,
    /// The share of the comments that a list would have hit, 0 to 1.
    share: f64,
}

impl Ingest {
    /// Replaces all word lists, in force at once.
    ///
    /// # Errors
    /// When a word cannot be used; nothing is changed then.
    pub async fn set_words(&self, who: &Moderator, lists: Lists) -> ModerationResult<()> {
        self.authorise(who, None).await?;
        let words = words_of(&lists);
        let detail = format!("{} words", words.len());
        {
            let _change = self.filter.change().await;
            self.filter.replace(lists).await?;
            self.store.set_words(words).await?;
        }
        self.publish_words_changed().await?;
        self.audit(who, "words.replace", None, "all".into(), Some(detail)).await
    }

    /// Adds a word to a list, in force at once.
    ///
    /// # Errors
    /// When the word cannot be used.
    pub async fn add_word(&self, who: &Moderator, list: WordList, word: &str) -> ModerationResult<()> {
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
        self.publish_words_changed().await?;
        self.audit(who, "words.add", None, word.into(), None).await
    }

    /// Removes a word from a list, in force at once.
    ///
    /// # Errors
    /// When it is not on the list.
    pub async fn remove_word(&self, who: &Moderator, list: WordList, word: &str) -> ModerationResult<()> {
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
        self.publish_words_changed().await?;
        self.audit(who, "words.remove", None, word.into(), None).await
    }

    async fn publish_words_changed(&self) -> ModerationResult<()> {
        self.log.append(RoomId::everywhere(), Record::Changed(Change::Words)).await?;
        Ok(())
    }

    /// Checks a room's history against lists that are not in force.
    ///
    /// # Errors
    /// When the lists cannot be used.
    pub async fn dry_run_words(
        &self,
        who: &Moderator,
        room: &RoomId,
        lists: Lists,
        limit: usize,
    ) -> ModerationResult<DryRunReport> {
        self.authorise(who, Some(room)).await?;
        let history = self.store.latest_comments(room, limit.min(DRY_RUN_COMMENTS_MAX)).await?;
        let run = move || {
            let filter = Filter::build(&lists)?;
            let texts: Vec<_> =
                history.iter().map(|placed| (placed.comment.id.to_string(), &*placed.comment.content)).collect();
            Ok::<_, BuildError>(report(&filter, &texts))
        };
        let report = tokio::task::spawn_blocking(|| contain(run)).await;
        Ok(report.ok().flatten().ok_or(ModerationError::Away)??)
    }
}

fn report(filter: &Filter, texts: &[(String, &str)]) -> DryRunReport {
    let found = words::dry_run(filter, texts.iter().map(|(_, text)| text));
    let hits = found.mask_hits + found.review_hits + found.block_hits;
    let share = if found.checked == 0 { 0.0 } else { hits as f64 / found.checked as f64 };
    DryRunReport { found, share }
}

//! A sample of what passes, kept for quality control: one comment in so many, chosen by its id.
//!
//! A log sees comments on their way ([`SampleLog`]) and hands those of the sample to a task, which stores them together. The
//! sample may lose some: when the store is away for long, or the process dies. Without a sample the log is not wrapped.

use std::sync::Arc;
use std::time::Duration;

use log::{Log, Record, Submission};
use model::{Clock, Comment, Metrics, RoomId, Snowflake};
use store::Store;
use store::samples::{Sample, SampleQuery};
use tokio::sync::mpsc;

use crate::Ingest;
use crate::moderation::{ModerationError, Moderator};

/// Comments of a sample that wait to be stored.
const WAITING_MAX: usize = 4_096;
/// Comments that are stored together.
const TOGETHER_MAX: usize = 256;
/// How long a comment waits for others.
const GATHER: Duration = Duration::from_millis(200);
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Comments that a node keeps of one day.
const PER_DAY_MAX: u32 = 10_000;
const DAY_MS: i64 = 86_400_000;

/// Whether a comment belongs to the sample. Every node answers alike.
fn is_sampled(id: Snowflake, one_in: u32) -> bool {
    // Ids count up; multiplied they are spread evenly (Fibonacci hashing).
    let spread = id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    spread.is_multiple_of(u64::from(one_in.max(1)))
}

/// A log that keeps a sample of the comments that were appended to it.
pub struct SampleLog {
    log: Arc<dyn Log>,
    one_in: u32,
    waiting: mpsc::Sender<Arc<Comment>>,
}

impl SampleLog {
    /// Around a log; one comment in `one_in` is kept. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(
        log: Arc<dyn Log>,
        one_in: u32,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (waiting, comments) = mpsc::channel(WAITING_MAX);
        tokio::spawn(store_samples(comments, store, clock, metrics));
        Self { log, one_in, waiting }
    }

    fn sampled(&self, record: &Record) -> Option<Arc<Comment>> {
        match record {
            Record::Comment { comment, .. } if !comment.shadow && is_sampled(comment.id, self.one_in) => {
                Some(comment.clone())
            }
            _ => None,
        }
    }
}

impl Log for SampleLog {
    fn submit(&self, run: Vec<Submission>) {
        let noting = |submission: Submission| {
            let Some(comment) = self.sampled(&submission.record) else { return submission };
            let Submission { room_id, record, done } = submission;
            let waiting = self.waiting.clone();
            let done = move |position: Result<_, _>| {
                if position.is_ok() {
                    let _ = waiting.try_send(comment);
                }
                done(position)
            };
            Submission { room_id, record, done: Box::new(done) }
        };
        self.log.submit(run.into_iter().map(noting).collect());
    }
}

async fn store_samples(
    mut waiting: mpsc::Receiver<Arc<Comment>>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) {
    let (mut day, mut kept) = (0, 0u32);
    while let Some(first) = waiting.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut comments = vec![first];
        while comments.len() < TOGETHER_MAX
            && let Ok(next) = waiting.try_recv()
        {
            comments.push(next);
        }
        let today = clock.now_ms().div_euclid(DAY_MS);
        if today != day {
            (day, kept) = (today, 0);
        }
        comments.truncate(PER_DAY_MAX.saturating_sub(kept) as usize);
        if comments.is_empty() {
            continue;
        }
        kept += comments.len() as u32; // At most PER_DAY_MAX.
        // The store has logged and counted its failure.
        while store.add_samples(comments.clone()).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        metrics.comments_sampled.inc_by(comments.len() as u64);
    }
}

impl Ingest {
    /// Passed comments that were kept where this moderator may read the audit trail, or of one room; oldest first.
    ///
    /// # Errors
    /// When this moderator may not see them.
    pub async fn samples(
        &self,
        who: &Moderator,
        room: Option<&RoomId>,
        query: SampleQuery,
    ) -> Result<Vec<Sample>, ModerationError> {
        let of = self.list_scope(who, room).await?;
        Ok(self.store.samples(&SampleQuery { of, ..query }).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_in_so_many_is_chosen_whatever_the_rate() {
        for step in [1, 4_096, 1 << 22, (1 << 22) * 1_000] {
            let chosen = (0..100_000u64).filter(|n| is_sampled(Snowflake(1 << 50 | (n * step)), 100)).count();
            assert!((700..1_300).contains(&chosen), "{step}: {chosen}");
        }
        assert!((0..100).all(|n| is_sampled(Snowflake(n), 1)));
    }
}

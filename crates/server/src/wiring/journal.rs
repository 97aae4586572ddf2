//! What keeps a log: the comments to be kept go to the store, in one commit a run.
//!
//! Behind the in-process log it is what makes that durable; the role `persist` gives it what stands on Kafka, and a spool what waited
//! for it. There a deletion may come when its comment was not kept yet, so it is applied here too, in the log's order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus::local::Journal;
use bus::spool::Behind;
use bus::{AppendError, Entry, Record};
use model::{EventBody, Snowflake};
use store::{NewComment, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// When what a deletion did not find is deleted once more, and how many deletions may wait for that; of more the comment stays
/// deleted for viewers alone.
const ONCE_MORE: Duration = Duration::from_secs(20);
const ONCE_MORE_MAX: usize = 1_000;

/// A journal in the store.
pub(super) struct StoreJournal {
    store: Arc<dyn Store>,
    once_more: Arc<Semaphore>,
}

impl StoreJournal {
    /// Behind a log that has one order.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, once_more: Arc::new(Semaphore::new(0)) }
    }

    /// Behind a log in partitions: the comments of a room that is spread over some may come later than their deletion.
    pub fn of_partitions(store: Arc<dyn Store>) -> Self {
        Self { store, once_more: Arc::new(Semaphore::new(ONCE_MORE_MAX)) }
    }

    async fn delete(&self, ids: Vec<Snowflake>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.store.delete_comments(&ids).await?;
        if let Ok(permit) = self.once_more.clone().try_acquire_owned() {
            let store = self.store.clone();
            tokio::spawn(async move {
                sleep(ONCE_MORE).await;
                // A failure is logged by the store.
                let _ = store.delete_comments(&ids).await;
                drop(permit);
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
        let kept: Vec<_> = entries.iter().filter_map(kept).collect();
        if !kept.is_empty() {
            self.store.append_comments(kept).await.map_err(|_| AppendError::Away)?;
        }
        let deleted = entries.iter().flat_map(deleted).copied().collect();
        self.delete(deleted).await.map_err(|_| AppendError::Away)
    }
}

#[async_trait]
impl Behind for StoreJournal {
    async fn is_there(&self) -> bool {
        self.store.probe().await.is_ok()
    }

    fn keeps(&self, entry: &Entry) -> bool {
        entry.record.is_kept()
    }
}

fn deleted(entry: &Entry) -> &[Snowflake] {
    match &entry.record {
        Record::Event(event) => match &event.body {
            EventBody::CommentsDeleted { comment_ids } => comment_ids,
            _ => &[],
        },
        _ => &[],
    }
}

fn kept(entry: &Entry) -> Option<NewComment> {
    match &entry.record {
        Record::Comment { comment, client_msg_id, keep: true } => Some(NewComment {
            comment: comment.clone(),
            position: entry.position.offset,
            client_msg_id: client_msg_id.clone(),
        }),
        _ => None,
    }
}

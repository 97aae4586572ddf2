//! The role `persist`: the log's comments go into the store, one commit a run.
//!
//! [`StoreJournal`] makes the in-process log durable. The role `persist` copies a shared log into it, and a spool hands over
//! what waited for it. The store alone decides which of two comments with one `client_msg_id` is first. There a deletion may come before its comment was stored, so deletions are applied here too, in the
//! log's order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::local::Journal;
use log::spool::Sink;
use log::{AppendError, Entry, Record};
use model::{EventBody, Repeat, Role, Roles, Snowflake};
use store::{NewComment, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::backends::SharedLog;

/// A deletion behind a log in partitions is repeated after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(20);
/// Deletions that may wait for that; comments of further ones stay deleted for viewers alone.
const REPEATS_MAX: usize = 1_000;

/// Copies the shared log into the store, if this node has the role.
pub fn start(roles: Roles, log: &mut SharedLog, store: &Arc<dyn Store>) -> anyhow::Result<()> {
    if roles.has(Role::Persist) {
        log.start_persisting(Arc::new(StoreJournal::of_partitions(store.clone())))?;
    }
    Ok(())
}

/// A journal in the store.
pub struct StoreJournal {
    store: Arc<dyn Store>,
    /// Deletions that may be repeated later.
    repeats: Arc<Semaphore>,
}

impl StoreJournal {
    /// Behind a log that has one order.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, repeats: Arc::new(Semaphore::new(0)) }
    }

    /// Behind a log in partitions: the comments of a room that is spread over some may come later than their deletion.
    pub fn of_partitions(store: Arc<dyn Store>) -> Self {
        Self { store, repeats: Arc::new(Semaphore::new(REPEATS_MAX)) }
    }

    async fn delete(&self, ids: Vec<Snowflake>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.store.delete_comments(&ids).await?;
        if let Ok(permit) = self.repeats.clone().try_acquire_owned() {
            let store = self.store.clone();
            tokio::spawn(async move {
                sleep(REPEAT_AFTER).await;
                // The store logs a failure.
                let _ = store.delete_comments(&ids).await;
                drop(permit);
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError> {
        let comments: Vec<_> = entries.iter().filter_map(comment_to_store).collect();
        let mut repeats = Vec::new();
        if !comments.is_empty() {
            repeats = self.store.append_comments(comments).await.map_err(|_| AppendError::Away)?;
        }
        let deleted = entries.iter().flat_map(deleted_ids).copied().collect();
        self.delete(deleted).await.map_err(|_| AppendError::Away)?;
        Ok(repeats)
    }
}

#[async_trait]
impl Sink for StoreJournal {
    async fn is_there(&self) -> bool {
        self.store.probe().await.is_ok()
    }

    fn keeps(&self, entry: &Entry) -> bool {
        entry.record.is_kept()
    }
}

fn deleted_ids(entry: &Entry) -> &[Snowflake] {
    match &entry.record {
        Record::Event(event) => match &event.body {
            EventBody::CommentsDeleted { comment_ids } => comment_ids,
            _ => &[],
        },
        _ => &[],
    }
}

fn comment_to_store(entry: &Entry) -> Option<NewComment> {
    match &entry.record {
        Record::Comment { comment, client_msg_id, keep: true } => Some(NewComment {
            comment: comment.clone(),
            position: entry.position.offset,
            client_msg_id: client_msg_id.clone(),
        }),
        _ => None,
    }
}

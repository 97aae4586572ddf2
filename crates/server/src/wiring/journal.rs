//! What keeps a log: the comments to be kept go to the store, in one commit a run.
//!
//! Behind the in-process log it is what makes that durable; the role `persist` gives it what stands on Kafka, and a spool what waited
//! for it. There a deletion may come when its comment was not kept yet, so it is applied here too, in the log's order.

use std::sync::Arc;

use async_trait::async_trait;
use bus::local::Journal;
use bus::spool::Behind;
use bus::{AppendError, Entry, Record};
use model::{EventBody, Snowflake};
use store::{NewComment, Store};

/// A journal in the store.
pub(super) struct StoreJournal(pub Arc<dyn Store>);

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
        let kept: Vec<_> = entries.iter().filter_map(kept).collect();
        if !kept.is_empty() {
            self.0.append_comments(kept).await.map_err(|_| AppendError::Away)?;
        }
        let deleted: Vec<_> = entries.iter().flat_map(deleted).copied().collect();
        if !deleted.is_empty() {
            self.0.delete_comments(&deleted).await.map_err(|_| AppendError::Away)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Behind for StoreJournal {
    async fn is_there(&self) -> bool {
        self.0.probe().await.is_ok()
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

//! What makes the in-process log durable: the comments to be kept go to the store, in one commit a run.

use std::sync::Arc;

use async_trait::async_trait;
use bus::local::Journal;
use bus::spool::Behind;
use bus::{AppendError, Entry, Record};
use store::{NewComment, Store};

/// A journal in the store.
pub(super) struct StoreJournal(pub Arc<dyn Store>);

#[async_trait]
impl Journal for StoreJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
        let kept: Vec<_> = entries.iter().filter_map(kept).collect();
        if kept.is_empty() {
            return Ok(());
        }
        self.0.append_comments(kept).await.map_err(|_| AppendError::Away)
    }
}

#[async_trait]
impl Behind for StoreJournal {
    async fn is_there(&self) -> bool {
        self.0.probe().await.is_ok()
    }

    fn keeps(&self, entry: &Entry) -> bool {
        matches!(entry.record, Record::Comment { keep: true, .. })
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

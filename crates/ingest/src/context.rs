//! What a room said last, for the hook: that often decides what a comment means.
//!
//! Read from the store, so that what was deleted or erased is never told. A room keeps its last answer for some milliseconds,
//! and a node reads a few rooms at once: then the last answer does. Called by [`crate::screen`] alone.

use std::sync::Arc;

use model::RoomId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::Ingest;
use crate::rooms::RoomEntry;

/// Comments of a context.
const COMMENTS_MAX: usize = 5;
/// Characters of each.
const CHARS_MAX: usize = 200;
/// How long an answer of the store is good for, in milliseconds.
const FRESH_MS: i64 = 5;
/// Reads of the store at once.
const READS_MAX: usize = 4;

/// What a room said last, as far as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct RecentTexts(Mutex<(i64, Vec<Arc<str>>)>);

/// Bounds the reads of a node.
pub(crate) struct ContextReads(Semaphore);

impl Default for ContextReads {
    fn default() -> Self {
        Self(Semaphore::new(READS_MAX))
    }
}

impl Ingest {
    /// The room's last comments that everybody sees, oldest first.
    pub(crate) async fn context(&self, entry: &RoomEntry, room: &RoomId, now_ms: i64) -> Vec<Arc<str>> {
        let RecentTexts(recent) = entry.recent_texts();
        let (read_ms, known) = recent.lock().clone();
        if (0..FRESH_MS).contains(&(now_ms - read_ms)) {
            return known;
        }
        let Ok(_permit) = self.screening.context_reads.0.try_acquire() else { return known };
        // The store has logged its failure: the hook is asked without a context.
        let Ok(latest) = self.store.latest_comments(room, COMMENTS_MAX).await else { return Vec::new() };
        let cut = |content: &str| content.chars().take(CHARS_MAX).collect::<String>().into();
        let texts: Vec<Arc<str>> = latest.iter().map(|found| cut(&found.comment.content)).collect();
        *recent.lock() = (now_ms, texts.clone());
        texts
    }
}

//! A lease on the archive: one node at a time moves sessions.
//!
//! A document of the store, which all nodes share. It is no lock: a node that froze may go on after its lease has ended. What
//! makes that harmless is that segments are swapped by comparison and comments removed only while their segment names the
//! object that holds them. The lease saves the work of doing everything twice.

use model::Clock;
use store::{Document, Store};

const KIND: &str = "archive_lease";
const ID: &str = "mover";
/// How long a node that is gone keeps the others waiting.
const TTL_MS: i64 = 10_000;

/// Who holds a lease.
#[derive(Debug, Clone)]
pub struct Lease {
    owner: String,
}

impl Lease {
    /// The lease as this owner takes it. The same owner takes it again at once, as after a crash.
    #[must_use]
    pub const fn new(owner: String) -> Self {
        Self { owner }
    }

    /// Takes or renews it. False while another holds it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn take(&self, store: &dyn Store, clock: &dyn Clock) -> store::Result<bool> {
        let now_ms = clock.now_ms();
        let Some(held) = store.document(KIND, ID).await? else {
            return store.add_document(&self.document(now_ms + TTL_MS, 0)).await;
        };
        // A clock that was set back may have left an end far in the future.
        let is_over = held.due_ms <= now_ms || held.due_ms > now_ms + 2 * TTL_MS;
        if held.state != self.owner && !is_over {
            return Ok(false);
        }
        store.replace_document(&self.document(now_ms + TTL_MS, held.version)).await
    }

    /// Gives it back, if this owner holds it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn release(&self, store: &dyn Store) -> store::Result<()> {
        if let Some(held) = store.document(KIND, ID).await?
            && held.state == self.owner
        {
            store.replace_document(&self.document(0, held.version)).await?;
        }
        Ok(())
    }

    fn document(&self, due_ms: i64, version: i64) -> Document {
        let owner: String = self.owner.chars().filter(char::is_ascii).take(64).collect();
        Document { kind: KIND, id: ID.into(), state: owner, due_ms, version, body: "{}".into(), ..Document::default() }
    }
}

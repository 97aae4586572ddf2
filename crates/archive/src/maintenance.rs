//! What the tool `barrage archive` asks: which sessions are archived, and whether their objects are whole.

use futures::StreamExt;
use futures::stream;
use model::{RoomId, Snowflake};
use serde::{Deserialize, Serialize};
use store::archive::ArchivedSegment;

use crate::archive::{Archive, ArchiveError};

/// Sessions read at once.
const SESSIONS_AT_ONCE: usize = 200;
/// Segments verified at once.
const VERIFIED_AT_ONCE: usize = 2;

/// An archived session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The session.
    pub session_id: Snowflake,
    /// Its room.
    pub room_id: RoomId,
    /// When it began, Unix milliseconds.
    pub started_at_ms: i64,
    /// Its segments in objects.
    pub segments: usize,
    /// Its comments, those in the database too.
    pub comments: u64,
    /// Bytes of its objects.
    pub bytes: u64,
}

/// A segment that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its session.
    pub session_id: Snowflake,
    /// Its number.
    pub n: i64,
    /// What is wrong.
    pub what: String,
}

impl Archive {
    /// Archived sessions by id, those after one: at most a page of them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn list(&self, after: Snowflake) -> Result<Vec<Listed>, ArchiveError> {
        let mut page = Vec::new();
        for (session, comments) in self.store.archived_sessions(after, SESSIONS_AT_ONCE).await? {
            let rows = self.store.archived_segments(session.id).await?;
            page.push(Listed {
                session_id: session.id,
                room_id: session.room_id,
                started_at_ms: session.started_at_ms,
                segments: rows.len(),
                comments,
                bytes: rows.iter().map(|row| row.bytes).sum(),
            });
        }
        Ok(page)
    }

    /// Reads every object of a session, and compares it with what the database knows of it. Returns those that cannot be
    /// used.
    ///
    /// # Errors
    /// When the database or the object store is away.
    pub async fn verify(&self, session: Snowflake) -> Result<Vec<Found>, ArchiveError> {
        let rows = self.store.archived_segments(session).await?;
        let checks = stream::iter(rows).map(|row| self.check(row)).buffered(VERIFIED_AT_ONCE);
        let checks: Vec<_> = checks.collect().await;
        let mut broken = Vec::new();
        for check in checks {
            broken.extend(check?);
        }
        Ok(broken)
    }

    async fn check(&self, row: ArchivedSegment) -> Result<Option<Found>, ArchiveError> {
        match self.load_uncached(&row).await {
            Ok(_) => Ok(None),
            Err(ArchiveError::Missing(_) | ArchiveError::Damaged(..)) if self.is_replaced(&row).await? => Ok(None),
            Err(error @ (ArchiveError::Missing(_) | ArchiveError::Damaged(..))) => {
                Ok(Some(Found { session_id: row.session_id, n: row.n, what: error.to_string() }))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the segment has another object by now.
    async fn is_replaced(&self, row: &ArchivedSegment) -> Result<bool, ArchiveError> {
        let rows = self.store.archived_segments(row.session_id).await?;
        Ok(!rows.iter().any(|now| now.object == row.object))
    }
}

//! The port of notes: what moderators write about a person, for each other.
//!
//! `ingest` decides who writes, reads and removes. The erasure of the person takes the notes, and that of a moderator takes the
//! name off the notes that the moderator wrote ([`crate::ErasureStore::erase_profile`]).

use async_trait::async_trait;
use model::{RoomId, Snowflake, UserId};

use crate::{Result, RoomScope};

/// A note about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its id.
    pub id: Snowflake,
    /// Whom it is about.
    pub user_id: UserId,
    /// The room; `None` is the whole deployment.
    pub room_id: Option<RoomId>,
    /// Who wrote it: a user id, or `admin key`. Empty once that moderator was erased.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What it says.
    pub text: String,
}

/// Stores notes.
#[async_trait]
pub trait NoteStore: Send + Sync + 'static {
    /// Adds a note. False, and nothing is stored, when the person has `max` notes in the same room, or outside of rooms.
    async fn add_note(&self, note: &Note, max: usize) -> Result<bool>;
    /// One note.
    async fn note(&self, id: Snowflake) -> Result<Option<Note>>;
    /// Notes about a user, newest first, those below `before`. Those outside of rooms belong to [`RoomScope::All`] alone.
    async fn notes(&self, user: &UserId, of: &RoomScope, before: Option<Snowflake>, limit: usize) -> Result<Vec<Note>>;
    /// Removes a note; false when there is none.
    async fn remove_note(&self, id: Snowflake) -> Result<bool>;
}

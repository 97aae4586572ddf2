//! The port of small JSON documents: what the moderation desk and rooms keep beside comments.
//!
//! Appeals, polls, questions, people first seen, webhooks and their calls: each is a kind of document, whose body its owner
//! alone reads. A document has a version, so that of two changes one wins; a mark is made once by each user.

use async_trait::async_trait;
use model::{RoomId, UserId};

use crate::Result;

/// The kind of documents that keep a room's ended rankings. A purge in the room removes them: they hold names.
pub const RANKING: &str = "ranking";

/// The kind of documents that are keys of gifts, [`GIFT_COUNTED`] and then [`GIFT_SHOWN`]. They expire as `client_msg_id`s do,
/// from `due_ms` on.
pub const GIFT: &str = "gift";
/// The state of a gift whose value was added.
pub const GIFT_COUNTED: &str = "counted";
/// The state of a gift that viewers were told of, too.
pub const GIFT_SHOWN: &str = "shown";

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// What it is, such as `appeal`; at most 32 bytes.
    pub kind: &'static str,
    /// Its name within its kind, at most 191 bytes.
    pub id: String,
    /// The room that it belongs to, if it belongs to one.
    pub room_id: Option<RoomId>,
    /// What lists select by, at most 64 bytes.
    pub state: String,
    /// When something is due, Unix milliseconds.
    pub due_ms: i64,
    /// Counts its changes.
    pub version: i64,
    /// Whom it belongs to: it goes with that person's data.
    pub user_id: Option<UserId>,
    /// JSON.
    pub body: String,
}

/// Which documents to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct DocumentQuery<'a> {
    /// The kind.
    pub kind: &'static str,
    /// Of one of these rooms.
    pub rooms: Option<&'a [RoomId]>,
    /// In this state.
    pub state: Option<&'a str>,
    /// Due by this moment, Unix milliseconds.
    pub due_until_ms: Option<i64>,
    /// Behind the one of this id, in the order of the list. One that does not exist has nothing behind it.
    pub after: Option<&'a str>,
    /// At most this many.
    pub limit: usize,
}

/// Stores documents.
#[async_trait]
pub trait DocumentStore: Send + Sync + 'static {
    /// Adds a document; false when its kind has one of this id.
    async fn add_document(&self, document: &Document) -> Result<bool>;
    /// Replaces a document that still has this version, and counts the version up; false otherwise.
    async fn replace_document(&self, document: &Document) -> Result<bool>;
    /// One document.
    async fn document(&self, kind: &'static str, id: &str) -> Result<Option<Document>>;
    /// Documents in the order in which they were added.
    async fn documents(&self, query: DocumentQuery<'_>) -> Result<Vec<Document>>;
    /// Removes a document with its marks; false when there is none.
    async fn remove_document(&self, kind: &'static str, id: &str) -> Result<bool>;
    /// Marks a document for a user; false when this user has marked it before.
    async fn mark_document(&self, kind: &'static str, id: &str, user: &UserId, value: i64) -> Result<bool>;
    /// How many users marked a document with each value.
    async fn document_marks(&self, kind: &'static str, id: &str) -> Result<Vec<(i64, u64)>>;
}

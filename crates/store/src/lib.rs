//! What outlives the process, noun by noun.
//!
//! Each noun has a port (a trait and its types), a folder or file in each backend, and a suite in [`conformance`] that every
//! backend passes. [`sqlite`] is the embedded backend, [`mysql`] the one that many nodes share. Callers take the trait of the
//! noun they need; [`Store`] is all of them. The server opens a backend; nobody else names one.
//!
//! Every method is atomic: `Ok` means durable. After an `Err` the change was made as a whole or not at all, and nobody knows
//! which: the connection may have broken during the commit. Repeating the call is safe. The caller's `limit` bounds a list.
//! Times are Unix milliseconds. Nothing here decides: the rules live above, in `ingest`, `worker`, `hub` and `chat`.

pub mod archive;
pub mod audit;
pub mod chat;
mod codes;
mod comments;
pub mod conformance;
mod documents;
pub mod erasure;
mod events;
pub mod keys;
mod likes;
mod maintenance;
mod moderation;
pub mod mysql;
pub mod notes;
mod retention;
mod rooms;
pub mod samples;
mod score_accumulator;
mod scores;
mod search;
pub mod sqlite;
pub mod uploads;

pub use archive::ArchiveStore;
pub use chat::ChatStore;
pub use comments::{COUNTED_MAX, CommentStore, NewComment, Positioned, Purged, ReplayQuery};
pub use documents::{Document, DocumentQuery, DocumentStore, GIFT, GIFT_COUNTED, GIFT_SHOWN, RANKING};
pub use erasure::ErasureStore;
pub use events::EventStore;
pub use keys::KeyStore;
pub use likes::LikeStore;
pub use maintenance::MaintenanceStore;
pub use model::FirstAnswer;
pub use moderation::{
    AuditEntry, AuditQuery, Ban, BanKind, CLAIM_MS_MAX, LabelScore, ModerationStore, Review, ReviewStatus, ReviewsOf,
    RoomScope, WordList,
};
pub use notes::NoteStore;
pub use rooms::{RoomRow, RoomStore, SessionRow};
pub use samples::SampleStore;
pub use scores::{ScoreStore, Scores};
pub use uploads::UploadStore;

/// The store failed. The backend has logged and counted why; callers answer `unavailable`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store is away: {0}")]
pub struct StoreError(pub String);

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Every noun: what a backend offers once it implements each of them.
pub trait Store:
    CommentStore
    + RoomStore
    + ScoreStore
    + LikeStore
    + ModerationStore
    + EventStore
    + ChatStore
    + KeyStore
    + UploadStore
    + ArchiveStore
    + DocumentStore
    + SampleStore
    + NoteStore
    + ErasureStore
    + MaintenanceStore
{
}

impl<S> Store for S where
    S: CommentStore
        + RoomStore
        + ScoreStore
        + LikeStore
        + ModerationStore
        + EventStore
        + ChatStore
        + KeyStore
        + UploadStore
        + ArchiveStore
        + DocumentStore
        + SampleStore
        + NoteStore
        + ErasureStore
        + MaintenanceStore
{
}

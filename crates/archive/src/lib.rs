//! The cold archive: sessions that ended some days ago leave the database for immutable objects.
//!
//! [`segment`] is the form of an object, [`objects`] the store that holds them. [`Archive`] reads them, [`mover`] writes them:
//! an object is written, read back and compared before the database names it, and comments leave the database only after
//! that. [`ArchivedStore`] is a [`store::Store`] whose recordings are hot or cold alike: what somebody changes comes back into
//! the database first, is changed there, and goes out again later. [`serving`] is what the HTTP routes of segments need.
//!
//! The database knows which objects are valid; one that it does not name is garbage and is collected. Called by the server,
//! the API and the tool `barrage archive`. It decides nothing about who may read what.

mod archive;
mod archived_store;
mod cache;
mod delegate;
mod lease;
mod maintenance;
mod mover;
pub mod objects;
pub mod segment;
pub mod serving;

pub use archive::{Archive, ArchiveError, ArchiveSettings};
pub use archived_store::ArchivedStore;
pub use cache::Loaded;
pub use lease::Lease;
pub use maintenance::{Found, Listed};
pub use mover::Mover;

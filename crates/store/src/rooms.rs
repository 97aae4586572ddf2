//! The port of rooms and their live sessions.
//!
//! `ingest` starts and ends sessions; the API lists them. Several nodes may do so at once: of two starts or two ends one wins,
//! and the other learns which.

use async_trait::async_trait;
use model::{RoomId, RoomSettings, Session, Snowflake, UserId};

use crate::{Result, RoomScope};

/// A room as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomRow {
    /// The room.
    pub room_id: RoomId,
    /// Its settings.
    pub settings: RoomSettings,
    /// Somebody closed it explicitly, and nobody has opened it since.
    pub closed: bool,
    /// The live session.
    pub session: Option<Session>,
}

/// A session with the number of its comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub session: Session,
    /// Stored and archived comments, deleted ones not counted.
    pub comment_count: u64,
    /// The session's title, if it has one.
    pub title: Option<String>,
    /// Its comments have left the database for the archive.
    pub archived: bool,
}

/// Stores rooms and their sessions.
#[async_trait]
pub trait RoomStore: Send + Sync + 'static {
    /// All rooms that were ever configured or written in, newest activity first.
    async fn rooms(&self, limit: usize) -> Result<Vec<RoomRow>>;
    /// Rooms that are open to everybody, and those of `owner`, newest activity first.
    async fn open_rooms(&self, owner: Option<&UserId>, limit: usize) -> Result<Vec<RoomRow>>;
    /// The rooms of a scope, newest activity first.
    async fn rooms_of(&self, scope: &RoomScope, limit: usize) -> Result<Vec<RoomRow>>;
    /// One room.
    async fn room(&self, room: &RoomId) -> Result<Option<RoomRow>>;
    /// Replaces a room's settings if they equal `before`; a new room has the defaults. Returns whether it replaced
    /// them. Does not touch sessions or `closed`.
    async fn put_room(&self, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> Result<bool>;
    /// Starts `session` unless the room has a live one, and returns the live one. Creates the room if it is new. An
    /// explicit start clears `closed` and makes a live session explicit. Any other start returns `None` for a closed
    /// room. When several nodes start at once, all get the same session.
    async fn start_session(&self, session: &Session) -> Result<Option<Session>>;
    /// Ends the room's live session; with `only`, only that one. `close` also closes the room, otherwise `closed`
    /// stays. Returns the ended session; when several nodes end it at once, one of them gets it.
    async fn end_session(
        &self,
        room: &RoomId,
        only: Option<Snowflake>,
        at_ms: i64,
        close: bool,
    ) -> Result<Option<Session>>;
    /// Sessions of a room, newest first.
    async fn sessions(&self, room: &RoomId, limit: usize) -> Result<Vec<SessionRow>> {
        self.sessions_before(room, None, limit).await
    }
    /// Sessions of a room, newest first, from the one before `before` on.
    async fn sessions_before(&self, room: &RoomId, before: Option<Snowflake>, limit: usize) -> Result<Vec<SessionRow>>;
    /// One session.
    async fn session(&self, id: Snowflake) -> Result<Option<Session>>;
    /// Sets the title of a session, at most 200 characters. An unknown session is ignored.
    async fn set_session_title(&self, id: Snowflake, title: &str) -> Result<()>;
}

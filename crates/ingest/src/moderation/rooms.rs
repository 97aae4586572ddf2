//! Rooms as moderators see them: settings, opening, closing, recordings brought in.

use std::sync::Arc;

use model::room::RoomPatch;
use model::{Comment, RoomId, Session};

use super::{Done, Moderator};
use crate::Ingest;
use crate::rooms::RoomInfo;

impl Ingest {
    /// Changes a room's settings.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub async fn configure_room(&self, who: &Moderator, room: &RoomId, patch: RoomPatch) -> Done<Arc<RoomInfo>> {
        self.authorise(who, Some(room)).await?;
        let info = self.rooms.configure(room, patch).await?;
        self.audit(who, "room.configure", Some(room), room.to_string(), None).await?;
        Ok(info)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn open_room(&self, who: &Moderator, room: &RoomId) -> Done<Arc<Session>> {
        self.authorise(who, Some(room)).await?;
        let session = self.rooms.open(room).await?;
        self.audit(who, "room.open", Some(room), session.id.to_string(), None).await?;
        Ok(session)
    }

    /// Closes the room.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn close_room(&self, who: &Moderator, room: &RoomId) -> Done<Option<Arc<Session>>> {
        self.authorise(who, Some(room)).await?;
        let session = self.rooms.close(room).await?;
        self.audit(who, "room.close", Some(room), room.to_string(), None).await?;
        Ok(session)
    }

    /// Brings recorded comments in as a finished session of their own.
    ///
    /// # Errors
    /// When this moderator may not, or the store is away.
    pub async fn import(&self, who: &Moderator, room: &RoomId, session: Session, comments: Vec<Comment>) -> Done<u64> {
        self.authorise(who, Some(room)).await?;
        let comments = comments.into_iter().map(Arc::new).collect();
        let new = self.store.import_comments(&session, comments).await?;
        self.audit(who, "room.import", Some(room), session.id.to_string(), Some(format!("{new} comments"))).await?;
        Ok(new)
    }
}

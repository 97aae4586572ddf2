//! Comments that leave screens, history and replay.

use std::collections::HashMap;

use model::{EventBody, RoomId, Snowflake};

use super::{Done, ModerationError, Moderator};
use crate::Ingest;
use crate::events::Importance;

/// Ids in one deletion event.
const DELETED_IDS_MAX: usize = 100;

impl Ingest {
    /// Deletes a comment from screens, history and replay.
    ///
    /// # Errors
    /// When there is none, or it is in a room this moderator may not moderate.
    pub async fn delete_comment(&self, who: &Moderator, id: Snowflake) -> Done<()> {
        let none = ModerationError::NotFound("there is no such comment");
        let Some((room, _)) = self.store.position_of(id).await? else { return Err(none) };
        self.authorise(who, Some(&room)).await?;
        let deleted = self.store.delete_comments(&[id]).await?;
        if deleted.is_empty() {
            return Err(none);
        }
        self.tell_deleted(deleted).await?;
        self.audit(who, "comment.delete", Some(&room), id.to_string(), None).await
    }

    /// Deletes a comment that is not kept, which only the ring of its room knows.
    ///
    /// # Errors
    /// When it is in a room this moderator may not moderate.
    pub async fn delete_passing_comment(&self, who: &Moderator, room: &RoomId, id: Snowflake) -> Done<()> {
        self.authorise(who, Some(room)).await?;
        self.tell_deleted(vec![(id, room.clone())]).await?;
        self.audit(who, "comment.delete", Some(room), id.to_string(), None).await
    }

    pub(super) async fn tell_deleted(&self, deleted: Vec<(Snowflake, RoomId)>) -> Done<()> {
        let mut by_room: HashMap<RoomId, Vec<Snowflake>> = HashMap::new();
        for (id, room) in deleted {
            by_room.entry(room).or_default().push(id);
        }
        for (room, ids) in by_room {
            for ids in ids.chunks(DELETED_IDS_MAX) {
                let body = EventBody::CommentsDeleted { comment_ids: ids.to_vec() };
                self.tell(&room, Importance::Plain, body).await?;
            }
        }
        Ok(())
    }
}

//! The erasure of a person: asked for here, run by the server's job, which calls this crate for what rooms know.
//!
//! A request is stored before it is acknowledged, so it survives the process. Every step may be repeated.

use model::{RoomSettings, Snowflake, UserId};
use store::erasure::{Erasure, ErasureReceipt};

use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;

/// Who decides about held comments of an erased person.
const BY: &str = "erasure";
/// Rooms told in one go.
const ROOMS_MAX: usize = 100;

impl Ingest {
    /// Asks for everything of a person to be erased. Returns the id of the receipt.
    ///
    /// # Errors
    /// When this moderator may not moderate the whole deployment, or the store is away.
    pub async fn request_erasure(&self, who: &Moderator, user: &UserId) -> ModerationResult<Snowflake> {
        self.authorise(who, None).await?;
        let (id, at_ms) = (self.ids.next()?, self.clock.now_ms());
        self.store.request_erasure(id, user, at_ms).await?;
        // Not the person's name: the trail would keep it.
        self.audit(who, "person.erase", None, id.to_string(), None).await?;
        self.erasure_requested.notify_one();
        Ok(id)
    }

    /// How far an erasure is.
    ///
    /// # Errors
    /// When there is none, or this moderator may not moderate the whole deployment.
    pub async fn erasure(&self, who: &Moderator, id: Snowflake) -> ModerationResult<ErasureReceipt> {
        self.authorise(who, None).await?;
        self.store.erasure(id).await?.ok_or(ModerationError::NotFound("there is no such erasure"))
    }

    /// Erases what rooms know of a person: comments, held ones, likes, places in rankings, roles.
    ///
    /// # Errors
    /// When a dependency is away; then the call is to be repeated.
    pub async fn erase_from_rooms(&self, erasure: &Erasure) -> ModerationResult<()> {
        let Erasure { id, user_id, at_ms, .. } = erasure;
        self.purge_now(BY, user_id, None, *at_ms, Some(*id)).await?;
        for room in self.rooms.rooms_with_role(user_id) {
            let without = |settings: &RoomSettings| {
                let mut settings = settings.clone();
                settings.roles.remove(user_id);
                Ok(settings)
            };
            self.rooms.change(&room, without).await?;
        }
        self.people.forget(user_id);
        self.access_changes.notify();
        loop {
            let rooms = self.store.purged_rooms(*id, ROOMS_MAX).await?;
            for room in &rooms {
                self.publish_purged(room.clone(), user_id, *at_ms).await?;
                self.store.purged_room_told(*id, room).await?;
            }
            if rooms.len() < ROOMS_MAX {
                return Ok(());
            }
        }
    }
}

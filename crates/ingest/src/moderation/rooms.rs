//! A room's settings, opening and closing, and recordings that are imported.

use std::sync::Arc;

use model::moderation::Moderation;
use model::room::RoomPatch;
use model::{Comment, RoomId, RoomSettings, Session};
use serde_json::{Map, Value, json};

use super::{ModerationResult, Moderator};
use crate::Ingest;
use crate::rights::Action;
use crate::rooms::RoomInfo;

impl Ingest {
    /// Changes a room's settings.
    ///
    /// # Errors
    /// Names the field that is out of range; or this moderator may not.
    pub async fn configure_room(
        &self,
        who: &Moderator,
        room: &RoomId,
        mut patch: RoomPatch,
    ) -> ModerationResult<Arc<RoomInfo>> {
        self.authorise_action(who, Some(room), Action::Configure(&patch)).await?;
        patch.name = patch.name.map(|name| self.operator_text(&name)).transpose()?;
        let info = self.rooms.configure(room, patch).await?;
        self.access_changes.notify();
        self.audit(who, "room.configure", Some(room), room.to_string(), None).await?;
        Ok(info)
    }

    /// Raises the shield: `preset` over the room's rules; or lowers it, and the rules are as they were before.
    ///
    /// # Errors
    /// Names the key of the preset that cannot be; or this moderator may not.
    pub async fn shield_room(
        &self,
        who: &Moderator,
        room: &RoomId,
        on: bool,
        preset: Option<&Map<String, Value>>,
    ) -> ModerationResult<Arc<RoomInfo>> {
        self.authorise(who, Some(room)).await?;
        let usual = Moderation::shield_preset();
        let preset = preset.unwrap_or(&usual);
        let change = |settings: &RoomSettings| {
            let settings = settings.clone();
            if on { settings.shield(preset) } else { Ok(settings.without_shield()) }
        };
        let info = self.rooms.change(room, change).await?;
        if on {
            self.answer_raid(room, "shielded").await?;
        }
        let told = json!({ "room_id": room, "on": on, "moderation": info.settings.moderation, "by": who.name() });
        self.tell_services("shield", Some(room), told).await?;
        let action = if on { "shield.on" } else { "shield.off" };
        self.audit(who, action, Some(room), room.to_string(), None).await?;
        Ok(info)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn open_room(&self, who: &Moderator, room: &RoomId) -> ModerationResult<Arc<Session>> {
        self.authorise(who, Some(room)).await?;
        let session = self.rooms.open(room).await?;
        self.audit(who, "room.open", Some(room), session.id.to_string(), None).await?;
        Ok(session)
    }

    /// Closes the room.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn close_room(&self, who: &Moderator, room: &RoomId) -> ModerationResult<Option<Arc<Session>>> {
        self.authorise(who, Some(room)).await?;
        let session = self.rooms.close(room).await?;
        self.audit(who, "room.close", Some(room), room.to_string(), None).await?;
        Ok(session)
    }

    /// Imports recorded comments as a finished session of their own, with its title if there is one. Returns how many were
    /// new.
    ///
    /// # Errors
    /// When this moderator may not, or the store is away.
    pub async fn import(
        &self,
        who: &Moderator,
        room: &RoomId,
        session: Session,
        title: Option<&str>,
        comments: Vec<Comment>,
    ) -> ModerationResult<u64> {
        self.authorise(who, Some(room)).await?;
        let comments = comments.into_iter().map(Arc::new).collect();
        let new = self.store.import_comments(&session, comments).await?;
        if let Some(title) = title {
            self.store.set_session_title(session.id, title).await?;
        }
        self.audit(who, "room.import", Some(room), session.id.to_string(), Some(format!("{new} comments"))).await?;
        Ok(new)
    }
}

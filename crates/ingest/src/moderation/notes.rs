//! Notes about a person, which moderators write for each other. The person never sees them.
//!
//! The audit trail says who wrote or removed a note about whom, never what it says: a moderator reads the trail of the own
//! rooms, also what concerns that moderator.

use model::{RoomId, Snowflake, UserId};
use serde_json::json;
use store::notes::Note;

use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;
use crate::rights::{self, Action, Rank};

/// Longest note, in characters.
pub const TEXT_CHARS_MAX: usize = 500;
/// Notes about one person in one room, or outside of rooms.
pub const NOTES_MAX: usize = 50;

impl Ingest {
    /// Notes about a person where this moderator may read them, or of one room; newest first, those below `before`.
    ///
    /// # Errors
    /// When this moderator may not read them.
    pub async fn notes(
        &self,
        who: &Moderator,
        about: &UserId,
        room: Option<&RoomId>,
        before: Option<Snowflake>,
        limit: usize,
    ) -> ModerationResult<Vec<Note>> {
        rights::may_know_notes(who, about)?;
        let scope = self.list_scope(who, room).await?;
        Ok(self.store.notes(about, &scope, before, limit).await?)
    }

    /// Writes a note about a person, in a room or for the whole deployment.
    ///
    /// # Errors
    /// When it is too long, there are too many, or this moderator may not.
    pub async fn add_note(
        &self,
        who: &Moderator,
        about: &UserId,
        room: Option<&RoomId>,
        text: &str,
    ) -> ModerationResult<Note> {
        self.authorise_action(who, room, Action::Decide).await?;
        rights::may_know_notes(who, about)?;
        let text = words::sanitise_lines(text).trim().to_owned();
        if !(1..=TEXT_CHARS_MAX).contains(&text.chars().count()) {
            return Err(ModerationError::Invalid(format!("text must have 1-{TEXT_CHARS_MAX} characters")));
        }
        let (id, at_ms) = (self.ids.next()?, self.clock.now_ms());
        let (user_id, room_id, by) = (about.clone(), room.cloned(), who.name().to_owned());
        let note = Note { id, user_id, room_id, by, at_ms, text };
        if !self.store.add_note(&note, NOTES_MAX).await? {
            let full = format!("there are {NOTES_MAX} notes about this person here: remove one first");
            return Err(ModerationError::Invalid(full));
        }
        let detail = json!({ "note_id": id }).to_string();
        self.audit(who, "note.add", room, about.to_string(), Some(detail)).await?;
        Ok(note)
    }

    /// Removes a note. Its author does, and who stands above the author.
    ///
    /// # Errors
    /// When there is none, or this moderator may not.
    pub async fn remove_note(&self, who: &Moderator, about: &UserId, id: Snowflake) -> ModerationResult<()> {
        self.authorise_somewhere(who).await?;
        rights::may_know_notes(who, about)?;
        let none = ModerationError::NotFound("there is no such note");
        let Some(note) = self.store.note(id).await?.filter(|note| note.user_id == *about) else { return Err(none) };
        let room = note.room_id.as_ref();
        let theirs = match (room, UserId::new(&note.by)) {
            (Some(room), Ok(by)) => self.rank_of(&by, room, &self.rooms.info(room).await?.settings).await?,
            // Erased, or no user at all.
            _ if note.by.is_empty() => None,
            _ => Some(Rank::Admin),
        };
        self.authorise_action(who, room, Action::RemoveNote(&note.by, theirs)).await?;
        if !self.store.remove_note(id).await? {
            return Err(none);
        }
        let detail = json!({ "note_id": id }).to_string();
        self.audit(who, "note.remove", room, about.to_string(), Some(detail)).await
    }
}

//! What the house says: announcements and gifts.

use model::{EventBody, Gift, RoomId, Snowflake};

use super::{Done, ModerationError, Moderator, check_note};
use crate::Ingest;
use crate::events::Importance;

/// Longest announcement, in characters.
const ANNOUNCEMENT_CHARS_MAX: usize = 1_000;

impl Ingest {
    /// Announces something to a room: everybody acknowledges it.
    ///
    /// # Errors
    /// When it is empty or too long, or this moderator may not.
    pub async fn announce(&self, who: &Moderator, room: &RoomId, content: &str) -> Done<Snowflake> {
        self.authorise(who, Some(room)).await?;
        let content = words::sanitise(content).into_owned();
        if !(1..=ANNOUNCEMENT_CHARS_MAX).contains(&content.chars().count()) {
            return Err(ModerationError::Invalid(format!(
                "an announcement has 1 to {ANNOUNCEMENT_CHARS_MAX} characters"
            )));
        }
        let id = self.tell(room, Importance::Critical, EventBody::Announcement { content }).await?;
        self.audit(who, "announce", Some(room), id.to_string(), None).await?;
        Ok(id)
    }

    /// Shows a gift in a room, adds its value to the giver's score, and makes sure that giver and
    /// owner learn of it.
    ///
    /// # Errors
    /// When a field is out of range, or this moderator may not.
    pub async fn give(&self, who: &Moderator, room: &RoomId, gift: Gift) -> Done<Snowflake> {
        self.authorise(who, Some(room)).await?;
        check_note("gift", &gift.gift)?;
        if gift.gift.is_empty() || gift.count == 0 || gift.value > i64::MAX.cast_unsigned() {
            return Err(ModerationError::Invalid("a gift has a name, a count from 1, and a value".into()));
        }
        if !(1..=model::identity::USERNAME_CHARS_MAX).contains(&gift.username.chars().count()) {
            return Err(ModerationError::Invalid("username must be 1-32 characters".into()));
        }
        let info = self.rooms.info(room).await?;
        if let Some(session) = &info.session {
            self.store.add_gift(session.id, &gift.user_id, &gift.username, gift.value).await?;
        }
        let mut concerned = vec![gift.user_id.clone()];
        concerned.extend(info.settings.owner_id.clone().filter(|owner| *owner != gift.user_id));
        let id = self.tell_and_keep(room, Importance::CriticalFor(concerned), EventBody::Gift(gift)).await?;
        self.audit(who, "gift", Some(room), id.to_string(), None).await?;
        Ok(id)
    }
}

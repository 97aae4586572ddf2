//! What the house says: announcements, gifts, and what its own programs want shown.

use model::{Counted, EventBody, Gift, RoomId, Snowflake, UserId};
use serde::Deserialize;

use super::{Done, ModerationError, Moderator, check_note};
use crate::Ingest;
use crate::events::Importance;
use crate::rooms::RoomInfo;

/// Longest announcement, in characters.
const ANNOUNCEMENT_CHARS_MAX: usize = 1_000;

/// What a program of the operator's may have shown in a room.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Shown {
    /// Somebody follows the room's owner.
    Follow {
        /// Who.
        user_id: UserId,
        /// The shown name.
        username: String,
    },
    /// Something viewers should know.
    Notice {
        /// A stable name for programs.
        code: String,
        /// For people.
        message: String,
    },
}

impl Ingest {
    /// Announces something to a room; everybody acknowledges it if it is `critical`.
    ///
    /// # Errors
    /// When it is empty or too long, or this moderator may not.
    pub async fn announce(&self, who: &Moderator, room: &RoomId, content: &str, critical: bool) -> Done<Snowflake> {
        self.authorise(who, Some(room)).await?;
        let content = words::sanitise(content).into_owned();
        if !(1..=ANNOUNCEMENT_CHARS_MAX).contains(&content.chars().count()) {
            return Err(ModerationError::Invalid(format!(
                "an announcement has 1 to {ANNOUNCEMENT_CHARS_MAX} characters"
            )));
        }
        let id = self.tell(room, importance(critical), EventBody::Announcement { content }).await?;
        self.audit(who, "announce", Some(room), id.to_string(), None).await?;
        Ok(id)
    }

    /// Shows a room that somebody follows its owner, or a notice of an operator's program.
    ///
    /// # Errors
    /// When a field is out of range, or this moderator may not.
    pub async fn show(&self, who: &Moderator, room: &RoomId, shown: Shown, critical: bool) -> Done<Snowflake> {
        self.authorise(who, Some(room)).await?;
        let body = match shown {
            Shown::Follow { user_id, username } => {
                check_username(&username)?;
                EventBody::Follow { user_id, username }
            }
            Shown::Notice { code, message } => {
                check_note("code", &code)?;
                check_note("message", &message)?;
                EventBody::Notice { code, message }
            }
        };
        Ok(self.tell(room, importance(critical), body).await?)
    }

    /// Shows a gift in a room, adds its value to the giver's score, and makes sure that giver and
    /// owner learn of it; everybody acknowledges it if it is `critical`.
    ///
    /// # Errors
    /// When a field is out of range, or this moderator may not.
    pub async fn give(&self, who: &Moderator, room: &RoomId, mut gift: Gift, critical: bool) -> Done<Snowflake> {
        self.authorise(who, Some(room)).await?;
        check_note("gift", &gift.gift)?;
        if gift.gift.is_empty() || gift.count == 0 || gift.value > i64::MAX.cast_unsigned() {
            return Err(ModerationError::Invalid("a gift has a name, a count from 1, and a value".into()));
        }
        check_username(&gift.username)?;
        let info = self.rooms.info(room).await?;
        gift.counted = match &info.session {
            Some(session) => {
                let given = self.store.add_gift(session.id, &gift.user_id, &gift.username, gift.value).await?;
                Some(Counted { session_id: session.id, given })
            }
            None => None,
        };
        let how = if critical { Importance::Critical } else { Importance::CriticalFor(concerned(&info, &gift)) };
        let id = self.tell_and_keep(room, how, EventBody::Gift(gift)).await?;
        self.audit(who, "gift", Some(room), id.to_string(), None).await?;
        Ok(id)
    }
}

fn importance(critical: bool) -> Importance {
    if critical { Importance::Critical } else { Importance::Plain }
}

/// A gift concerns who gives it and who owns the room.
fn concerned(info: &RoomInfo, gift: &Gift) -> Vec<UserId> {
    let owner = info.settings.owner_id.clone().filter(|owner| *owner != gift.user_id);
    std::iter::once(gift.user_id.clone()).chain(owner).collect()
}

fn check_username(username: &str) -> Done<()> {
    if (1..=model::identity::USERNAME_CHARS_MAX).contains(&username.chars().count()) {
        Ok(())
    } else {
        Err(ModerationError::Invalid("username must be 1-32 characters".into()))
    }
}

//! What moderators do: reviews, deletions, bans, words, announcements, gifts, sessions. Everything
//! is written to the store, told over the log, and left in the audit trail.
//!
//! Called by the API, which has verified who somebody is; whether they may is decided here.

mod bans;
mod deletions;
mod lists;
mod messages;
mod reviews;
mod rooms;

use bus::AppendError;
use model::{Code, Identity, Level, NoIds, RoomId, WireError};
use store::{AuditEntry, StoreError};
use words::BuildError;

pub use self::bans::NewBan;
pub use self::lists::{DRY_RUN_COMMENTS_MAX, Trial};
pub use self::messages::Shown;
use crate::events::StoreOrLog;
use crate::rooms::{ChangeError, RoomInfo};
use crate::{Ingest, Refusal};

/// Longest reason or gift name, in characters.
const NOTE_CHARS_MAX: usize = 200;

/// Somebody who moderates.
#[derive(Debug, Clone)]
pub enum Moderator {
    /// Holds the admin key, or any caller of a development server: may do everything.
    Key,
    /// A verified identity.
    Person(Identity),
}

impl Moderator {
    /// The name in the audit trail.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Key => "admin key",
            Self::Person(who) => who.user_id.as_str(),
        }
    }

    fn may(&self, room: Option<&RoomId>, info: Option<&RoomInfo>) -> bool {
        match (self, room) {
            (Self::Key, _) => true,
            (Self::Person(who), None) => who.level == Level::Admin,
            (Self::Person(who), Some(room)) => {
                who.may_moderate(room, info.and_then(|info| info.settings.owner_id.as_ref()))
            }
        }
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// This moderator may not, here.
    #[error("you may not do this here")]
    Forbidden,
    /// It does not exist.
    #[error("{0}")]
    NotFound(&'static str),
    /// The lists cannot be used.
    #[error(transparent)]
    Words(#[from] BuildError),
    /// A dependency is away.
    #[error("away")]
    Away,
}

impl From<ModerationError> for WireError {
    fn from(error: ModerationError) -> Self {
        match error {
            ModerationError::Invalid(message) => WireError::invalid(message),
            ModerationError::Forbidden => WireError::new(Code::Forbidden, "you may not do this here"),
            ModerationError::NotFound(what) => WireError::not_found(what),
            ModerationError::Words(error) => WireError::invalid(error.to_string()),
            ModerationError::Away => WireError::unavailable(),
        }
    }
}

impl From<StoreError> for ModerationError {
    fn from(_: StoreError) -> Self {
        Self::Away
    }
}

impl From<AppendError> for ModerationError {
    fn from(_: AppendError) -> Self {
        Self::Away
    }
}

impl From<NoIds> for ModerationError {
    fn from(_: NoIds) -> Self {
        Self::Away
    }
}

impl From<StoreOrLog> for ModerationError {
    fn from(_: StoreOrLog) -> Self {
        Self::Away
    }
}

impl From<ChangeError> for ModerationError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Setting(setting) => Self::Invalid(setting.to_string()),
            ChangeError::Closed | ChangeError::Away => Self::Away,
        }
    }
}

impl From<Refusal> for ModerationError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Overloaded | Refusal::Unavailable => Self::Away,
            other => Self::Invalid(other.to_string()),
        }
    }
}

type Done<T> = Result<T, ModerationError>;

impl Ingest {
    /// Refuses a moderator who may not act in a room, or, without a room, on the whole deployment.
    ///
    /// # Errors
    /// [`ModerationError::Forbidden`].
    pub async fn authorise(&self, who: &Moderator, room: Option<&RoomId>) -> Done<()> {
        let info = match room {
            Some(room) => Some(self.rooms.info(room).await?),
            None => None,
        };
        if who.may(room, info.as_deref()) { Ok(()) } else { Err(ModerationError::Forbidden) }
    }

    async fn audit(
        &self,
        who: &Moderator,
        action: &str,
        room: Option<&RoomId>,
        target: String,
        detail: Option<String>,
    ) -> Done<()> {
        let (at_ms, actor, action) = (self.clock.now_ms(), who.name().into(), action.into());
        self.store.audit(AuditEntry { at_ms, actor, action, room_id: room.cloned(), target, detail }).await?;
        Ok(())
    }

    /// The audit trail, newest first.
    ///
    /// # Errors
    /// When this moderator may not see it.
    pub async fn audit_trail(&self, who: &Moderator, room: Option<&RoomId>, limit: usize) -> Done<Vec<AuditEntry>> {
        self.authorise(who, room).await?;
        Ok(self.store.audit_trail(room, limit).await?)
    }
}

fn check_note(field: &str, text: &str) -> Result<(), ModerationError> {
    if text.chars().count() <= NOTE_CHARS_MAX {
        Ok(())
    } else {
        Err(ModerationError::Invalid(format!("{field} may have {NOTE_CHARS_MAX} characters")))
    }
}

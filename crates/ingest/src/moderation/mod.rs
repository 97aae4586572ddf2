//! What moderators may do: reviews, deletions, bans, words, announcements, gifts, sessions.
//!
//! Called by the API, which has verified who asks; [`Ingest::authorise`] decides whether they may. Each action changes
//! the store, is published over the log, and leaves an entry in the audit trail.

mod appeals;
mod bans;
mod deletions;
mod erasure;
mod lists;
mod messages;
mod notes;
mod nuke;
mod reasons;
mod reviews;
mod roles;
mod rooms;
mod webhooks;

use log::AppendError;
use model::{Code, Identity, NoIds, RoomId, WireError};
use store::{AuditEntry, AuditQuery, RoomScope, StoreError};
use words::BuildError;

pub use self::appeals::Appeal;
pub use self::bans::NewBan;
pub use self::lists::{DRY_RUN_COMMENTS_MAX, DryRunReport};
pub use self::messages::OperatorEvent;
pub use self::notes::{NOTES_MAX, TEXT_CHARS_MAX as NOTE_TEXT_CHARS_MAX};
pub use self::nuke::{NukeMatch, NukeReport, NukeRequest};
pub use self::roles::RoleGiven;
pub use self::webhooks::DeadLetter;
use crate::events::PublishError;
use crate::rights::{self, Action, OWNED_MAX};
use crate::rooms::ChangeError;
use crate::{Ingest, Refusal};

/// Longest reason or gift name, in characters.
const NOTE_CHARS_MAX: usize = 200;

/// Who moderates.
#[derive(Debug, Clone)]
pub enum Moderator {
    /// Holds the admin key, or calls a development server without an identity: may do everything.
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
}

/// Why a moderator's request failed.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// A field is out of range.
    #[error("{0}")]
    Invalid(String),
    /// This moderator may not do this here.
    #[error("you may not do this here")]
    Forbidden,
    /// It does not exist.
    #[error("{0}")]
    NotFound(&'static str),
    /// It was done or decided before.
    #[error("{0}")]
    TooLate(&'static str),
    /// Somebody else is deciding about it, or has decided.
    #[error("{0}")]
    Claimed(&'static str),
    /// It contains a blocked word.
    #[error("the text contains a word that is not allowed here")]
    Blocked,
    /// The room takes neither comments nor gifts.
    #[error("the room is closed")]
    Closed,
    /// The word lists cannot be used.
    #[error(transparent)]
    Words(#[from] BuildError),
    /// A dependency is away.
    #[error("a dependency is away")]
    Away,
}

impl From<ModerationError> for WireError {
    fn from(error: ModerationError) -> Self {
        match error {
            ModerationError::Invalid(message) => WireError::invalid(message),
            ModerationError::Forbidden => WireError::new(Code::Forbidden, "you may not do this here"),
            ModerationError::NotFound(what) => WireError::not_found(what),
            ModerationError::TooLate(what) => WireError::new(Code::TooLate, what),
            ModerationError::Claimed(what) => WireError::new(Code::Claimed, what),
            ModerationError::Blocked => WireError::new(Code::ContentBlocked, error.to_string()),
            ModerationError::Closed => WireError::new(Code::RoomClosed, "the room takes no gifts now"),
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

impl From<PublishError> for ModerationError {
    fn from(_: PublishError) -> Self {
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
            Refusal::Overloaded | Refusal::Unavailable | Refusal::Unknown => Self::Away,
            Refusal::RoomClosed => Self::Closed,
            other => Self::Invalid(other.to_string()),
        }
    }
}

/// Result of a moderator's request.
type ModerationResult<T> = Result<T, ModerationError>;

impl Ingest {
    /// Refuses a moderator who may not act in a room or, without a room, in the whole deployment.
    ///
    /// # Errors
    /// [`ModerationError::Forbidden`].
    pub async fn authorise(&self, who: &Moderator, room: Option<&RoomId>) -> ModerationResult<()> {
        self.authorise_action(who, room, Action::Moderate).await
    }

    /// As [`Ingest::authorise`], for one action.
    pub(crate) async fn authorise_action(
        &self,
        who: &Moderator,
        room: Option<&RoomId>,
        action: Action<'_>,
    ) -> ModerationResult<()> {
        let Some(room) = room else {
            let everywhere = rights::may_moderate_everywhere(who);
            return if everywhere { Ok(()) } else { Err(ModerationError::Forbidden) };
        };
        // Who is banned from the room moderates it no more.
        if let Moderator::Person(who) = who
            && self.bans.check_ban(&who.user_id, Some(room), self.clock.now_ms()).is_err()
        {
            return Err(ModerationError::Forbidden);
        }
        rights::may_moderate(who, room, &self.rooms.info(room).await?.settings, action)
    }

    /// The rooms that a moderator's list covers: all that this one moderates, or one of them.
    pub(crate) async fn list_scope(&self, who: &Moderator, room: Option<&RoomId>) -> ModerationResult<RoomScope> {
        match room {
            Some(room) => {
                self.authorise_action(who, Some(room), Action::Read).await?;
                Ok(RoomScope::Listed(vec![room.clone()]))
            }
            None => self.read_scope(who).await,
        }
    }

    /// The same as a list of rooms, `None` for all: documents know nothing of owners.
    pub(crate) async fn listed_rooms(
        &self,
        who: &Moderator,
        room: Option<&RoomId>,
    ) -> ModerationResult<Option<Vec<RoomId>>> {
        match self.list_scope(who, room).await? {
            RoomScope::All => Ok(None),
            RoomScope::Listed(rooms) => Ok(Some(rooms)),
            owned @ RoomScope::OwnedBy { .. } => {
                let owned = self.store.rooms_of(&owned, OWNED_MAX).await?;
                Ok(Some(owned.into_iter().map(|row| row.room_id).collect()))
            }
        }
    }

    /// The rooms whose reviews and trail this moderator may read. A role that does not allow it, and a room from which the
    /// moderator is banned, count for nothing.
    async fn read_scope(&self, who: &Moderator) -> ModerationResult<RoomScope> {
        self.authorise_somewhere(who).await?;
        let rooms = match self.scope(who).await? {
            RoomScope::Listed(rooms) => rooms,
            scope => return Ok(scope),
        };
        let mut readable = Vec::with_capacity(rooms.len());
        for room in rooms {
            match self.authorise_action(who, Some(&room), Action::Read).await {
                Ok(()) => readable.push(room),
                Err(ModerationError::Forbidden) => {}
                Err(error) => return Err(error),
            }
        }
        if readable.is_empty() { Err(ModerationError::Forbidden) } else { Ok(RoomScope::Listed(readable)) }
    }

    pub(crate) async fn audit(
        &self,
        who: &Moderator,
        action: &str,
        room: Option<&RoomId>,
        target: String,
        detail: Option<String>,
    ) -> ModerationResult<()> {
        let (at_ms, actor, action) = (self.clock.now_ms(), who.name().into(), action.into());
        self.store.audit(vec![AuditEntry { at_ms, actor, action, room_id: room.cloned(), target, detail }]).await?;
        Ok(())
    }

    /// The audit trail where this moderator may read it, or of one room; newest first, each entry with its number.
    ///
    /// # Errors
    /// When this moderator may not see it.
    pub async fn audit_trail(
        &self,
        who: &Moderator,
        room: Option<&RoomId>,
        query: AuditQuery,
    ) -> ModerationResult<Vec<(i64, AuditEntry)>> {
        let of = self.list_scope(who, room).await?;
        Ok(self.store.audit_trail(&AuditQuery { of, ..query }).await?)
    }
}

fn check_note(field: &str, text: &str) -> Result<(), ModerationError> {
    if text.chars().count() <= NOTE_CHARS_MAX {
        Ok(())
    } else {
        Err(ModerationError::Invalid(format!("{field} may have {NOTE_CHARS_MAX} characters")))
    }
}

//! Who may read a room, and who may write in it.
//!
//! Owns the rule, and the signal that an answer may have changed. Every door asks it: sockets, polls, event streams,
//! replay, hot comments, rankings, sessions, room info, likes and comments. Called by the gateway and the API, and by
//! [`crate::admit`] and [`crate::likes`]. Changes nothing and never asks the store for more than the room's settings.
//!
//! The checks run in one order, so that one person gets one answer everywhere: identity, a ban everywhere, the room's
//! token list and privacy, whether the room is enabled, a ban in the room. Writers are then held against the room's
//! state, its speakers, and mutes.

use std::future::pending;
use std::time::Duration;

use model::{Identity, Level, RoomId, RoomSettings, Speakers};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::rooms::RoomInfo;
use crate::{Ingest, Refusal, TokenError};

/// Who asks to read.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// Holds the admin key.
    AdminKey,
    /// A verified identity.
    User(&'a Identity),
    /// Somebody for whom the operator's back end vouched without saying who it is: a private room is open to them.
    Vouched,
    /// Nobody, on a development server's HTTP, where even the admin API needs no key.
    Developer,
    /// Nobody.
    Anonymous,
}

impl<'a> From<Option<&'a Identity>> for Reader<'a> {
    fn from(who: Option<&'a Identity>) -> Self {
        who.map_or(Self::Anonymous, Self::User)
    }
}

/// Says that bans, revocations or rooms' settings have changed, so that whatever waits asks again.
#[derive(Debug)]
pub struct AccessChanges(watch::Sender<()>);

impl Default for AccessChanges {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl AccessChanges {
    /// Wakes at every change from here on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    pub(crate) fn notify(&self) {
        self.0.send_replace(());
    }
}

/// Where a comment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into the room as it is now.
    Live,
    /// Into a recording, which takes comments while its room is closed.
    Recording,
}

impl Ingest {
    /// Refuses a reader who may read no room at all.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] without an identity where one is needed, [`Refusal::Banned`] for a ban everywhere.
    pub fn may_connect(&self, who: Reader<'_>) -> Result<(), Refusal> {
        match who {
            Reader::AdminKey | Reader::Vouched | Reader::Developer => Ok(()),
            Reader::User(who) => self.may_still_connect(who),
            Reader::Anonymous if self.anonymous_read => Ok(()),
            Reader::Anonymous => Err(Refusal::Unauthorized("a token is needed")),
        }
    }

    fn may_still_connect(&self, who: &Identity) -> Result<(), Refusal> {
        let now_ms = self.clock.now_ms();
        if who.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms) {
            return Err(Refusal::Unauthorized("the token has expired"));
        }
        self.tokens.check_revocation(&who.user_id, who.issued_at_ms).map_err(|error| {
            Refusal::Unauthorized(match error {
                TokenError::RevokedUndated => "the user's tokens were revoked, and this one has no iat",
                _ => "the token was revoked",
            })
        })?;
        self.bans.check_ban(&who.user_id, None, now_ms)
    }

    /// Waits until a reader is refused: a room, or with `None` everywhere. For streams and polls, which wait with it.
    pub async fn until_refused(&self, who: Reader<'_>, room: Option<&RoomId>) -> Refusal {
        // Subscribed before the first question, so that no change falls between the two.
        let mut changes = self.access_changes.subscribe();
        loop {
            changes.mark_unchanged();
            let allowed = match room {
                Some(room) => self.may_read(who, room).await,
                None => self.may_connect(who),
            };
            match allowed {
                // A store that is away ends nobody's stream.
                Ok(()) | Err(Refusal::Unavailable) => {}
                Err(refusal) => return refusal,
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.until_expired(who) => {}
            }
        }
    }

    async fn until_expired(&self, who: Reader<'_>) {
        let Reader::User(Identity { expires_at_ms: Some(expires_at_ms), .. }) = who else { return pending().await };
        let left_ms = expires_at_ms.saturating_sub(self.clock.now_ms()).max(1);
        sleep(Duration::from_millis(left_ms.unsigned_abs())).await;
    }

    /// Refuses a reader who may not read a room.
    ///
    /// # Errors
    /// As [`Ingest::may_connect`]; [`Refusal::Forbidden`] for a room that is not theirs, [`Refusal::RoomClosed`] for a
    /// disabled one, [`Refusal::Unavailable`] while neither the store nor this node knows the room.
    pub async fn may_read(&self, who: Reader<'_>, room: &RoomId) -> Result<(), Refusal> {
        self.may_connect(who)?;
        let settings = self.rooms.access_settings(room).await?;
        self.may_read_under(who, room, &settings)
    }

    /// As [`Ingest::may_read`], without waiting, for somebody who was let in before.
    ///
    /// # Errors
    /// As [`Ingest::may_read`].
    pub fn may_still_read(&self, who: Reader<'_>, room: &RoomId) -> Result<(), Refusal> {
        let settings = self.rooms.known_settings(room).unwrap_or_default();
        self.may_read_under(who, room, &settings)
    }

    /// As [`Ingest::may_read`], under settings that the caller has at hand.
    ///
    /// # Errors
    /// As [`Ingest::may_read`].
    pub fn may_read_under(&self, who: Reader<'_>, room: &RoomId, settings: &RoomSettings) -> Result<(), Refusal> {
        self.may_connect(who)?;
        may_enter(who, room, settings)?;
        match who {
            Reader::User(who) => self.bans.check_ban(&who.user_id, Some(room), self.clock.now_ms()),
            Reader::AdminKey | Reader::Vouched | Reader::Developer | Reader::Anonymous => Ok(()),
        }
    }

    /// Whether this reader sees the comments of a room that others do not: those that moderate it.
    #[must_use]
    pub fn sees_shadows(&self, who: Reader<'_>, room: &RoomId) -> bool {
        match who {
            Reader::AdminKey => true,
            Reader::User(who) => self.rooms.known_settings(room).is_some_and(|settings| who.is_staff(room, &settings)),
            Reader::Vouched | Reader::Developer | Reader::Anonymous => false,
        }
    }

    /// As [`Ingest::sees_shadows`], for many readers of one room.
    pub fn shadow_readers(&self, room: &RoomId) -> impl Fn(&Identity) -> bool + use<> {
        let (room, settings) = (room.clone(), self.rooms.known_settings(room));
        move |who| settings.as_ref().is_some_and(|settings| who.is_staff(&room, settings))
    }

    /// Refuses a writer who may not write in a room now.
    ///
    /// # Errors
    /// As [`Ingest::may_read`]; [`Refusal::RoomClosed`] when the room takes no comments, [`Refusal::Forbidden`] when it
    /// takes none of this writer, [`Refusal::Muted`].
    pub(crate) fn may_write(
        &self,
        who: &Identity,
        room: &RoomId,
        info: &RoomInfo,
        target: Target,
    ) -> Result<(), Refusal> {
        self.may_read_under(Reader::User(who), room, &info.settings)?;
        let takes_comments = || {
            // Where nobody may speak, its owner and admins still may.
            let speaks_anyway = info.settings.enabled && is_master(who, room, &info.settings);
            !info.closed && (self.rooms.accepts_comments(info) || speaks_anyway)
        };
        if target == Target::Live && !takes_comments() {
            return Err(Refusal::RoomClosed);
        }
        if !is_speaker(who, room, &info.settings) {
            return Err(Refusal::NotSpeaker);
        }
        self.bans.check_speech(&who.user_id, Some(room), self.clock.now_ms())
    }
}

/// What the room's settings and the reader's token say.
fn may_enter(who: Reader<'_>, room: &RoomId, settings: &RoomSettings) -> Result<(), Refusal> {
    if room.is_everywhere() {
        return Err(Refusal::Forbidden("the name is reserved"));
    }
    let identity = match who {
        Reader::AdminKey => return Ok(()),
        Reader::User(who) => Some(who),
        Reader::Vouched | Reader::Developer | Reader::Anonymous => None,
    };
    if identity.is_some_and(|who| is_master(who, room, settings)) {
        return Ok(());
    }
    if identity.is_some_and(|who| !who.may_enter(room)) {
        return Err(Refusal::Forbidden("your token is not good for this room"));
    }
    let is_let_in = matches!(who, Reader::Vouched) || identity.is_some_and(|who| who.rooms.is_some());
    if settings.private && !is_let_in {
        return Err(Refusal::Forbidden("the room is private"));
    }
    if !settings.enabled {
        return Err(Refusal::RoomClosed);
    }
    Ok(())
}

/// Whether this is the room's owner, or an admin, with a token that is valid for the room.
fn is_master(who: &Identity, room: &RoomId, settings: &RoomSettings) -> bool {
    who.may_enter(room) && (who.level == Level::Admin || settings.owner_id.as_ref() == Some(&who.user_id))
}

/// Whether the room's speakers include somebody who may enter it.
fn is_speaker(who: &Identity, room: &RoomId, settings: &RoomSettings) -> bool {
    let moderates = || who.is_staff(room, settings);
    match settings.speakers {
        Speakers::Everyone => true,
        Speakers::Vip => who.level >= Level::Vip || moderates(),
        Speakers::Moderators => moderates(),
        Speakers::Nobody => is_master(who, room, settings),
    }
}

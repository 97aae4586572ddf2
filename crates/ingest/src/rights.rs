//! Which moderator may do what, and to whom: admin above owner above moderator.
//!
//! Owns the hierarchy; called by [`crate::moderation`] before anything is read or changed. A token's list of rooms binds
//! everybody who bears it, admins too. Knows owners and roles by the room's settings, and moderators and admins by the
//! tokens that any node has seen.
//!
//! | | auditor | helper | moderator by role | moderator by token | owner | admin |
//! |---|---|---|---|---|---|---|
//! | reads reviews and the audit trail | yes | | yes | yes | yes | yes |
//! | reads notes about others | yes | | yes | yes | yes | yes |
//! | deletes, mutes for at most ten minutes | | yes | yes | yes | yes | yes |
//! | mutes longer, bans, lifts, decides, nukes, pins, runs polls, writes notes, removes the own | | | yes | yes | yes | yes |
//! | opens, closes, announces, changes settings, raises the shield | | | | yes | yes | yes |
//! | gives and takes roles, gives the room away | | | | | yes | yes |
//! | word lists, webhooks, everything outside of one room | | | | | | yes |
//!
//! What a token did does not outlive it: nobody but the owner, or who may moderate everywhere, changes a room's owner, so
//! no right outlasts the token that it came from. Nobody acts on who stands as high or higher; admins act on all. Nobody reads
//! or writes notes about oneself.

use model::moderation::RoomRole;
use model::room::RoomPatch;
use model::{Level, RoomId, RoomSettings, UserId};
use store::RoomScope;

use crate::Ingest;
use crate::moderation::{ModerationError, Moderator};

/// Rooms of one owner in a list.
pub(crate) const OWNED_MAX: usize = 1_000;
/// For how long a helper may mute, in seconds.
const HELPER_MUTE_S_MAX: u64 = 600;

/// What a moderator asks for in a room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'a> {
    /// Something that concerns the room: opening, closing, announcing.
    Moderate,
    /// Reading what is held and what was done.
    Read,
    /// Deleting comments.
    Delete,
    /// Deciding about a held comment, hiding many, pins, polls, questions and notes.
    Decide,
    /// Giving and taking roles.
    GiveRoles,
    /// Muting a user, whose rank in the room is known or none, for so many seconds.
    Mute(&'a UserId, Option<Rank>, u64),
    /// Changing the room's settings.
    Configure(&'a RoomPatch),
    /// Banning a user, whose rank in the room is known or none.
    Ban(&'a UserId, Option<Rank>),
    /// Lifting a ban of a user.
    Lift(&'a UserId),
    /// Removing a note that somebody wrote, whose rank in the room is known or none.
    RemoveNote(&'a str, Option<Rank>),
}

/// Where somebody stands in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Auditor,
    Helper,
    /// By a role in this room.
    RoomModerator,
    /// By the token's level.
    Moderator,
    Owner,
    Admin,
}

/// Refuses an action in a room.
///
/// # Errors
/// [`ModerationError::Forbidden`].
pub(crate) fn may_moderate(
    actor: &Moderator,
    room: &RoomId,
    settings: &RoomSettings,
    action: Action<'_>,
) -> Result<(), ModerationError> {
    let owner = settings.owner_id.as_ref();
    let Some(rank) = rank(actor, room, settings) else { return Err(ModerationError::Forbidden) };
    let outranks = |target: &UserId, theirs: Option<Rank>| {
        rank == Rank::Admin || is(actor, Some(target)) || theirs.is_none_or(|theirs| rank > theirs)
    };
    let allowed = match action {
        Action::Moderate => rank >= Rank::Moderator,
        Action::Read => rank != Rank::Helper,
        Action::Delete => rank >= Rank::Helper,
        Action::Decide => rank >= Rank::RoomModerator,
        Action::GiveRoles => rank >= Rank::Owner,
        Action::Configure(patch) => match &patch.owner_id {
            Some(new) if new.as_ref() != owner => may_moderate_everywhere(actor) || is(actor, owner),
            _ => rank >= Rank::Moderator,
        },
        Action::Mute(target, theirs, seconds) => {
            let may = rank >= Rank::RoomModerator || (rank == Rank::Helper && seconds <= HELPER_MUTE_S_MAX);
            may && outranks(target, theirs)
        }
        Action::Ban(target, theirs) => rank >= Rank::RoomModerator && outranks(target, theirs),
        Action::RemoveNote(by, theirs) => {
            let above = rank == Rank::Admin || theirs.is_none_or(|theirs| rank > theirs);
            rank >= Rank::RoomModerator && (by == actor.name() || above)
        }
        Action::Lift(target) => rank >= Rank::RoomModerator && (rank == Rank::Admin || !is(actor, Some(target))),
    };
    if allowed { Ok(()) } else { Err(ModerationError::Forbidden) }
}

/// Refuses notes about oneself.
///
/// # Errors
/// [`ModerationError::Forbidden`].
pub(crate) fn may_know_notes(actor: &Moderator, about: &UserId) -> Result<(), ModerationError> {
    if is(actor, Some(about)) { Err(ModerationError::Forbidden) } else { Ok(()) }
}

/// Whether a moderator may act in the whole deployment.
pub(crate) fn may_moderate_everywhere(actor: &Moderator) -> bool {
    match actor {
        Moderator::Key => true,
        Moderator::Person(who) => who.level == Level::Admin && who.rooms.is_none(),
    }
}

/// The rooms that a moderator may moderate by the token's level, for lists.
fn scope_by_level(actor: &Moderator) -> RoomScope {
    let who = match actor {
        Moderator::Key => return RoomScope::All,
        Moderator::Person(who) => who,
    };
    let listed = who.rooms.as_ref().map(|rooms| rooms.to_vec());
    match (who.level, listed) {
        (Level::Admin, None) => RoomScope::All,
        (Level::Admin | Level::Moderator, Some(rooms)) => RoomScope::Listed(rooms),
        (_, within) => RoomScope::OwnedBy { owner: who.user_id.clone(), within },
    }
}

fn is(actor: &Moderator, user: Option<&UserId>) -> bool {
    matches!(actor, Moderator::Person(who) if user == Some(&who.user_id))
}

fn rank(actor: &Moderator, room: &RoomId, settings: &RoomSettings) -> Option<Rank> {
    let who = match actor {
        Moderator::Key => return Some(Rank::Admin),
        Moderator::Person(who) => who,
    };
    let owner = settings.owner_id.as_ref();
    let by_level = who.may_moderate(room, owner).then(|| match who.level {
        Level::Admin => Rank::Admin,
        _ if owner == Some(&who.user_id) => Rank::Owner,
        _ => Rank::Moderator,
    });
    by_level.max(who.role(room, settings).map(Rank::from))
}

impl From<RoomRole> for Rank {
    fn from(role: RoomRole) -> Self {
        match role {
            RoomRole::Auditor => Self::Auditor,
            RoomRole::Helper => Self::Helper,
            RoomRole::Moderator => Self::RoomModerator,
        }
    }
}

impl Ingest {
    /// The highest rank of a user in a room, by the room's settings and by the tokens that any node has seen.
    ///
    /// # Errors
    /// When the store is away.
    pub(crate) async fn rank_of(
        &self,
        user: &UserId,
        room: &RoomId,
        settings: &RoomSettings,
    ) -> Result<Option<Rank>, ModerationError> {
        let owner = settings.owner_id.as_ref();
        let tokens = self.known_tokens(user).await?.into_iter();
        let valid = tokens.filter(|who| self.tokens.check_revocation(user, who.issued_at_ms).is_ok());
        let by_token = valid.filter_map(|who| rank(&Moderator::Person(who), room, settings)).max();
        let by_role = settings.roles.get(user).copied().map(Rank::from);
        Ok(by_token.max(by_role).max((owner == Some(user)).then_some(Rank::Owner)))
    }

    /// The rooms in which a moderator has a right, for lists.
    ///
    /// # Errors
    /// When the store is away.
    pub(crate) async fn scope(&self, actor: &Moderator) -> Result<RoomScope, ModerationError> {
        let by_level = scope_by_level(actor);
        let Moderator::Person(who) = actor else { return Ok(by_level) };
        let mut rooms = self.rooms.rooms_with_role(&who.user_id);
        rooms.extend(who.standing.iter().flat_map(|standing| standing.roles.keys().cloned()));
        rooms.retain(|room| who.may_enter(room));
        if rooms.is_empty() {
            return Ok(by_level);
        }
        match by_level {
            RoomScope::All => return Ok(RoomScope::All),
            RoomScope::Listed(listed) => rooms.extend(listed),
            owned @ RoomScope::OwnedBy { .. } => {
                let owned = self.store.rooms_of(&owned, OWNED_MAX).await?;
                rooms.extend(owned.into_iter().map(|row| row.room_id));
            }
        }
        rooms.sort();
        rooms.dedup();
        Ok(RoomScope::Listed(rooms))
    }

    /// Refuses somebody who may moderate nothing at all, before anything is read for them.
    ///
    /// # Errors
    /// [`ModerationError::Forbidden`], or the store is away.
    pub async fn authorise_somewhere(&self, actor: &Moderator) -> Result<(), ModerationError> {
        let may = match self.scope(actor).await? {
            RoomScope::All => true,
            RoomScope::Listed(rooms) => !rooms.is_empty(),
            owned @ RoomScope::OwnedBy { .. } => !self.store.rooms_of(&owned, 1).await?.is_empty(),
        };
        if may { Ok(()) } else { Err(ModerationError::Forbidden) }
    }
}

#[cfg(test)]
mod tests {
    use model::Identity;

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("an id")
    }

    fn bears(name: &str, level: Level, rooms: Option<&[&str]>) -> Moderator {
        let rooms = rooms.map(|rooms| rooms.iter().map(|room| RoomId::new(room).expect("an id")).collect());
        let (user_id, username) = (user(name), name.into());
        Moderator::Person(Identity {
            user_id,
            username,
            level,
            rooms,
            expires_at_ms: None,
            issued_at_ms: 0,
            standing: None,
        })
    }

    #[test]
    fn nobody_acts_on_who_stands_as_high_or_above() {
        let hall = RoomId::new("hall").expect("an id");
        let settings = RoomSettings { owner_id: Some(user("olga")), ..RoomSettings::default() };
        let (olga, ann, mel, root) = (user("olga"), user("ann"), user("mel"), user("root"));
        let takes = RoomPatch { owner_id: Some(Some(user("mo"))), ..RoomPatch::default() };
        let keeps = RoomPatch { owner_id: Some(Some(user("olga"))), slow_mode_s: Some(3), ..RoomPatch::default() };
        let actions = [
            Action::Moderate,
            Action::Configure(&keeps),
            Action::Configure(&takes),
            Action::Ban(&ann, None),
            Action::Ban(&mel, Some(Rank::Moderator)),
            Action::Ban(&olga, Some(Rank::Owner)),
            Action::Ban(&root, Some(Rank::Admin)),
            Action::RemoveNote("mo", Some(Rank::Moderator)),
            Action::RemoveNote("olga", Some(Rank::Owner)),
            Action::RemoveNote("gone", None),
        ];
        for (actor, allowed) in [
            (Moderator::Key, "yyyyyyyyyy"),
            (bears("rob", Level::Admin, None), "yyyyyyyyyy"),
            (bears("rob", Level::Admin, Some(&["hall"])), "yynyyyyyyy"),
            (bears("rob", Level::Admin, Some(&["attic"])), "nnnnnnnnnn"),
            (bears("olga", Level::Normal, None), "yyyyyynyyy"),
            (bears("olga", Level::Normal, Some(&["attic"])), "nnnnnnnnnn"),
            (bears("mo", Level::Moderator, Some(&["hall"])), "yynynnnyny"),
            (bears("mo", Level::Moderator, None), "nnnnnnnnnn"),
            (bears("ann", Level::Vip, Some(&["hall"])), "nnnnnnnnnn"),
        ] {
            for (action, allowed) in actions.into_iter().zip(allowed.chars()) {
                let outcome = may_moderate(&actor, &hall, &settings, action);
                assert_eq!(outcome.is_ok(), allowed == 'y', "{actor:?} {action:?}");
            }
        }
        assert!(may_moderate_everywhere(&bears("root", Level::Admin, None)));
        assert!(!may_moderate_everywhere(&bears("root", Level::Admin, Some(&["hall"]))));
    }
}

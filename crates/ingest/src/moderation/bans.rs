//! Bans, mutes and revoked tokens. They are in force at once.

use log::{Change, Record};
use model::{EventBody, RoomId, Snowflake, UserId, rfc3339_ms};
use serde::Deserialize;
use serde_json::json;
use store::{Ban, BanKind};

use super::reasons::Detail;
use super::{ModerationError, ModerationResult, Moderator, check_note};
use crate::Ingest;
use crate::events::Importance;
use crate::rights::{self, Action};

/// Longest ban, in seconds: ten years.
const BAN_S_MAX: u64 = 10 * 365 * 86_400;

/// A ban to impose: the body of `POST /admin/bans`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct NewBan {
    /// Whom.
    pub user_id: UserId,
    /// Where; everywhere when absent.
    #[serde(default)]
    pub room_id: Option<RoomId>,
    /// For how long.
    #[schema(minimum = 1, maximum = 315_360_000)]
    pub duration_s: u64,
    /// Why: a reason of the list, or the moderator's own words. The user is told.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub reason: Option<String>,
    /// What it takes away.
    pub kind: BanKind,
    /// Whether the user's comments go too.
    #[serde(default)]
    pub purge: bool,
}

impl Ingest {
    /// Bans or mutes a user, in force at once.
    ///
    /// # Errors
    /// When a field is out of range or this moderator may not.
    pub async fn ban(&self, who: &Moderator, new: NewBan) -> ModerationResult<Ban> {
        let rank = match &new.room_id {
            Some(room) => self.rank_of(&new.user_id, room, &self.rooms.info(room).await?.settings).await?,
            None => None,
        };
        let action = match new.kind {
            BanKind::Ban => Action::Ban(&new.user_id, rank),
            BanKind::Mute => Action::Mute(&new.user_id, rank, new.duration_s),
        };
        self.authorise_action(who, new.room_id.as_ref(), action).await?;
        if !(1..=BAN_S_MAX).contains(&new.duration_s) {
            return Err(ModerationError::Invalid(format!("duration_s must be 1 to {BAN_S_MAX} seconds")));
        }
        if new.purge {
            self.authorise_action(who, new.room_id.as_ref(), Action::Decide).await?;
        }
        check_note("reason", new.reason.as_deref().unwrap_or_default())?;
        let reason = new.reason.map(|reason| words::sanitise(&reason).into_owned());
        let at_ms = self.clock.now_ms();
        let ban = Ban {
            id: self.ids.next()?,
            user_id: new.user_id,
            room_id: new.room_id,
            kind: new.kind,
            until_ms: at_ms + new.duration_s.cast_signed() * 1_000,
            reason,
            by: who.name().into(),
            at_ms,
        };
        self.bans.impose(&*self.store, &ban).await?;
        self.access_changes.notify();
        self.announce_ban(who, &ban).await?;
        if new.purge {
            self.purge(who, &ban.user_id, ban.room_id.as_ref()).await?;
        }
        let (room, user, kind) = (ban.room_id.as_ref(), &ban.user_id, ban.kind);
        let told = json!({ "id": ban.id, "user_id": user, "room_id": room, "kind": kind, "until": rfc3339_ms(ban.until_ms),
            "reason": ban.reason, "by": ban.by });
        self.tell_services("ban", room, told).await?;
        let detail = Detail { reason: ban.reason.as_deref(), held: false, purge: new.purge }.text();
        self.audit(who, ban_action(ban.kind), ban.room_id.as_ref(), ban.user_id.to_string(), detail).await?;
        Ok(ban)
    }

    async fn announce_ban(&self, who: &Moderator, ban: &Ban) -> ModerationResult<()> {
        let room = ban.room_id.clone().unwrap_or_else(RoomId::everywhere);
        let (user_id, until_ms, reason) = (ban.user_id.clone(), ban.until_ms, ban.reason.clone());
        match ban.kind {
            BanKind::Ban => {
                let record = Record::Banned { user_id, room_id: ban.room_id.clone(), until_ms, reason };
                self.log.append(room, record).await?;
            }
            BanKind::Mute => {
                self.log.append(room.clone(), Record::Changed(Change::Bans(user_id.clone()))).await?;
                let users = vec![user_id.clone()];
                // Who moderates one room tells nobody outside of it anything.
                let everywhere = rights::may_moderate_everywhere(who);
                let how = if everywhere { Importance::Private(users) } else { Importance::PrivateInRoom(users) };
                self.publish_stored_event(&room, how, EventBody::UserMuted { user_id, until_ms, reason }).await?;
            }
        }
        Ok(())
    }

    /// Bans in force where this moderator may moderate, or in one room; newest first, those below `before`.
    ///
    /// # Errors
    /// When this moderator may not moderate `room`, or nothing at all.
    pub async fn bans_in_force(
        &self,
        who: &Moderator,
        room: Option<&RoomId>,
        before: Option<Snowflake>,
        limit: usize,
    ) -> ModerationResult<Vec<Ban>> {
        let scope = self.list_scope(who, room).await?;
        Ok(self.store.bans(self.clock.now_ms(), &scope, before, limit).await?)
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// When there is none, or this moderator may not moderate where it holds.
    pub async fn lift_ban(&self, who: &Moderator, id: Snowflake) -> ModerationResult<()> {
        self.authorise_somewhere(who).await?;
        let none = ModerationError::NotFound("there is no such ban");
        let now_ms = self.clock.now_ms();
        let Some(ban) = self.store.ban(id).await?.filter(|ban| ban.until_ms > now_ms) else { return Err(none) };
        self.authorise_action(who, ban.room_id.as_ref(), Action::Lift(&ban.user_id)).await?;
        self.bans.lift(&*self.store, id).await?.ok_or(none)?;
        let room = ban.room_id.clone().unwrap_or_else(RoomId::everywhere);
        self.log.append(room, Record::Changed(Change::Bans(ban.user_id.clone()))).await?;
        // A cool-down holds in the whole deployment, so no moderator of one room ends it.
        if rights::may_moderate_everywhere(who) {
            self.rate_limiter.reset_user(&ban.user_id).await.map_err(|_| ModerationError::Away)?;
        }
        self.audit(who, "ban.lift", ban.room_id.as_ref(), ban.user_id.to_string(), None).await
    }

    /// Revokes all tokens of a user that were issued until now.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn revoke_tokens(&self, who: &Moderator, user: &UserId) -> ModerationResult<()> {
        self.authorise(who, None).await?;
        let before_ms = self.clock.now_ms();
        self.store.revoke_tokens(user, before_ms).await?;
        self.tokens.revoke(user.clone(), before_ms);
        self.access_changes.notify();
        self.log.append(RoomId::everywhere(), Record::Revoked { user_id: user.clone(), before_ms }).await?;
        self.audit(who, "tokens.revoke", None, user.to_string(), None).await
    }

    /// Closes a user's sockets on all nodes. The user may connect again at once.
    ///
    /// # Errors
    /// When this moderator may not moderate the whole deployment.
    pub async fn kick(&self, who: &Moderator, user: &UserId) -> ModerationResult<()> {
        self.authorise(who, None).await?;
        let kicked = Record::Banned { user_id: user.clone(), room_id: None, until_ms: 0, reason: Some(KICKED.into()) };
        self.log.append(RoomId::everywhere(), kicked).await?;
        self.audit(who, "user.kick", None, user.to_string(), None).await
    }

    /// Whether this moderator may act on the deployment itself; recorded, because the server then ends.
    ///
    /// # Errors
    /// When this moderator may not moderate the whole deployment.
    pub async fn authorise_drain(&self, who: &Moderator, node: &str) -> ModerationResult<()> {
        self.authorise(who, None).await?;
        self.audit(who, "node.drain", None, node.to_owned(), None).await
    }
}

/// What the close of a kicked user's socket says.
const KICKED: &str = "kicked";

fn ban_action(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Ban => "ban",
        BanKind::Mute => "mute",
    }
}

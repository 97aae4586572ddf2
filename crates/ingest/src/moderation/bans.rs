//! Bans, mutes and revoked tokens, in force at once.

use bus::{Change, Record};
use model::{EventBody, RoomId, Snowflake, UserId};
use serde::Deserialize;
use store::{Ban, BanKind};

use super::{Done, ModerationError, Moderator, check_note};
use crate::Ingest;
use crate::events::Importance;

/// Longest ban, in seconds: ten years.
const BAN_S_MAX: u64 = 10 * 365 * 86_400;

/// A ban to impose, as `POST /admin/bans` takes it.
#[derive(Debug, Clone, Deserialize)]
pub struct NewBan {
    /// Whom.
    pub user_id: UserId,
    /// Where; everywhere when absent.
    #[serde(default)]
    pub room_id: Option<RoomId>,
    /// For how long.
    pub duration_s: u64,
    /// Why.
    #[serde(default)]
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
    /// When the request is wrong or this moderator may not.
    pub async fn ban(&self, who: &Moderator, new: NewBan) -> Done<Ban> {
        self.authorise(who, new.room_id.as_ref()).await?;
        if !(1..=BAN_S_MAX).contains(&new.duration_s) {
            return Err(ModerationError::Invalid(format!("duration_s must be 1 to {BAN_S_MAX} seconds")));
        }
        check_note("reason", new.reason.as_deref().unwrap_or_default())?;
        let at_ms = self.clock.now_ms();
        let ban = Ban {
            id: self.ids.next()?,
            user_id: new.user_id,
            room_id: new.room_id,
            kind: new.kind,
            until_ms: at_ms + new.duration_s.cast_signed() * 1_000,
            reason: new.reason,
            by: who.name().into(),
            at_ms,
        };
        self.bans.impose(&*self.store, &ban).await?;
        self.enforce(&ban).await?;
        if new.purge {
            self.tell_deleted(self.store.purge_user(&ban.user_id, ban.room_id.as_ref()).await?).await?;
        }
        let detail = new.purge.then(|| "with all comments".into());
        self.audit(who, ban_action(ban.kind), ban.room_id.as_ref(), ban.user_id.to_string(), detail).await?;
        Ok(ban)
    }

    async fn enforce(&self, ban: &Ban) -> Done<()> {
        let room = ban.room_id.clone().unwrap_or_else(RoomId::everywhere);
        let (user_id, until_ms, reason) = (ban.user_id.clone(), ban.until_ms, ban.reason.clone());
        match ban.kind {
            BanKind::Ban => {
                let record = Record::Banned { user_id, room_id: ban.room_id.clone(), until_ms, reason };
                self.log.append(room, record).await?;
            }
            BanKind::Mute => {
                self.log.append(room.clone(), Record::Changed(Change::Bans(user_id.clone()))).await?;
                let how = Importance::Private(vec![user_id.clone()]);
                self.tell_and_keep(&room, how, EventBody::UserMuted { user_id, until_ms, reason }).await?;
            }
        }
        Ok(())
    }

    /// Bans in force, newest first; those of rooms this moderator may not see are left out.
    ///
    /// # Errors
    /// When the named room is not this moderator's.
    pub async fn bans_in_force(&self, who: &Moderator, room: Option<&RoomId>, limit: usize) -> Done<Vec<Ban>> {
        if room.is_some() {
            self.authorise(who, room).await?;
        }
        let mut mine = Vec::new();
        for ban in self.store.bans(self.clock.now_ms(), room, limit).await? {
            if self.authorise(who, ban.room_id.as_ref()).await.is_ok() {
                mine.push(ban);
            }
        }
        Ok(mine)
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// When there is none, or it is not this moderator's to lift.
    pub async fn lift_ban(&self, who: &Moderator, id: Snowflake) -> Done<()> {
        let none = ModerationError::NotFound("there is no such ban");
        let now_ms = self.clock.now_ms();
        let Some(ban) = self.store.ban(id).await?.filter(|ban| ban.until_ms > now_ms) else { return Err(none) };
        self.authorise(who, ban.room_id.as_ref()).await?;
        self.bans.lift(&*self.store, id).await?.ok_or(none)?;
        let room = ban.room_id.clone().unwrap_or_else(RoomId::everywhere);
        self.log.append(room, Record::Changed(Change::Bans(ban.user_id.clone()))).await?;
        self.gate.reset_user(&ban.user_id).await.map_err(|_| ModerationError::Away)?;
        self.audit(who, "ban.lift", ban.room_id.as_ref(), ban.user_id.to_string(), None).await
    }

    /// Refuses a user's tokens issued until now, from now on.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn revoke_tokens(&self, who: &Moderator, tokens: &crate::Tokens, user: &UserId) -> Done<()> {
        self.authorise(who, None).await?;
        let before_ms = self.clock.now_ms();
        self.store.revoke_tokens(user, before_ms).await?;
        tokens.revoke(user.clone(), before_ms);
        self.log.append(RoomId::everywhere(), Record::Revoked { user_id: user.clone(), before_ms }).await?;
        self.audit(who, "tokens.revoke", None, user.to_string(), None).await
    }
}

fn ban_action(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Ban => "ban",
        BanKind::Mute => "mute",
    }
}

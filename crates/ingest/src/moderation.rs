//! What moderators do: reviews, deletions, bans, words, announcements, gifts, sessions. Everything
//! is written to the store, told over the log, and left in the audit trail.
//!
//! Called by the API, which has verified who somebody is; whether they may is decided here.

use std::collections::HashMap;
use std::sync::Arc;

use bus::{AppendError, Record};
use model::room::RoomPatch;
use model::{Code, Comment, EventBody, Gift, Identity, Level, RoomId, Session, Snowflake, UserId, WireError};
use serde::{Deserialize, Serialize};
use store::{AuditEntry, Ban, BanKind, Review, ReviewStatus, StoreError, WordList};
use words::{BuildError, DryRun, Filter, Lists};

use crate::events::{Importance, StoreOrLog};
use crate::filter::{list_mut, words_of};
use crate::rooms::{ChangeError, RoomInfo};
use crate::{Ingest, Refusal};

/// The room in whose name deployment-wide things are told. Nobody can enter it.
pub const EVERYWHERE: &str = ":all";
/// Longest ban, in seconds: ten years.
const BAN_S_MAX: u64 = 10 * 365 * 86_400;
/// Longest announcement, in characters.
const ANNOUNCEMENT_CHARS_MAX: usize = 1_000;
/// Ids in one deletion event.
const DELETED_IDS_MAX: usize = 100;
/// Longest reason or gift name, in characters.
const NOTE_CHARS_MAX: usize = 200;
/// Comments a dry run looks at.
pub const DRY_RUN_COMMENTS_MAX: usize = 10_000;

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

impl From<StoreOrLog> for ModerationError {
    fn from(_: StoreOrLog) -> Self {
        Self::Away
    }
}

impl From<ChangeError> for ModerationError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Setting(setting) => Self::Invalid(setting.to_string()),
            ChangeError::Away => Self::Away,
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

/// What a dry run found.
#[derive(Debug, Serialize)]
pub struct Trial {
    #[serde(flatten)]
    found: DryRun,
    /// The share of the comments that some list would have hit, 0 to 1.
    share: f64,
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

    /// Changes a room's settings.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub async fn configure_room(&self, who: &Moderator, room: &RoomId, patch: RoomPatch) -> Done<Arc<RoomInfo>> {
        self.authorise(who, Some(room)).await?;
        let info = self.rooms.configure(room, patch).await?;
        self.audit(who, "room.configure", Some(room), room.to_string(), None).await?;
        Ok(info)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn open_room(&self, who: &Moderator, room: &RoomId) -> Done<Arc<Session>> {
        self.authorise(who, Some(room)).await?;
        let session = self.rooms.open(room).await?;
        self.audit(who, "room.open", Some(room), session.id.to_string(), None).await?;
        Ok(session)
    }

    /// Closes the room.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn close_room(&self, who: &Moderator, room: &RoomId) -> Done<Option<Arc<Session>>> {
        self.authorise(who, Some(room)).await?;
        let session = self.rooms.close(room).await?;
        self.audit(who, "room.close", Some(room), room.to_string(), None).await?;
        Ok(session)
    }

    /// Held comments, oldest first; those of rooms this moderator may not see are left out.
    ///
    /// # Errors
    /// When the named room is not this moderator's.
    pub async fn reviews(
        &self,
        who: &Moderator,
        status: Option<ReviewStatus>,
        room: Option<&RoomId>,
        limit: usize,
    ) -> Done<Vec<Review>> {
        if room.is_some() {
            self.authorise(who, room).await?;
        }
        let mut reviews = self.store.reviews(status, room, limit).await?;
        let mut mine = HashMap::new();
        for review in &reviews {
            let room = &review.comment.room_id;
            if !mine.contains_key(room) {
                mine.insert(room.clone(), self.authorise(who, Some(room)).await.is_ok());
            }
        }
        reviews.retain(|review| mine.get(&review.comment.room_id) == Some(&true));
        Ok(reviews)
    }

    /// Publishes a held comment, with its own id and time, or rejects it for good.
    ///
    /// # Errors
    /// When nothing is held under this id, or it is another's to decide.
    pub async fn decide_review(&self, who: &Moderator, id: Snowflake, approve: bool) -> Done<Review> {
        let none = ModerationError::NotFound("nothing is held under this id");
        let Some(review) = self.store.review(id).await? else { return Err(none) };
        self.authorise(who, Some(&review.comment.room_id)).await?;
        let status = if approve { ReviewStatus::Approved } else { ReviewStatus::Rejected };
        let decided = self.store.decide(id, status, who.name(), self.clock.now_ms()).await?.ok_or(none)?;
        if approve && let Err(refusal) = self.publish(decided.comment.clone(), decided.keep, None).await {
            self.store.undecide(id).await?;
            return Err(refusal.into());
        }
        let action = if approve { "review.approve" } else { "review.reject" };
        self.audit(who, action, Some(&decided.comment.room_id), id.to_string(), None).await?;
        Ok(decided)
    }

    /// Deletes a comment from screens, history and replay.
    ///
    /// # Errors
    /// When there is none, or it is in a room this moderator may not moderate.
    pub async fn delete_comment(&self, who: &Moderator, id: Snowflake) -> Done<()> {
        let none = ModerationError::NotFound("there is no such comment");
        let Some((room, _)) = self.store.position_of(id).await? else { return Err(none) };
        self.authorise(who, Some(&room)).await?;
        let deleted = self.store.delete_comments(&[id]).await?;
        if deleted.is_empty() {
            return Err(none);
        }
        self.tell_deleted(deleted).await?;
        self.audit(who, "comment.delete", Some(&room), id.to_string(), None).await
    }

    /// Deletes a comment that is not kept, which only the ring of its room knows.
    ///
    /// # Errors
    /// When it is in a room this moderator may not moderate.
    pub async fn delete_passing_comment(&self, who: &Moderator, room: &RoomId, id: Snowflake) -> Done<()> {
        self.authorise(who, Some(room)).await?;
        self.tell_deleted(vec![(id, room.clone())]).await?;
        self.audit(who, "comment.delete", Some(room), id.to_string(), None).await
    }

    async fn tell_deleted(&self, deleted: Vec<(Snowflake, RoomId)>) -> Done<()> {
        let mut by_room: HashMap<RoomId, Vec<Snowflake>> = HashMap::new();
        for (id, room) in deleted {
            by_room.entry(room).or_default().push(id);
        }
        for (room, ids) in by_room {
            for ids in ids.chunks(DELETED_IDS_MAX) {
                let body = EventBody::CommentsDeleted { comment_ids: ids.to_vec() };
                self.tell(&room, Importance::Plain, body).await?;
            }
        }
        Ok(())
    }

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
            id: self.ids.next(),
            user_id: new.user_id,
            room_id: new.room_id,
            kind: new.kind,
            until_ms: at_ms + new.duration_s.cast_signed() * 1_000,
            reason: new.reason,
            by: who.name().into(),
            at_ms,
        };
        self.store.add_ban(&ban).await?;
        self.bans.add(ban.clone());
        self.enforce(&ban).await?;
        if new.purge {
            self.tell_deleted(self.store.purge_user(&ban.user_id, ban.room_id.as_ref()).await?).await?;
        }
        let detail = new.purge.then(|| "with all comments".into());
        self.audit(who, ban_action(ban.kind), ban.room_id.as_ref(), ban.user_id.to_string(), detail).await?;
        Ok(ban)
    }

    async fn enforce(&self, ban: &Ban) -> Done<()> {
        let room = ban.room_id.clone().map_or_else(everywhere, Ok)?;
        let (user_id, until_ms, reason) = (ban.user_id.clone(), ban.until_ms, ban.reason.clone());
        match ban.kind {
            BanKind::Ban => {
                let record = Record::Banned { user_id, room_id: ban.room_id.clone(), until_ms, reason };
                self.log.append(room, record).await?;
            }
            BanKind::Mute => {
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
        let bans = self.store.bans(now_ms, None, usize::MAX).await?;
        let Some(ban) = bans.into_iter().find(|ban| ban.id == id) else { return Err(none) };
        self.authorise(who, ban.room_id.as_ref()).await?;
        self.store.remove_ban(id).await?;
        self.bans.remove(&ban.user_id, id);
        self.gate.reset_user(&ban.user_id).await.map_err(|_| ModerationError::Away)?;
        self.audit(who, "ban.lift", ban.room_id.as_ref(), ban.user_id.to_string(), None).await
    }

    /// Replaces all word lists, in force at once.
    ///
    /// # Errors
    /// When a word cannot be used; nothing is changed then.
    pub async fn set_words(&self, who: &Moderator, lists: Lists) -> Done<()> {
        self.authorise(who, None).await?;
        let words = words_of(&lists);
        let detail = format!("{} words", words.len());
        self.filter.replace(lists).await?;
        self.store.set_words(words).await?;
        self.audit(who, "words.replace", None, "all".into(), Some(detail)).await
    }

    /// Adds a word to a list, in force at once.
    ///
    /// # Errors
    /// When the word cannot be used.
    pub async fn add_word(&self, who: &Moderator, list: WordList, word: &str) -> Done<()> {
        self.authorise(who, None).await?;
        let mut lists = self.filter.lists();
        let words = list_mut(&mut lists, list);
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
        self.filter.replace(lists).await?;
        self.store.add_word(list, word).await?;
        self.audit(who, "words.add", None, word.into(), None).await
    }

    /// Removes a word from a list, in force at once.
    ///
    /// # Errors
    /// When it is not on the list.
    pub async fn remove_word(&self, who: &Moderator, list: WordList, word: &str) -> Done<()> {
        self.authorise(who, None).await?;
        if !self.store.remove_word(list, word).await? {
            return Err(ModerationError::NotFound("the word is not on the list"));
        }
        let mut lists = self.filter.lists();
        list_mut(&mut lists, list).retain(|known| known != word);
        self.filter.replace(lists).await?;
        self.audit(who, "words.remove", None, word.into(), None).await
    }

    /// What a room's own history would have met with, had these lists been in force.
    ///
    /// # Errors
    /// When the lists cannot be used.
    pub async fn try_words(&self, who: &Moderator, room: &RoomId, lists: Lists, limit: usize) -> Done<Trial> {
        self.authorise(who, Some(room)).await?;
        let history = self.store.latest_comments(room, limit.min(DRY_RUN_COMMENTS_MAX)).await?;
        let trial = tokio::task::spawn_blocking(move || {
            let filter = Filter::build(&lists)?;
            let texts: Vec<_> =
                history.iter().map(|placed| (placed.comment.id.to_string(), &*placed.comment.content)).collect();
            Ok::<_, BuildError>(trial(&filter, &texts))
        });
        Ok(trial.await.map_err(|_| ModerationError::Away)??)
    }

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

    /// Refuses a user's tokens issued until now, from now on.
    ///
    /// # Errors
    /// When this moderator may not.
    pub async fn revoke_tokens(&self, who: &Moderator, tokens: &crate::Tokens, user: &UserId) -> Done<()> {
        self.authorise(who, None).await?;
        let before_ms = self.clock.now_ms();
        self.store.revoke_tokens(user, before_ms).await?;
        tokens.revoke(user.clone(), before_ms);
        self.audit(who, "tokens.revoke", None, user.to_string(), None).await
    }

    /// The audit trail, newest first.
    ///
    /// # Errors
    /// When this moderator may not see it.
    pub async fn audit_trail(&self, who: &Moderator, room: Option<&RoomId>, limit: usize) -> Done<Vec<AuditEntry>> {
        self.authorise(who, room).await?;
        Ok(self.store.audit_trail(room, limit).await?)
    }

    /// Brings recorded comments in as a finished session of their own.
    ///
    /// # Errors
    /// When this moderator may not, or the store is away.
    pub async fn import(&self, who: &Moderator, room: &RoomId, session: Session, comments: Vec<Comment>) -> Done<u64> {
        self.authorise(who, Some(room)).await?;
        let comments = comments.into_iter().map(Arc::new).collect();
        let new = self.store.import_comments(&session, comments).await?;
        self.audit(who, "room.import", Some(room), session.id.to_string(), Some(format!("{new} comments"))).await?;
        Ok(new)
    }
}

fn trial(filter: &Filter, texts: &[(String, &str)]) -> Trial {
    let found = words::dry_run(filter, texts.iter().map(|(_, text)| text));
    let hits = found.mask_hits + found.review_hits + found.block_hits;
    let share = if found.checked == 0 { 0.0 } else { hits as f64 / found.checked as f64 };
    Trial { found, share }
}

fn everywhere() -> Result<RoomId, ModerationError> {
    RoomId::new(EVERYWHERE).map_err(|error| ModerationError::Invalid(error.to_string()))
}

fn ban_action(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Ban => "ban",
        BanKind::Mute => "mute",
    }
}

fn check_note(field: &str, text: &str) -> Result<(), ModerationError> {
    if text.chars().count() <= NOTE_CHARS_MAX {
        Ok(())
    } else {
        Err(ModerationError::Invalid(format!("{field} may have {NOTE_CHARS_MAX} characters")))
    }
}

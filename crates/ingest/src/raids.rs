//! The alarm of raids: watches who says what in rooms that want it, and proposes the shield to their moderators.
//!
//! [`crate::screen`] hands every comment over and goes on; one task asks the store who is new and keeps what each room's
//! alarm remembers. When more comes than it can look at, some are left out. It never switches anything. What it proposes is
//! a document of the store, one a room, until the shield is up or a moderator dismisses it. A node watches what it admits.

use std::collections::HashMap;
use std::sync::Weak;

use model::metrics::count;
use model::{EventBody, Identity, RoomId, Snowflake, UserId, rfc3339_ms};
use moderation::{Alarm, RaidKind, RaidWatch};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Document, DocumentQuery};
use tokio::sync::mpsc;

use crate::Ingest;
use crate::events::Importance;
use crate::moderation::{ModerationError, Moderator};
use crate::rights::Action;

/// Comments that wait for the task.
const WAITING_MAX: usize = 4_096;
/// Rooms that are watched at once.
const ROOMS_MAX: usize = 10_000;
/// A room is forgotten when nobody has spoken in it for this long, in milliseconds.
const IDLE_MS: i64 = 600_000;
/// Accounts younger than this are newcomers wherever they spoke before, in milliseconds: a day.
const YOUNG_MS: i64 = 86_400_000;
/// A room whose first session is younger than this has newcomers alone, in milliseconds.
const SETTLED_MS: i64 = 60_000;
/// How long a proposal stands, in milliseconds.
const STANDS_MS: i64 = 900_000;
/// Moderators of a room who are told.
const TOLD_MAX: usize = 50;
/// The kind of the documents.
const KIND: &str = "raid";
/// The state of a proposal that nobody has answered.
const OPEN: &str = "open";

/// A comment on its way to the task.
pub struct Said {
    room: RoomId,
    user: UserId,
    id: Snowflake,
    at_ms: i64,
    created_at_ms: Option<i64>,
    content: Box<str>,
}

/// The entrance of the task.
pub struct Raids(mpsc::Sender<Said>);

impl Raids {
    /// The entrance, and what [`Ingest::watch_raids`] reads.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Said>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }

    pub(crate) fn said(&self, who: &Identity, room: &RoomId, id: Snowflake, content: &str, at_ms: i64) {
        // What does not fit is not looked at: a raid has more.
        let Ok(slot) = self.0.try_reserve() else { return };
        let created_at_ms = who.standing.as_deref().and_then(|standing| standing.created_at_ms);
        let (room, user, content) = (room.clone(), who.user_id.clone(), content.into());
        slot.send(Said { room, user, id, at_ms, created_at_ms, content });
    }
}

/// A raid, as moderators are told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Raid {
    /// Where.
    pub room_id: RoomId,
    /// `newcomers` or `copies`.
    pub kind: String,
    /// When it was seen, Unix milliseconds.
    pub at_ms: i64,
    /// Comments of the last seconds that belong to it.
    pub comments: usize,
    /// People who wrote them.
    pub users: usize,
}

impl Raid {
    fn document(&self, version: i64, state: &str) -> Document {
        Document {
            kind: KIND,
            id: self.room_id.to_string(),
            room_id: Some(self.room_id.clone()),
            state: state.into(),
            due_ms: self.at_ms + STANDS_MS,
            version,
            body: serde_json::to_string(self).unwrap_or_default(),
            ..Document::default()
        }
    }
}

impl Ingest {
    /// Watches rooms until `ingest` is gone.
    pub async fn watch_raids(ingest: Weak<Self>, mut said: mpsc::Receiver<Said>) {
        let mut rooms: HashMap<RoomId, RaidWatch, ahash::RandomState> = HashMap::default();
        while let Some(one) = said.recv().await {
            let Some(this) = ingest.upgrade() else { return };
            if rooms.len() >= ROOMS_MAX && !rooms.contains_key(&one.room) {
                rooms.retain(|_, watch| one.at_ms - watch.last_ms() < IDLE_MS);
                if rooms.len() >= ROOMS_MAX {
                    continue;
                }
            }
            let watch = rooms.entry(one.room.clone()).or_default();
            let is_newcomer = match watch.known(&one.user) {
                Some(known) => known,
                None => this.is_newcomer(&one).await,
            };
            let Said { room, user, at_ms, content, .. } = one;
            if let Some(alarm) = watch.said(at_ms, user, is_newcomer, &content)
                // The store and the log have logged their failures; while the raid goes on there is another alarm.
                && this.raise_alarm(&room, alarm, at_ms).await.is_ok_and(|raised| raised)
            {
                count(&this.metrics.raid_alarms, "kind", alarm.kind.as_str());
            }
        }
    }

    /// Whether the account is young, or never spoke here before. While the store is away nobody is new.
    async fn is_newcomer(&self, said: &Said) -> bool {
        if said.created_at_ms.is_some_and(|created_at_ms| said.at_ms - created_at_ms < YOUNG_MS) {
            return true;
        }
        let spoke = self.people.has_spoken_before(&*self.store, &said.room, &said.user, Some(said.id)).await;
        !spoke.unwrap_or(true)
    }

    /// Tells the moderators, unless the shield is up already. Returns whether they were told.
    async fn raise_alarm(&self, room: &RoomId, alarm: Alarm, at_ms: i64) -> Result<bool, ModerationError> {
        let info = self.rooms.info(room).await?;
        if info.settings.unshielded.is_some() {
            return Ok(false);
        }
        if alarm.kind == RaidKind::Newcomers {
            if !info.settings.store {
                return Ok(false); // Nobody knows who spoke before.
            }
            let session = info.session.as_ref();
            let is_old = session.is_some_and(|session| at_ms - session.started_at_ms >= SETTLED_MS);
            let before = session.map(|session| session.id);
            if !is_old && self.store.sessions_before(room, before, 1).await?.is_empty() {
                return Ok(false);
            }
        }
        let Alarm { kind, comments, users } = alarm;
        let raid = Raid { room_id: room.clone(), kind: kind.as_str().into(), at_ms, comments, users };
        let known = self.store.document(KIND, room.as_str()).await?;
        let stored = match &known {
            Some(known) => self.store.replace_document(&raid.document(known.version, OPEN)).await?,
            None => self.store.add_document(&raid.document(0, OPEN)).await?,
        };
        if !stored {
            return Ok(false); // Another node has told of it at this moment.
        }
        let message = match kind {
            RaidKind::Newcomers => {
                format!("{users} newcomers in 10 s: raise the shield? · 10 秒内 {users} 名新用户，是否开启护盾？")
            }
            RaidKind::Copies => {
                format!(
                    "{users} people say nearly the same: raise the shield? · {users} 人发送近似内容，是否开启护盾？"
                )
            }
        };
        let mut told = self.tokens.moderators_of(room, &info.settings, at_ms);
        told.truncate(TOLD_MAX);
        if !told.is_empty() {
            let body = EventBody::Notice { code: "raid_alarm".into(), message, comment_id: None, reason: None };
            self.publish_event(room, Importance::PrivateInRoom(told), body).await?;
        }
        let data = json!({ "room_id": room, "kind": kind.as_str(), "at": rfc3339_ms(at_ms), "comments": comments, "users": users });
        self.tell_services("raid", Some(room), data).await?;
        let detail = format!("{}: {comments} comments of {users} people", kind.as_str());
        self.audit_by_rule("raid_alarm", "raid.alarm", room, room.to_string(), Some(detail)).await;
        Ok(true)
    }

    /// The raids that moderators were told of and have not answered, of one room or wherever this moderator may read.
    ///
    /// # Errors
    /// When this moderator may not see them.
    pub async fn raids(
        &self,
        who: &Moderator,
        room: Option<&RoomId>,
        limit: usize,
    ) -> Result<Vec<Raid>, ModerationError> {
        let rooms = self.listed_rooms(who, room).await?;
        let query = DocumentQuery {
            kind: KIND,
            rooms: rooms.as_deref(),
            state: Some(OPEN),
            limit: ROOMS_MAX,
            ..DocumentQuery::default()
        };
        let now_ms = self.clock.now_ms();
        let mut raids = Vec::new();
        for found in self.store.documents(query).await?.iter().filter(|found| found.due_ms > now_ms) {
            let Ok(raid) = serde_json::from_str::<Raid>(&found.body) else { continue };
            raids.push(raid);
            if raids.len() >= limit {
                break;
            }
        }
        Ok(raids)
    }

    /// Answers a room's proposal: it is not shown any more.
    ///
    /// # Errors
    /// When there is none, or this moderator may not.
    pub async fn dismiss_raid(&self, who: &Moderator, room: &RoomId) -> Result<(), ModerationError> {
        self.authorise_action(who, Some(room), Action::Decide).await?;
        if !self.answer_raid(room, "dismissed").await? {
            return Err(ModerationError::NotFound("no raid is open in this room"));
        }
        self.audit(who, "raid.dismiss", Some(room), room.to_string(), None).await
    }

    /// Notes what became of a room's proposal; false when none is open.
    pub(crate) async fn answer_raid(&self, room: &RoomId, state: &str) -> Result<bool, ModerationError> {
        let Some(found) = self.store.document(KIND, room.as_str()).await? else { return Ok(false) };
        if found.state != OPEN {
            return Ok(false);
        }
        Ok(self.store.replace_document(&Document { state: state.into(), ..found }).await?)
    }
}

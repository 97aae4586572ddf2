//! What operators and their programs tell a room: announcements, gifts, follows and notices.

use model::{Counted, EventBody, Gift, RoomId, Snowflake, UserId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use store::{Document, GIFT, GIFT_COUNTED, GIFT_SHOWN};

use super::{ModerationError, ModerationResult, Moderator, check_note};
use crate::Ingest;
use crate::events::Importance;
use crate::rights;

/// Longest key of a gift, in bytes.
const KEY_BYTES_MAX: usize = 64;
/// How long the first request with a key may take to show its gift, in milliseconds. Then a repeat shows it.
const SHOWN_WITHIN_MS: i64 = 5_000;
/// Longest announcement, in characters.
const ANNOUNCEMENT_CHARS_MAX: usize = 1_000;

/// What is kept of a gift with a key.
#[derive(Serialize, Deserialize)]
struct KeptGift {
    event_id: Snowflake,
    counted: Counted,
}

/// An event that a program of the operator's publishes in a room.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", remote = "Self")]
#[schema(as = FollowOrNotice)]
pub enum OperatorEvent {
    /// Somebody follows the room's owner.
    Follow {
        /// Who.
        user_id: UserId,
        /// The shown name.
        #[schema(min_length = 1, max_length = 32)]
        username: String,
    },
    /// Something viewers should know, such as a schedule.
    Notice {
        /// A stable name for programs.
        #[schema(max_length = 200)]
        code: String,
        /// For people.
        #[schema(max_length = 200)]
        message: String,
    },
}

impl<'de> Deserialize<'de> for OperatorEvent {
    /// serde takes the number of a variant for its name where it buffers an object; a kind is a name alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = serde_json::Value::deserialize(deserializer)?;
        if !fields.get("kind").is_some_and(serde_json::Value::is_string) {
            return Err(D::Error::custom("kind must be follow or notice"));
        }
        Self::deserialize(fields).map_err(D::Error::custom)
    }
}

impl Ingest {
    /// Publishes an announcement. Everybody acknowledges a `critical` one.
    ///
    /// # Errors
    /// When it is empty or too long, or this moderator may not.
    pub async fn announce(
        &self,
        who: &Moderator,
        room: &RoomId,
        content: &str,
        critical: bool,
    ) -> ModerationResult<Snowflake> {
        self.authorise(who, Some(room)).await?;
        let content = self.operator_text(content)?;
        if !(1..=ANNOUNCEMENT_CHARS_MAX).contains(&content.chars().count()) {
            return Err(ModerationError::Invalid(format!(
                "an announcement has 1 to {ANNOUNCEMENT_CHARS_MAX} characters"
            )));
        }
        let id = self.publish_event(room, importance(critical), EventBody::Announcement { content }).await?;
        self.audit(who, "announce", Some(room), id.to_string(), None).await?;
        Ok(id)
    }

    /// Publishes an operator's event.
    ///
    /// # Errors
    /// When a field is out of range, or this moderator may not.
    pub async fn publish_operator_event(
        &self,
        who: &Moderator,
        room: &RoomId,
        event: OperatorEvent,
        critical: bool,
    ) -> ModerationResult<Snowflake> {
        self.authorise(who, Some(room)).await?;
        let body = match event {
            OperatorEvent::Follow { user_id, username } => {
                check_username(&username)?;
                let username = self.shown_name(&user_id, &username);
                EventBody::Follow { user_id, username }
            }
            OperatorEvent::Notice { code, message } => {
                check_note("code", &code)?;
                check_note("message", &message)?;
                let (code, message) = (self.operator_text(&code)?, self.operator_text(&message)?);
                EventBody::Notice { code, message, comment_id: None, reason: None }
            }
        };
        Ok(self.publish_event(room, importance(critical), body).await?)
    }

    /// Publishes a gift, and adds its value to the giver's score in the session, which it starts as a comment does. The
    /// owner acknowledges it; so does the giver if the moderator may moderate everywhere, and everybody if it is `critical`.
    /// A repeat with the same `client_msg_id` in the room is the same gift, and gets the first answer.
    ///
    /// # Errors
    /// When a field is out of range, the room is closed, or this moderator may not.
    pub async fn publish_gift(
        &self,
        who: &Moderator,
        room: &RoomId,
        mut gift: Gift,
        critical: bool,
        client_msg_id: Option<&str>,
    ) -> ModerationResult<Snowflake> {
        self.authorise(who, Some(room)).await?;
        check_note("gift", &gift.gift)?;
        if gift.gift.is_empty() || gift.count == 0 || gift.value > i64::MAX.cast_unsigned() {
            return Err(ModerationError::Invalid("a gift has a name, a count from 1, and a value".into()));
        }
        check_username(&gift.username)?;
        gift.gift = self.operator_text(&gift.gift)?;
        if gift.gift.is_empty() {
            return Err(ModerationError::Invalid("a gift needs a name that can be seen".into()));
        }
        gift.username = self.shown_name(&gift.user_id, &gift.username);
        let Some(client_msg_id) = client_msg_id else {
            let session_id = self.rooms.session_for_gift(room).await?.id;
            let given = self.store.add_gift(session_id, &gift.user_id, &gift.username, gift.value).await?;
            gift.counted = Some(Counted { session_id, given });
            let id = self.ids.next()?;
            self.show_gift(who, room, id, gift, critical).await?;
            return Ok(id);
        };
        if !(1..=KEY_BYTES_MAX).contains(&client_msg_id.len()) {
            return Err(ModerationError::Invalid(format!("client_msg_id must be 1-{KEY_BYTES_MAX} bytes")));
        }
        let name = format!("{room}/{client_msg_id}");
        let (key, kept) = match self.store.document(GIFT, &name).await? {
            Some(key) => self.known_gift(key, &gift).await?,
            None => self.count_gift(room, name, &gift).await?,
        };
        if key.state == GIFT_COUNTED {
            gift.counted = Some(kept.counted);
            self.show_gift(who, room, kept.event_id, gift, critical).await?;
            // Should this fail, a repeat shows the gift again.
            let _ = self.store.replace_document(&Document { state: GIFT_SHOWN.into(), ..key }).await;
        }
        Ok(kept.event_id)
    }

    /// Adds the value of a gift with a key.
    async fn count_gift(&self, room: &RoomId, name: String, gift: &Gift) -> ModerationResult<(Document, KeptGift)> {
        let (event_id, session_id) = (self.ids.next()?, self.rooms.session_for_gift(room).await?.id);
        let mut kept = KeptGift { event_id, counted: Counted { session_id, given: 0 } };
        let key = Document {
            kind: GIFT,
            id: name,
            room_id: Some(room.clone()),
            state: GIFT_COUNTED.into(),
            due_ms: self.clock.now_ms(),
            version: 0,
            user_id: Some(gift.user_id.clone()),
            body: serde_json::to_string(&kept).unwrap_or_default(),
        };
        let given = self.store.add_gift_once(session_id, &gift.user_id, &gift.username, gift.value, &key).await?;
        // Another request with this key was faster, and shows the gift: a repeat gets its answer.
        kept.counted.given = given.ok_or(ModerationError::Away)?;
        Ok((key, kept))
    }

    /// What is known of a gift that was counted before.
    async fn known_gift(&self, key: Document, gift: &Gift) -> ModerationResult<(Document, KeptGift)> {
        let mut kept: KeptGift = serde_json::from_str(&key.body).map_err(|_| ModerationError::Away)?;
        if key.state == GIFT_COUNTED {
            // Perhaps the first request is showing it now.
            if self.clock.now_ms() - key.due_ms < SHOWN_WITHIN_MS {
                return Err(ModerationError::Away);
            }
            let session = kept.counted.session_id;
            kept.counted.given = self.store.add_gift(session, &gift.user_id, &gift.username, 0).await?;
        }
        Ok((key, kept))
    }

    /// Tells the room of a gift that was counted.
    async fn show_gift(
        &self,
        who: &Moderator,
        room: &RoomId,
        id: Snowflake,
        gift: Gift,
        critical: bool,
    ) -> ModerationResult<()> {
        let how = if critical {
            Importance::Critical
        } else {
            // Who moderates one room tells nobody outside of it anything.
            let giver = rights::may_moderate_everywhere(who).then(|| gift.user_id.clone());
            let owner = self.rooms.info(room).await?.settings.owner_id.clone();
            let owner = owner.filter(|owner| Some(owner) != giver.as_ref());
            match giver.into_iter().chain(owner).collect::<Vec<_>>() {
                nobody if nobody.is_empty() => Importance::Plain,
                users => Importance::CriticalFor(users),
            }
        };
        self.publish_stored_event_as(id, room, how, EventBody::Gift(gift.clone())).await?;
        self.count_combo(room, &gift).await?;
        self.audit(who, "gift", Some(room), id.to_string(), None).await
    }
}

fn importance(critical: bool) -> Importance {
    if critical { Importance::Critical } else { Importance::Plain }
}

fn check_username(username: &str) -> ModerationResult<()> {
    if (1..=model::identity::USERNAME_CHARS_MAX).contains(&username.chars().count()) {
        Ok(())
    } else {
        Err(ModerationError::Invalid("username must be 1-32 characters".into()))
    }
}

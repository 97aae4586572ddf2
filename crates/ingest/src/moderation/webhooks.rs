//! Webhooks out, as admins manage them: added, removed, tested, rotated, and their dead letters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{RoomId, Snowflake};
use outbound::guard;
use serde_json::{Value, json};
use store::{Document, DocumentQuery};

use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;
use crate::webhooks::{CALL, Call, DEAD_LETTER, KINDS, SUBSCRIPTION, SUBSCRIPTIONS_MAX, Subscription, person_of};

/// Rooms that one webhook may name.
const ROOMS_MAX: usize = 1_000;
/// How long the secret before a rotation signs too, in milliseconds: a day.
const PREVIOUS_MS: i64 = 86_400_000;
/// Dead letters in one list, and calls replayed or removed at once.
const LETTERS_MAX: usize = 1_000;
/// Bytes of a secret.
const SECRET_BYTES: usize = 24;

/// A call that was given up.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The document's id.
    pub id: String,
    /// Its room.
    pub room_id: Option<RoomId>,
    /// The call.
    pub call: Call,
}

impl Ingest {
    /// Adds a webhook; its secret is in the answer alone.
    ///
    /// # Errors
    /// When the URL leads where it must not, a kind is unknown, or this moderator may not.
    pub async fn add_webhook(
        &self,
        who: &Moderator,
        url: &str,
        kinds: Vec<String>,
        room_ids: Vec<RoomId>,
    ) -> ModerationResult<Subscription> {
        self.authorise(who, None).await?;
        guard::check_url(url, self.webhooks_allow_private)
            .map_err(|error| ModerationError::Invalid(format!("url must be {error}")))?;
        if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            let unknown: String = unknown.chars().take(40).collect();
            return Err(ModerationError::Invalid(format!(
                "there is no kind {unknown:?}; there are {}",
                KINDS.join(", ")
            )));
        }
        if room_ids.len() > ROOMS_MAX {
            return Err(ModerationError::Invalid(format!("room_ids may name {ROOMS_MAX} rooms")));
        }
        if self.webhooks.subscriptions().len() >= SUBSCRIPTIONS_MAX {
            return Err(ModerationError::Invalid(format!("there are {SUBSCRIPTIONS_MAX} webhooks already")));
        }
        let webhook = Subscription {
            id: self.ids.next()?,
            url: url.to_owned(),
            kinds,
            room_ids,
            secret: new_secret(),
            previous: None,
            created_at_ms: self.clock.now_ms(),
        };
        self.store.add_document(&webhook.document(0)).await?;
        self.webhooks.reload().await?;
        self.audit(who, "webhook.add", None, webhook.id.to_string(), Some(webhook.url.clone())).await?;
        Ok(webhook)
    }

    /// The webhooks, oldest first.
    ///
    /// # Errors
    /// When this moderator may not see them.
    pub async fn webhooks(&self, who: &Moderator) -> ModerationResult<Vec<Subscription>> {
        self.authorise(who, None).await?;
        self.webhooks.reload().await?;
        Ok(self.webhooks.subscriptions().to_vec())
    }

    async fn webhook(&self, who: &Moderator, id: Snowflake) -> ModerationResult<(Subscription, i64)> {
        self.authorise(who, None).await?;
        let none = || ModerationError::NotFound("there is no such webhook");
        let found = self.store.document(SUBSCRIPTION, &id.to_string()).await?.ok_or_else(none)?;
        Ok((serde_json::from_str(&found.body).map_err(|_| none())?, found.version))
    }

    /// Removes a webhook with its calls.
    ///
    /// # Errors
    /// When there is none, or this moderator may not.
    pub async fn remove_webhook(&self, who: &Moderator, id: Snowflake) -> ModerationResult<()> {
        self.webhook(who, id).await?;
        self.store.remove_document(SUBSCRIPTION, &id.to_string()).await?;
        self.webhooks.reload().await?;
        for kind in [CALL, DEAD_LETTER] {
            for call in self.calls(kind, id).await? {
                self.store.remove_document(kind, &call.id).await?;
            }
        }
        self.audit(who, "webhook.remove", None, id.to_string(), None).await
    }

    /// Sends a call of the kind `test`. Returns its `webhook-id`.
    ///
    /// # Errors
    /// When there is no such webhook, or this moderator may not.
    pub async fn test_webhook(&self, who: &Moderator, id: Snowflake) -> ModerationResult<String> {
        self.webhook(who, id).await?;
        Ok(self.webhooks.queue(id, "test", None, &json!({ "webhook_id": id })).await?)
    }

    /// Gives a webhook a new secret. The old one signs too for a day.
    ///
    /// # Errors
    /// When there is none, or this moderator may not.
    pub async fn rotate_webhook(&self, who: &Moderator, id: Snowflake) -> ModerationResult<String> {
        let (webhook, version) = self.webhook(who, id).await?;
        let previous = Some((webhook.secret.clone(), self.clock.now_ms() + PREVIOUS_MS));
        let rotated = Subscription { secret: new_secret(), previous, ..webhook };
        if !self.store.replace_document(&rotated.document(version)).await? {
            return Err(ModerationError::TooLate("it was rotated at the same moment"));
        }
        self.webhooks.reload().await?;
        self.audit(who, "webhook.rotate", None, id.to_string(), None).await?;
        Ok(rotated.secret)
    }

    /// The calls of a webhook that were given up, oldest first.
    ///
    /// # Errors
    /// When there is none, or this moderator may not.
    pub async fn dead_letters(&self, who: &Moderator, id: Snowflake) -> ModerationResult<Vec<DeadLetter>> {
        self.webhook(who, id).await?;
        let letters = self.calls(DEAD_LETTER, id).await?.into_iter().filter_map(|found| {
            let call = serde_json::from_str(&found.body).ok()?;
            Some(DeadLetter { id: found.id, room_id: found.room_id, call })
        });
        Ok(letters.collect())
    }

    /// Queues the calls again that were given up, under their `webhook-id`s. Returns how many.
    ///
    /// # Errors
    /// When there is none, or this moderator may not.
    pub async fn replay_webhook(&self, who: &Moderator, id: Snowflake) -> ModerationResult<usize> {
        let letters = self.dead_letters(who, id).await?;
        for DeadLetter { id: letter, room_id, call } in &letters {
            let fresh = Call { attempts: 0, error: None, ..call.clone() };
            let call = Document {
                kind: CALL,
                id: letter.clone(),
                room_id: room_id.clone(),
                state: id.to_string(),
                due_ms: self.clock.now_ms(),
                version: 0,
                user_id: person_of(&call.payload["data"]),
                body: serde_json::to_string(&fresh).unwrap_or_default(),
            };
            self.store.add_document(&call).await?;
            self.store.remove_document(DEAD_LETTER, letter).await?;
        }
        self.webhooks.queued.notify_one();
        self.audit(who, "webhook.replay", None, id.to_string(), Some(format!("{} calls", letters.len()))).await?;
        Ok(letters.len())
    }

    async fn calls(&self, kind: &'static str, of: Snowflake) -> ModerationResult<Vec<Document>> {
        let of = of.to_string();
        let query = DocumentQuery { kind, state: Some(&of), limit: LETTERS_MAX, ..DocumentQuery::default() };
        Ok(self.store.documents(query).await?)
    }

    /// Tells services what moderators did.
    pub(crate) async fn tell_services(
        &self,
        kind: &'static str,
        room: Option<&RoomId>,
        data: Value,
    ) -> ModerationResult<()> {
        Ok(self.webhooks.emit(kind, room, data).await?)
    }
}

fn new_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; SECRET_BYTES]>()))
}

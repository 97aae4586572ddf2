//! Webhooks out: which web services are told of what, and the durable queue of calls to them.
//!
//! Owns this node's copy of the subscriptions. What happens in rooms is seen on its way to the log ([`WebhookLog`]); what
//! moderators decide is queued by [`crate::moderation`]. A call is a document of the store; the crate `webhook` posts it. Without
//! a subscription the log is not touched.
//!
//! What happened has one id, the `webhook-id` of its calls. A comment's is made of its sender and `client_msg_id`: a repeat that
//! another node took, while this one was frozen, is the same call. Queueing it again, after a store that did not answer, is too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use log::{Log, Record, Submission};
use model::{Audience, Clock, Comment, EventBody, Metrics, RoomId, Snowflake, SnowflakeGenerator, UserId, rfc3339_ms};
use protocol::comment::CommentJson;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Document, DocumentQuery, Store, StoreError};
use tokio::sync::{Notify, mpsc};

/// The kinds of documents: subscriptions, calls that wait, and calls that were given up.
pub const SUBSCRIPTION: &str = "webhook";
/// A call that waits; its state is the subscription's id.
pub const CALL: &str = "webhook_call";
/// A call that was given up; its state is the subscription's id.
pub const DEAD_LETTER: &str = "webhook_dead";
/// Subscriptions of a deployment.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// How often the store is asked for what other nodes changed.
const REFRESH: Duration = Duration::from_secs(2);
/// Calls about rooms that wait to be stored.
const WAITING_MAX: usize = 65_536;

/// What services can be told of.
pub const KINDS: [&str; 11] = [
    "comment",
    "comment_deleted",
    "review",
    "decision",
    "ban",
    "appeal",
    "shield",
    "nuke",
    "raid",
    "room_state",
    "gift",
];

/// A web service that is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: Snowflake,
    /// Where to post to.
    pub url: String,
    /// Of what; empty is everything.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Of which rooms; empty is all.
    #[serde(default)]
    pub room_ids: Vec<RoomId>,
    /// Signs the calls.
    pub secret: String,
    /// The secret before the last rotation, and until when it signs too, Unix milliseconds.
    #[serde(default)]
    pub previous: Option<(String, i64)>,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: i64,
}

impl Subscription {
    fn wants(&self, kind: &str, room: Option<&RoomId>) -> bool {
        let of_kind = self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind);
        of_kind && (self.room_ids.is_empty() || room.is_some_and(|room| self.room_ids.contains(room)))
    }

    /// The document that keeps it.
    #[must_use]
    pub fn document(&self, version: i64) -> Document {
        let body = serde_json::to_string(self).unwrap_or_default();
        Document { kind: SUBSCRIPTION, id: self.id.to_string(), version, body, ..Document::default() }
    }
}

/// A call as it waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// The `webhook-id`; repeats keep it.
    pub message_id: String,
    /// The body.
    pub payload: Value,
    /// Attempts so far.
    #[serde(default)]
    pub attempts: u32,
    /// Why the last one failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// Something that happened, on its way into the queue.
struct Happened {
    id: String,
    kind: &'static str,
    room: Option<RoomId>,
    data: Value,
}

/// The subscriptions and the queue's entrance.
pub struct Webhooks {
    subscriptions: ArcSwap<Vec<Subscription>>,
    any: AtomicBool,
    happened: mpsc::Sender<Happened>,
    /// Rings when a call was queued here.
    pub queued: Notify,
    store: Arc<dyn Store>,
    ids: Arc<SnowflakeGenerator>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Webhooks {
    /// Reads the subscriptions and starts the queue. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn open(
        store: Arc<dyn Store>,
        ids: Arc<SnowflakeGenerator>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, StoreError> {
        let (happened, waiting) = mpsc::channel(WAITING_MAX);
        let webhooks = Arc::new(Self::new(happened, store, ids, clock, metrics));
        webhooks.reload().await?;
        tokio::spawn(store_happened(Arc::downgrade(&webhooks), waiting));
        tokio::spawn(refresh(Arc::downgrade(&webhooks)));
        Ok(webhooks)
    }

    /// Without subscriptions until they are read, and without tasks.
    #[must_use]
    pub fn idle(
        store: Arc<dyn Store>,
        ids: Arc<SnowflakeGenerator>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self::new(mpsc::channel(1).0, store, ids, clock, metrics))
    }

    fn new(
        happened: mpsc::Sender<Happened>,
        store: Arc<dyn Store>,
        ids: Arc<SnowflakeGenerator>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (subscriptions, any, queued) = (ArcSwap::default(), AtomicBool::new(false), Notify::new());
        Self { subscriptions, any, happened, queued, store, ids, clock, metrics }
    }

    /// Reads the subscriptions again.
    ///
    /// # Errors
    /// When the store is away; the known ones stay.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let query = DocumentQuery { kind: SUBSCRIPTION, limit: SUBSCRIPTIONS_MAX, ..DocumentQuery::default() };
        let found = self.store.documents(query).await?;
        let read: Vec<Subscription> = found.iter().filter_map(|one| serde_json::from_str(&one.body).ok()).collect();
        self.any.store(!read.is_empty(), Ordering::Relaxed);
        self.subscriptions.store(Arc::new(read));
        Ok(())
    }

    /// The subscriptions as this node knows them.
    #[must_use]
    pub fn subscriptions(&self) -> Arc<Vec<Subscription>> {
        self.subscriptions.load_full()
    }

    /// Queues what happened for those who want to know; durable when it returns.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn emit(&self, kind: &'static str, room: Option<&RoomId>, data: Value) -> Result<(), StoreError> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        let happened = Happened { id: self.unique_id()?, kind, room: room.cloned(), data };
        self.queue_for_all(&happened).await
    }

    async fn queue_for_all(&self, Happened { id, kind, room, data }: &Happened) -> Result<(), StoreError> {
        for subscription in self.subscriptions().iter().filter(|one| one.wants(kind, room.as_ref())) {
            self.queue_as(id, subscription.id, kind, room.as_ref(), data).await?;
        }
        Ok(())
    }

    fn unique_id(&self) -> Result<String, StoreError> {
        let id = self.ids.next().map_err(|error| StoreError(error.to_string()))?;
        Ok(format!("evt_{id}"))
    }

    /// Queues one call. Returns its `webhook-id`.
    ///
    /// # Errors
    /// When the store is away, or this node makes no ids.
    pub async fn queue(
        &self,
        subscription: Snowflake,
        kind: &str,
        room: Option<&RoomId>,
        data: &Value,
    ) -> Result<String, StoreError> {
        let message_id = self.unique_id()?;
        self.queue_as(&message_id, subscription, kind, room, data).await?;
        Ok(message_id)
    }

    /// Queues the call of this id for a subscription, unless it waits already.
    async fn queue_as(
        &self,
        message_id: &str,
        subscription: Snowflake,
        kind: &str,
        room: Option<&RoomId>,
        data: &Value,
    ) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let payload = json!({ "type": kind, "timestamp": rfc3339_ms(now_ms), "data": data });
        let call = Call { message_id: message_id.to_owned(), payload, attempts: 0, error: None };
        let call = Document {
            kind: CALL,
            id: format!("{message_id}-{subscription}"),
            room_id: room.cloned(),
            state: subscription.to_string(),
            due_ms: now_ms,
            version: 0,
            // What is told of a person goes with that person's data.
            user_id: person_of(data),
            body: serde_json::to_string(&call).unwrap_or_default(),
        };
        self.store.add_document(&call).await?;
        self.queued.notify_one();
        Ok(())
    }

    /// Takes note of what happened in a room; without an `id` it gets one.
    fn happened(&self, id: Option<String>, kind: &'static str, room: &RoomId, data: impl FnOnce() -> Value) {
        if !self.subscriptions.load().iter().any(|one| one.wants(kind, Some(room))) {
            return;
        }
        let happened = id.map_or_else(|| self.unique_id(), Ok);
        let happened = happened.map(|id| Happened { id, kind, room: Some(room.clone()), data: data() });
        if !happened.is_ok_and(|happened| self.happened.try_send(happened).is_ok()) {
            model::metrics::count(&self.metrics.webhook_calls, "outcome", "dropped");
        }
    }
}

async fn store_happened(webhooks: std::sync::Weak<Webhooks>, mut waiting: mpsc::Receiver<Happened>) {
    while let Some(happened) = waiting.recv().await {
        let Some(webhooks) = webhooks.upgrade() else { return };
        while webhooks.queue_for_all(&happened).await.is_err() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn refresh(webhooks: std::sync::Weak<Webhooks>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let Some(webhooks) = webhooks.upgrade() else { return };
        // The store has logged and counted its failure.
        let _ = webhooks.reload().await;
    }
}

/// Whom services are told about.
pub(crate) fn person_of(data: &Value) -> Option<UserId> {
    data["user_id"].as_str().and_then(|user| UserId::new(user).ok())
}

/// A comment as services are told of it.
#[must_use]
pub fn comment_data(comment: &Comment) -> Value {
    json!(CommentJson(comment, None))
}

/// A log that tells services what was appended to it.
pub struct WebhookLog {
    log: Arc<dyn Log>,
    webhooks: Arc<Webhooks>,
}

impl WebhookLog {
    /// Around the log that everything is appended to.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, webhooks: Arc<Webhooks>) -> Self {
        Self { log, webhooks }
    }
}

impl Log for WebhookLog {
    fn submit(&self, run: Vec<Submission>) {
        if !self.webhooks.any.load(Ordering::Relaxed) {
            return self.log.submit(run);
        }
        let told = |submission: Submission| {
            let Submission { room_id, record, done } = submission;
            let (webhooks, room, told) = (self.webhooks.clone(), room_id.clone(), record.clone());
            let done = move |position: Result<_, _>| {
                if position.is_ok() {
                    tell(&webhooks, &room, &told);
                }
                done(position)
            };
            Submission { room_id, record, done: Box::new(done) }
        };
        self.log.submit(run.into_iter().map(told).collect());
    }
}

/// The same for each repeat of what a user sends under one `client_msg_id`, on every node.
fn repeat_id(user: &UserId, client_msg_id: &str) -> String {
    let digest = Sha256::new().chain_update(user.as_str()).chain_update([0]).chain_update(client_msg_id).finalize();
    format!("evt_{}", URL_SAFE_NO_PAD.encode(&digest[..18]))
}

fn tell(webhooks: &Webhooks, room: &RoomId, record: &Record) {
    match record {
        Record::Comment { comment, client_msg_id, .. } if !comment.shadow => {
            let id = client_msg_id.as_deref().map(|client_msg_id| repeat_id(&comment.user_id, client_msg_id));
            webhooks.happened(id, "comment", room, || comment_data(comment));
        }
        Record::Event(event) => match &event.body {
            // Of a delayed comment services were not told either.
            EventBody::CommentsDeleted { comment_ids } | EventBody::CommentsHidden { comment_ids }
                if event.audience == Audience::Everyone =>
            {
                let data = || json!({ "room_id": room, "comment_id": comment_ids.first(), "comment_ids": comment_ids });
                webhooks.happened(None, "comment_deleted", room, data);
            }
            EventBody::Gift(gift) => webhooks.happened(None, "gift", room, || {
                json!({ "room_id": room, "gift": gift.gift, "user_id": gift.user_id, "username": gift.username,
                    "count": gift.count, "value": gift.value })
            }),
            EventBody::RoomState { state, accepts_comments, session_id, .. } => webhooks.happened(None, "room_state", room, || {
                json!({ "room_id": room, "state": state, "accepts_comments": accepts_comments, "session_id": session_id })
            }),
            _ => {}
        },
        _ => {}
    }
}

//! Events: published to rooms and users, and kept in the store until they are acknowledged.
//!
//! Called by the rules of this crate; the gateway asks for a user's unacknowledged events and passes acknowledgements on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashSet;
use log::{AppendError, Change, Record};
use model::{Audience, Event, EventBody, Identity, NoIds, RoomId, Snowflake, UserId};
use store::{Store, StoreError};

use crate::Ingest;

/// Unacknowledged events given to a user who connects.
const UNACKNOWLEDGED_MAX: usize = 100;

/// Users remembered as having events in the store; beyond it the store is asked for everybody who connects.
const USERS_MAX: usize = 1_000_000;

/// Users for whom the store may keep events; all others connect without a read. It never forgets a user while the
/// process runs: one who has acknowledged everything costs a read that finds nothing.
#[derive(Default)]
pub struct PendingEventUsers {
    users: DashSet<UserId>,
    /// More users have events than are remembered.
    anybody: AtomicBool,
}

impl PendingEventUsers {
    /// Reads them from the store, before anybody connects.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let users = Self::default();
        users.reload(store).await?;
        Ok(users)
    }

    /// Adds those that the store has.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn reload(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.users_with_events(USERS_MAX + 1).await?.into_iter().for_each(|user| self.add(user));
        Ok(())
    }

    pub(crate) fn add(&self, user: UserId) {
        if self.users.len() < USERS_MAX {
            self.users.insert(user);
        } else {
            self.anybody.store(true, Ordering::Relaxed);
        }
    }

    /// Whether [`Ingest::unacknowledged`] may find something.
    #[must_use]
    pub fn may_hold(&self, user: &UserId) -> bool {
        self.anybody.load(Ordering::Relaxed) || self.users.contains(user)
    }
}

/// Who is told of an event, and who must acknowledge it.
pub(crate) enum Importance {
    /// Everybody in the room is told; nobody must acknowledge.
    Plain,
    /// Everybody in the room is told and must acknowledge.
    Critical,
    /// Everybody in the room is told; these users must acknowledge.
    CriticalFor(Vec<UserId>),
    /// Only these users are told, wherever they are, and must acknowledge.
    Private(Vec<UserId>),
    /// Only these users are told, if they are in the room now; nobody must acknowledge.
    PrivateInRoom(Vec<UserId>),
}

impl Ingest {
    /// Appends an event to the log.
    pub(crate) async fn publish_event(
        &self,
        room: &RoomId,
        how: Importance,
        body: EventBody,
    ) -> Result<Snowflake, PublishError> {
        let event = Arc::new(self.event(room, how, body)?);
        self.log.append(room.clone(), Record::Event(event.clone())).await?;
        Ok(event.id)
    }

    /// As [`Ingest::publish_event`], for users who must acknowledge the event even if they are offline now: the store
    /// keeps it for them first.
    pub(crate) async fn publish_stored_event(
        &self,
        room: &RoomId,
        how: Importance,
        body: EventBody,
    ) -> Result<Snowflake, PublishError> {
        let id = self.ids.next()?;
        self.publish_stored_event_as(id, room, how, body).await?;
        Ok(id)
    }

    /// The same for an event whose id is known already.
    pub(crate) async fn publish_stored_event_as(
        &self,
        id: Snowflake,
        room: &RoomId,
        how: Importance,
        body: EventBody,
    ) -> Result<(), PublishError> {
        let event = Arc::new(self.event_as(id, room, how, body));
        let mut records = Vec::new();
        if let Audience::Users(users) = &event.critical_for {
            self.store.keep_event(&event, users).await?;
            users.iter().for_each(|user| self.pending_event_users.add(user.clone()));
            records.extend(users.iter().map(|user| Record::Changed(Change::PendingEvents(user.clone()))));
        }
        records.push(Record::Event(event));
        self.log.append_all(room.clone(), records).await?;
        Ok(())
    }

    fn event(&self, room: &RoomId, how: Importance, body: EventBody) -> Result<Event, NoIds> {
        Ok(self.event_as(self.ids.next()?, room, how, body))
    }

    fn event_as(&self, id: Snowflake, room: &RoomId, how: Importance, body: EventBody) -> Event {
        let (audience, critical_for) = match how {
            Importance::Plain => (Audience::Everyone, Audience::Nobody),
            Importance::Critical => (Audience::Everyone, Audience::Everyone),
            Importance::CriticalFor(users) => (Audience::Everyone, Audience::Users(users)),
            Importance::Private(users) => (Audience::Users(users.clone()), Audience::Users(users)),
            Importance::PrivateInRoom(users) => (Audience::Users(users), Audience::Nobody),
        };
        Event { id, room_id: room.clone(), audience, critical_for, at_ms: self.clock.now_ms(), body }
    }

    /// Tells a user about a cool-down. It is short, so nothing is kept for later.
    pub(crate) async fn notify_muted(&self, room: &RoomId, user: &UserId, until_ms: i64, reason: Option<String>) {
        let body = EventBody::UserMuted { user_id: user.clone(), until_ms, reason };
        if let Err(error) = self.publish_event(room, Importance::Private(vec![user.clone()]), body).await {
            tracing::warn!(room = room.as_str(), %error, "could not publish a cool-down");
        }
    }

    /// The events that a user has not acknowledged, oldest first.
    ///
    /// # Errors
    /// When the store is away; the next connection asks again.
    pub async fn unacknowledged(&self, user: &UserId) -> Result<Vec<Event>, StoreError> {
        self.store.unacknowledged(user, UNACKNOWLEDGED_MAX).await
    }

    /// Records that a user has acknowledged an event.
    ///
    /// # Errors
    /// When the store is away; the next connection is told the event again.
    pub async fn acknowledge(&self, who: &Identity, event: Snowflake) -> Result<(), StoreError> {
        self.store.acknowledge(&who.user_id, event).await
    }
}

/// Why an event was not published: the store or the log is away, or this node has no number.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] AppendError),
    #[error(transparent)]
    Ids(#[from] NoIds),
}

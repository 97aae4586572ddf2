//! Events: how rooms and users are told, and what is kept until it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bus::{AppendError, Change, Record};
use dashmap::DashSet;
use model::{Audience, Event, EventBody, Identity, NoIds, RoomId, Snowflake, UserId};
use store::{Store, StoreError};

use crate::Ingest;

/// Unacknowledged events given to a user who connects.
const UNACKNOWLEDGED_MAX: usize = 100;

/// Users remembered as having events in the store; with more than that everybody who connects is looked up.
const USERS_MAX: usize = 1_000_000;

/// For whom the store may keep events, so that all others connect without a read. Never forgets a user while
/// the process runs: one who has acknowledged everything costs a read that finds nothing.
#[derive(Default)]
pub struct Awaited {
    users: DashSet<UserId>,
    /// There are more than are remembered.
    anybody: AtomicBool,
}

impl Awaited {
    /// What the store has; before anybody connects.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let awaited = Self::default();
        awaited.read_again(store).await?;
        Ok(awaited)
    }

    /// Takes in what the store has.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn read_again(&self, store: &dyn Store) -> Result<(), StoreError> {
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

/// Whom an event is for, and who must acknowledge it.
pub(crate) enum Importance {
    /// Everybody in the room, nobody must.
    Plain,
    /// Everybody in the room must.
    Critical,
    /// Everybody in the room is told, these users must acknowledge it.
    CriticalFor(Vec<UserId>),
    /// Only these users are told, and must acknowledge it.
    Private(Vec<UserId>),
}

impl Ingest {
    /// Makes an event and appends it to its room's order.
    pub(crate) async fn tell(&self, room: &RoomId, how: Importance, body: EventBody) -> Result<Snowflake, StoreOrLog> {
        let event = Arc::new(self.event(room, how, body)?);
        self.log.append(room.clone(), Record::Event(event.clone())).await?;
        Ok(event.id)
    }

    /// As [`Ingest::tell`], for an event that certain users must acknowledge even if they are away
    /// now: it is kept for them first.
    pub(crate) async fn tell_and_keep(
        &self,
        room: &RoomId,
        how: Importance,
        body: EventBody,
    ) -> Result<Snowflake, StoreOrLog> {
        let event = Arc::new(self.event(room, how, body)?);
        let mut records = Vec::new();
        if let Audience::Users(users) = &event.critical_for {
            self.store.keep_event(&event, users).await?;
            users.iter().for_each(|user| self.awaited.add(user.clone()));
            records.extend(users.iter().map(|user| Record::Changed(Change::Awaited(user.clone()))));
        }
        let id = event.id;
        records.push(Record::Event(event));
        self.log.append_all(room.clone(), records).await?;
        Ok(id)
    }

    fn event(&self, room: &RoomId, how: Importance, body: EventBody) -> Result<Event, NoIds> {
        let (audience, critical_for) = match how {
            Importance::Plain => (Audience::Everyone, Audience::Nobody),
            Importance::Critical => (Audience::Everyone, Audience::Everyone),
            Importance::CriticalFor(users) => (Audience::Everyone, Audience::Users(users)),
            Importance::Private(users) => (Audience::Users(users.clone()), Audience::Users(users)),
        };
        let (id, at_ms) = (self.ids.next()?, self.clock.now_ms());
        Ok(Event { id, room_id: room.clone(), audience, critical_for, at_ms, body })
    }

    /// Tells a user of a cool-down. It is short, so it is not kept for later.
    pub(crate) async fn tell_muted(&self, room: &RoomId, user: &UserId, until_ms: i64, reason: Option<String>) {
        let body = EventBody::UserMuted { user_id: user.clone(), until_ms, reason };
        if let Err(error) = self.tell(room, Importance::Private(vec![user.clone()]), body).await {
            tracing::warn!(room = room.as_str(), %error, "could not tell a user of a cool-down");
        }
    }

    /// What a user who connects has not acknowledged, oldest first.
    ///
    /// # Errors
    /// When the store is away; the user asks again by connecting again.
    pub async fn unacknowledged(&self, user: &UserId) -> Result<Vec<Event>, StoreError> {
        self.store.unacknowledged(user, UNACKNOWLEDGED_MAX).await
    }

    /// A user acknowledges an event.
    ///
    /// # Errors
    /// When the store is away; the event is then told again at the next connection.
    pub async fn acknowledge(&self, who: &Identity, event: Snowflake) -> Result<(), StoreError> {
        self.store.acknowledge(&who.user_id, event).await
    }
}

/// The store or the log is away, or this node has no number.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreOrLog {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] AppendError),
    #[error(transparent)]
    Ids(#[from] NoIds),
}

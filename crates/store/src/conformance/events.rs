//! Critical events for single users.

use model::{Audience, Event, EventBody};

use super::*;
use crate::EventStore;

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: EventStore>(fresh: impl Fn() -> S) -> Case {
    events_wait_for_their_acknowledgement(&fresh()).await
}

pub(super) fn event(id: u64) -> Event {
    let (u, v) = (user("u"), user("v"));
    Event {
        id: Snowflake(id),
        room_id: room("r"),
        audience: Audience::Everyone,
        critical_for: Audience::Users(vec![u.clone(), v]),
        at_ms: START_MS,
        body: EventBody::UserMuted { user_id: u, until_ms: 5, reason: Some("原因".into()) },
    }
}

async fn events_wait_for_their_acknowledgement(store: &impl EventStore) -> Case {
    let (u, v) = (user("u"), user("v"));
    store.keep_event(&event(2), &[u.clone(), v.clone()]).await?;
    store.keep_event(&event(1), std::slice::from_ref(&u)).await?;
    store.keep_event(&event(1), std::slice::from_ref(&u)).await?;
    assert_eq!(store.unacknowledged(&u, 10).await?, [event(1), event(2)], "oldest first, each once");
    assert_eq!(store.unacknowledged(&u, 1).await?, [event(1)]);
    let mut users = store.users_with_events(10).await?;
    users.sort();
    assert_eq!(users, [u.clone(), v.clone()], "each user once");
    assert_eq!(store.users_with_events(1).await?.len(), 1);
    store.acknowledge(&u, Snowflake(2)).await?;
    store.acknowledge(&u, Snowflake(99)).await?;
    assert_eq!(store.unacknowledged(&u, 10).await?, [event(1)]);
    assert_eq!(store.unacknowledged(&v, 10).await?, [event(2)], "each user acknowledges alone");
    Ok(())
}

//! Who was here before: since when a user is known, and whether a room has published one of the user's comments.
//!
//! The store keeps both as documents; this node remembers what it asked. Asked only by rules that are switched on, so the
//! rules of a room that has none cost nothing. Called by [`crate::screen`].

use model::{Identity, RoomId, Snowflake, UserId};
use parking_lot::Mutex;
use store::{Document, ReplayQuery, Store, StoreError};

/// People remembered here; the rest is asked again.
const REMEMBERED_MAX: usize = 65_536;
/// Since when a user is known.
const SEEN: &str = "person";
/// That a room has published a comment of a user.
const SPOKE: &str = "spoke";

/// Comments of a person that are looked at for the oldest.
const SAID_LOOKED_AT: usize = 100;

/// What this node knows of people.
#[derive(Default)]
pub struct People {
    seen: Mutex<Known<UserId, i64>>,
    /// Since when accounts exist, as their tokens say.
    claimed: Mutex<Known<UserId, i64>>,
    spoke: Mutex<Known<(RoomId, UserId), ()>>,
}

/// A bounded memory in two generations: the older one is forgotten when the newer one is full.
struct Known<K, V> {
    recent: std::collections::HashMap<K, V, ahash::RandomState>,
    previous: std::collections::HashMap<K, V, ahash::RandomState>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self { recent: Default::default(), previous: Default::default() }
    }
}

impl<K: std::hash::Hash + Eq, V: Copy> Known<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.recent.get(key).or_else(|| self.previous.get(key)).copied()
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.recent.retain(|key, _| keep(key));
        self.previous.retain(|key, _| keep(key));
    }

    fn insert(&mut self, key: K, value: V) {
        if self.recent.len() >= REMEMBERED_MAX {
            self.previous = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, value);
    }
}

impl People {
    /// Forgets a person, whose documents the store has removed.
    pub(crate) fn forget(&self, user: &UserId) {
        self.seen.lock().retain(|known| known != user);
        self.claimed.lock().retain(|known| known != user);
        self.spoke.lock().retain(|(_, known)| known != user);
    }

    /// Since when a user is known here, Unix milliseconds: since the first call, or since the first comment whose
    /// `client_msg_id` is still kept.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn first_seen(&self, store: &dyn Store, user: &UserId, now_ms: i64) -> Result<i64, StoreError> {
        if let Some(ms) = self.seen.lock().get(user) {
            return Ok(ms);
        }
        let first_ms = match store.document(SEEN, user.as_str()).await? {
            Some(known) => known.due_ms,
            None => {
                let ms = store.earliest_answer(user).await?.unwrap_or(now_ms).min(now_ms);
                let person = Document {
                    kind: SEEN,
                    id: user.to_string(),
                    due_ms: ms,
                    user_id: Some(user.clone()),
                    body: "{}".into(),
                    ..Document::default()
                };
                // Of two nodes the first one counts; they differ by less than a call.
                store.add_document(&person).await?;
                ms
            }
        };
        self.seen.lock().insert(user.clone(), first_ms);
        Ok(first_ms)
    }

    /// Remembers what a token says of its bearer's account.
    pub(crate) fn note_claim(&self, who: &Identity) {
        let Some(created_at_ms) = who.standing.as_deref().and_then(|standing| standing.created_at_ms) else { return };
        let mut claimed = self.claimed.lock();
        if claimed.get(&who.user_id) != Some(created_at_ms) {
            claimed.insert(who.user_id.clone(), created_at_ms);
        }
    }

    /// Since when an account is known to exist, by all that this node and the store know, Unix milliseconds. Remembers
    /// nothing.
    ///
    /// # Errors
    /// When the store is away.
    pub(crate) async fn known_since(
        &self,
        store: &dyn Store,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<i64>, StoreError> {
        if let Some(created_at_ms) = self.claimed.lock().get(user) {
            return Ok(Some(created_at_ms));
        }
        let seen = store.document(SEEN, user.as_str()).await?.map(|seen| seen.due_ms);
        let answered = store.earliest_answer(user).await?;
        let said = store.replay(ReplayQuery { limit: SAID_LOOKED_AT, ..said_by(room, user) }).await?;
        let said = said.iter().map(|comment| comment.created_at_ms).min();
        Ok([seen, answered, said].into_iter().flatten().min())
    }

    /// Whether the room has ever published a comment of this user.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn has_spoken(&self, store: &dyn Store, room: &RoomId, user: &UserId) -> Result<bool, StoreError> {
        self.has_spoken_before(store, room, user, None).await
    }

    /// As [`People::has_spoken`], not counting one comment.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn has_spoken_before(
        &self,
        store: &dyn Store,
        room: &RoomId,
        user: &UserId,
        except: Option<Snowflake>,
    ) -> Result<bool, StoreError> {
        let key = (room.clone(), user.clone());
        if self.spoke.lock().get(&key).is_some() {
            return Ok(true);
        }
        let id = format!("{room}/{user}");
        let known = store.document(SPOKE, &id).await?.is_some();
        if !known {
            let found = store.replay(ReplayQuery { limit: 2, ..said_by(room, user) }).await?;
            if found.iter().all(|comment| Some(comment.id) == except) {
                return Ok(false);
            }
            // Remembered beyond the retention of comments.
            let (room_id, user_id) = (Some(room.clone()), Some(user.clone()));
            let spoke = Document { kind: SPOKE, id, room_id, user_id, body: "{}".into(), ..Document::default() };
            store.add_document(&spoke).await?;
        }
        self.spoke.lock().insert(key, ());
        Ok(true)
    }
}

/// Everything that a user said in a room.
fn said_by(room: &RoomId, user: &UserId) -> ReplayQuery {
    let (room_id, by_user) = (room.clone(), Some(user.clone()));
    ReplayQuery { room_id, session_id: None, from_ms: i64::MIN, to_ms: i64::MAX, by_user, after: None, limit: 1 }
}

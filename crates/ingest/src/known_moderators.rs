//! Who was seen with a token that moderates, so that moderators are protected from each other.
//!
//! Owned by [`crate::Tokens`], which notes every verified token. What a token gave ends with it: an entry counts until the
//! token expires. What this node sees is stored, one document a user, so that every node knows it, also after a restart.
//! Decides nothing, that is [`crate::rights`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use model::moderation::{RoomRole, Standing};
use model::{Identity, Level, RoomId, RoomSettings, UserId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Document, StoreError};
use tokio::sync::Notify;

use crate::{Ingest, Tokens};

/// Users remembered.
const USERS_MAX: usize = 10_000;
/// Tokens remembered of one user: the newest.
const TOKENS_MAX: usize = 4;
/// A token like one that is known is stored only when it lasts this much longer, in milliseconds.
const LONGER_MS: i64 = 300_000;
/// The kind of the documents.
const KIND: &str = "moderator";
/// Attempts to store while another node stores the same user.
const ATTEMPTS: usize = 8;
/// The pause before a failed write is repeated.
const RETRY: Duration = Duration::from_secs(2);

/// Tokens that moderate, by user.
#[derive(Default)]
pub(crate) struct KnownModerators {
    users: DashMap<UserId, Vec<Identity>, ahash::RandomState>,
    /// Users with tokens that are not stored yet.
    unstored: Mutex<HashSet<UserId>>,
    noted: Arc<Notify>,
}

/// What a token gave, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SeenToken {
    level: Level,
    #[serde(default)]
    rooms: Option<Vec<RoomId>>,
    #[serde(default)]
    roles: BTreeMap<RoomId, RoomRole>,
    #[serde(default)]
    expires_at_ms: Option<i64>,
    issued_at_ms: i64,
}

impl SeenToken {
    fn of(who: &Identity) -> Self {
        Self {
            level: who.level,
            rooms: who.rooms.as_ref().map(|rooms| rooms.to_vec()),
            roles: who.standing.as_ref().map(|standing| standing.roles.clone()).unwrap_or_default(),
            expires_at_ms: who.expires_at_ms,
            issued_at_ms: who.issued_at_ms,
        }
    }

    fn identity(self, user: &UserId) -> Identity {
        let standing = (!self.roles.is_empty()).then(|| Standing { roles: self.roles, ..Standing::default() });
        Identity {
            user_id: user.clone(),
            username: user.as_str().into(),
            level: self.level,
            rooms: self.rooms.map(Into::into),
            expires_at_ms: self.expires_at_ms,
            issued_at_ms: self.issued_at_ms,
            standing: standing.map(Arc::new),
        }
    }

    fn gives_the_same(&self, other: &Self) -> bool {
        (self.level, &self.rooms, &self.roles) == (other.level, &other.rooms, &other.roles)
    }
}

impl KnownModerators {
    /// Notes a verified identity, if its token moderates anything.
    pub fn note(&self, who: &Identity, now_ms: i64) {
        let has_roles = who.standing.as_ref().is_some_and(|standing| !standing.roles.is_empty());
        if who.level < Level::Moderator && !has_roles {
            return;
        }
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&who.user_id) {
            self.users.retain(|_, tokens| tokens.iter().any(|token| is_valid(token.expires_at_ms, now_ms)));
            if self.users.len() >= USERS_MAX {
                return;
            }
        }
        let seen = SeenToken::of(who);
        let is_news = {
            let mut tokens = self.users.entry(who.user_id.clone()).or_default();
            let until = |expires_at_ms: Option<i64>| expires_at_ms.unwrap_or(i64::MAX);
            let known = tokens.iter().filter(|token| SeenToken::of(token).gives_the_same(&seen));
            let known_until = known.map(|token| until(token.expires_at_ms)).max();
            tokens.retain(|token| is_valid(token.expires_at_ms, now_ms) && !SeenToken::of(token).gives_the_same(&seen));
            if tokens.len() >= TOKENS_MAX {
                tokens.remove(0);
            }
            tokens.push(who.clone());
            // Who came without a token, to a development server, is nobody to other runs.
            who.expires_at_ms.is_some()
                && known_until.is_none_or(|known| until(who.expires_at_ms).saturating_sub(known) > LONGER_MS)
        };
        if is_news && self.unstored.lock().insert(who.user_id.clone()) {
            self.noted.notify_one();
        }
    }

    /// The tokens of a user that are valid still.
    pub fn tokens_of(&self, user: &UserId, now_ms: i64) -> Vec<Identity> {
        let tokens = self.users.get(user);
        let valid = |token: &&Identity| is_valid(token.expires_at_ms, now_ms);
        tokens.map_or_else(Vec::new, |tokens| tokens.iter().filter(valid).cloned().collect())
    }
}

impl Tokens {
    /// Who moderates a room: its owner, those with a role, and those whom this node has seen with a token for it.
    pub(crate) fn moderators_of(&self, room: &RoomId, settings: &RoomSettings, now_ms: i64) -> Vec<UserId> {
        let by_role =
            settings.roles.iter().filter(|(_, role)| **role >= RoomRole::Helper).map(|(user, _)| user.clone());
        let seen = self.moderators.users.iter().filter(|tokens| {
            let mut valid = tokens.value().iter().filter(|token| is_valid(token.expires_at_ms, now_ms));
            valid.any(|token| token.is_staff(room, settings))
        });
        let seen = seen.map(|tokens| tokens.key().clone());
        let all: BTreeSet<_> = settings.owner_id.iter().cloned().chain(by_role).chain(seen).collect();
        all.into_iter().collect()
    }
}

fn is_valid(expires_at_ms: Option<i64>, now_ms: i64) -> bool {
    expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms)
}

fn seen_in(document: &Document) -> Vec<SeenToken> {
    serde_json::from_str(&document.body).unwrap_or_default()
}

impl Ingest {
    /// Tokens of a user that any node has seen and that are valid still.
    pub(crate) async fn known_tokens(&self, user: &UserId) -> Result<Vec<Identity>, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut tokens = self.tokens.moderators.tokens_of(user, now_ms);
        let stored = self.store.document(KIND, user.as_str()).await?;
        let stored = stored.iter().flat_map(seen_in).filter(|token| is_valid(token.expires_at_ms, now_ms));
        tokens.extend(stored.map(|token| token.identity(user)));
        Ok(tokens)
    }

    /// Stores what this node sees of moderators, until `ingest` is gone.
    pub async fn store_moderators(ingest: Weak<Self>) {
        let Some(noted) = ingest.upgrade().map(|ingest| ingest.tokens.moderators.noted.clone()) else { return };
        loop {
            // Woken now and then, so that it ends with the rules.
            let _ = tokio::time::timeout(RETRY, noted.notified()).await;
            let Some(this) = ingest.upgrade() else { return };
            let users: Vec<_> = this.tokens.moderators.unstored.lock().drain().collect();
            for user in users {
                // The store has logged and counted its failure.
                if this.store_tokens_of(&user).await.is_err() {
                    this.tokens.moderators.unstored.lock().insert(user);
                }
            }
        }
    }

    async fn store_tokens_of(&self, user: &UserId) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let now_ms = self.clock.now_ms();
            let found = self.store.document(KIND, user.as_str()).await?;
            let mut seen: Vec<SeenToken> =
                self.tokens.moderators.tokens_of(user, now_ms).iter().map(SeenToken::of).collect();
            for known in found.iter().flat_map(seen_in).filter(|token| is_valid(token.expires_at_ms, now_ms)) {
                if seen.len() < TOKENS_MAX && !seen.iter().any(|token| token.gives_the_same(&known)) {
                    seen.push(known);
                }
            }
            let body = serde_json::to_string(&seen).unwrap_or_default();
            let stored = match found {
                Some(found) => self.store.replace_document(&Document { body, ..found }).await?,
                None => {
                    let (id, user_id) = (user.to_string(), Some(user.clone()));
                    self.store.add_document(&Document { kind: KIND, id, user_id, body, ..Document::default() }).await?
                }
            };
            if stored {
                return Ok(());
            }
        }
        Ok(())
    }
}

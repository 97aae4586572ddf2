//! What this node keeps of one room.
//!
//! Owned by [`super::Rooms`]. Reading the snapshot takes no lock; whoever changes it holds [`RoomEntry::change`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use model::{RoomSettings, RoomState, Session};
use moderation::{Recent, Terms};
use store::RoomRow;
use tokio::sync::{Mutex, OnceCell};

use super::REREAD_MS;
use crate::context::RecentTexts;

/// A snapshot of one room.
#[derive(Debug, Clone, Default)]
pub struct RoomInfo {
    /// Its settings; the defaults for a room nobody configured.
    pub settings: Arc<RoomSettings>,
    /// A moderator closed it and nobody opened it since.
    pub closed: bool,
    /// The current session.
    pub session: Option<Arc<Session>>,
    /// `Starting` or `Closing` while the room is being opened or closed.
    pub transition: Option<RoomState>,
}

impl RoomInfo {
    /// The room's state.
    #[must_use]
    pub fn state(&self) -> RoomState {
        self.transition.unwrap_or(if self.session.is_some() { RoomState::Live } else { RoomState::Idle })
    }

    /// The same room after its transition: what viewers are told.
    pub(super) fn without_transition(&self) -> Self {
        Self { transition: None, ..self.clone() }
    }
}

impl From<RoomRow> for RoomInfo {
    fn from(row: RoomRow) -> Self {
        Self {
            settings: Arc::new(row.settings),
            closed: row.closed,
            session: row.session.map(Arc::new),
            transition: None,
        }
    }
}

/// A room in this node's memory.
pub(crate) struct RoomEntry {
    pub(super) info: ArcSwap<RoomInfo>,
    pub(super) loaded: OnceCell<()>,
    /// Held while the room is opened, closed or changed.
    pub(super) change: Mutex<()>,
    /// When a comment last came, as far as this node knows.
    pub(super) last_comment_ms: AtomicI64,
    /// Another node changed the room, so it has to be read again.
    stale: AtomicBool,
    /// When the store was last asked for it.
    last_read_ms: AtomicI64,
    /// The log did not take a session that was started here: opening again announces it.
    pub(super) unannounced: AtomicBool,
    /// Its last comments, once a rule compares with them.
    recent: OnceLock<Box<Recent>>,
    /// Its terms, compiled, and the settings that they come from.
    terms: ArcSwapOption<(Arc<RoomSettings>, Terms)>,
    /// Their texts, once the hook is told of them.
    recent_texts: OnceLock<Box<RecentTexts>>,
}

impl RoomEntry {
    /// A room that has to be loaded.
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            info: ArcSwap::default(),
            loaded: OnceCell::new(),
            change: Mutex::new(()),
            last_comment_ms: AtomicI64::new(now_ms),
            stale: AtomicBool::new(false),
            last_read_ms: AtomicI64::new(i64::MIN),
            unannounced: AtomicBool::new(false),
            recent: OnceLock::new(),
            terms: ArcSwapOption::empty(),
            recent_texts: OnceLock::new(),
        }
    }

    /// Its last comments, as far as this node admitted them while a rule compared with them.
    pub(crate) fn recent(&self) -> &Recent {
        self.recent.get_or_init(Box::default)
    }

    /// Whether a text has one of the terms that the room refuses.
    pub(crate) fn has_blocked_term(&self, text: &str) -> bool {
        let settings = self.info.load().settings.clone();
        let known = self.terms.load();
        if let Some(known) = known.as_ref().filter(|known| Arc::ptr_eq(&known.0, &settings)) {
            return known.1.hit(text);
        }
        let terms = settings.moderation.as_deref().map_or(&[][..], |rules| &rules.blocked_terms);
        let compiled = Arc::new((settings.clone(), Terms::new(terms)));
        self.terms.store(Some(compiled.clone()));
        compiled.1.hit(text)
    }

    /// Their texts, as the hook was last told of them.
    pub(crate) fn recent_texts(&self) -> &RecentTexts {
        self.recent_texts.get_or_init(Box::default)
    }

    /// The room as it is now.
    pub(crate) fn info(&self) -> Arc<RoomInfo> {
        self.info.load_full()
    }

    /// The store is about to be asked. What is marked while it answers is read again.
    pub(super) fn begin_read(&self, now_ms: i64) {
        self.last_read_ms.store(now_ms, Ordering::Relaxed);
        self.stale.store(false, Ordering::SeqCst);
    }

    /// The store did not answer: the room stays stale, and is tried again after [`REREAD_MS`].
    pub(super) fn read_failed(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }

    /// Another node changed the room: the next reader reads it again, at once.
    pub(super) fn mark_stale(&self) {
        self.last_read_ms.store(i64::MIN, Ordering::Relaxed);
        self.stale.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Whether the store was asked within the last [`REREAD_MS`].
    pub(super) fn was_read_lately(&self, now_ms: i64) -> bool {
        (0..REREAD_MS).contains(&now_ms.saturating_sub(self.last_read_ms.load(Ordering::Relaxed)))
    }

    /// Whether it is time to read the room.
    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        (self.is_stale() || !self.loaded.initialized()) && !self.was_read_lately(now_ms)
    }
}

/// Shows that a room is being opened or closed, until it is dropped.
pub(super) struct TransitionGuard<'a>(&'a RoomEntry);

impl<'a> TransitionGuard<'a> {
    pub fn begin(entry: &'a RoomEntry, state: RoomState) -> Self {
        entry.info.rcu(|info| RoomInfo { transition: Some(state), ..(**info).clone() });
        Self(entry)
    }
}

impl Drop for TransitionGuard<'_> {
    fn drop(&mut self) {
        self.0.info.rcu(|info| info.without_transition());
    }
}

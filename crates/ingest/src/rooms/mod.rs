//! The rooms this node knows: settings, state, and current session.
//!
//! Owns the node's cache; the store is the truth, and the log tells viewers and other nodes. Called by the rules of
//! this crate and, for a room's state, by the API. Decides nothing about people: that is [`crate::access`].
//!
//! Each room has a lock, held while it is opened, closed or changed; reading takes none. A room that another node
//! changed is marked ([`Rooms::mark_changed`]), and its next reader reads it again. While this node hears of no
//! changes, every room is read again once it is [`REREAD_MS`] old.

mod entry;
mod restricted;
mod role_index;
mod sessions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use log::{Log, Record};
use model::room::{InvalidSetting, RoomPatch};
use model::{
    Audience, Clock, Code, Event, EventBody, NoIds, RoomId, RoomSettings, Session, SnowflakeGenerator, Speakers,
    UserId, WireError,
};
use store::{Store, StoreError};

pub(crate) use self::entry::RoomEntry;
pub use self::entry::RoomInfo;
use self::restricted::RestrictedRooms;
use self::role_index::RoleIndex;
use crate::Refusal;

/// How long a room may go unread while this node hears of no changes, and how long after a failed read it is tried
/// again, in milliseconds.
pub const REREAD_MS: i64 = 2_000;
/// A comment waits no longer than this for a room to be read again. While the store is away, too, it enters the room as
/// it was known.
const REREAD_WAIT: Duration = Duration::from_millis(500);

/// Attempts to change settings while other nodes change the same room.
const CHANGE_ATTEMPTS: usize = 32;

/// Why a room could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The room was closed meanwhile.
    #[error("the room was closed")]
    Closed,
    /// A dependency is away.
    #[error("a dependency is away")]
    Away,
}

impl From<StoreError> for ChangeError {
    fn from(_: StoreError) -> Self {
        Self::Away
    }
}

impl From<log::AppendError> for ChangeError {
    fn from(_: log::AppendError) -> Self {
        Self::Away
    }
}

impl From<NoIds> for ChangeError {
    fn from(_: NoIds) -> Self {
        Self::Away
    }
}

impl From<ChangeError> for WireError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Setting(setting) => WireError::invalid(setting.to_string()),
            ChangeError::Closed => WireError::new(Code::RoomClosed, "the room is closed"),
            ChangeError::Away => WireError::unavailable(),
        }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Closed => Refusal::RoomClosed,
            ChangeError::Setting(_) | ChangeError::Away => Refusal::Unavailable,
        }
    }
}

/// The rooms.
pub struct Rooms {
    entries: DashMap<RoomId, Arc<RoomEntry>, ahash::RandomState>,
    store: Arc<dyn Store>,
    log: Arc<dyn Log>,
    ids: Arc<SnowflakeGenerator>,
    clock: Arc<dyn Clock>,
    /// How rooms live unless their settings say otherwise.
    rules: settings::Rooms,
    /// This node hears of no changes now.
    disconnected: AtomicBool,
    restricted: RestrictedRooms,
    roles: RoleIndex,
}

impl Rooms {
    /// Rooms over a store, none loaded yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        ids: Arc<SnowflakeGenerator>,
        clock: Arc<dyn Clock>,
        rules: settings::Rooms,
    ) -> Self {
        Self {
            entries: DashMap::default(),
            store,
            log,
            ids,
            clock,
            rules,
            disconnected: AtomicBool::new(false),
            restricted: RestrictedRooms::default(),
            roles: RoleIndex::default(),
        }
    }

    /// A room as it is now.
    ///
    /// # Errors
    /// When it must be loaded and the store is away.
    pub async fn info(&self, room: &RoomId) -> Result<Arc<RoomInfo>, StoreError> {
        Ok(self.entry(room).await?.info())
    }

    /// The room's priority as far as this node knows it, and whether [`Rooms::info`] should read the room to know it.
    #[must_use]
    pub fn priority(&self, room: &RoomId) -> (i32, bool) {
        match self.entries.get(room) {
            Some(entry) => (entry.info.load().settings.priority, entry.is_due(self.clock.now_ms())),
            None => (0, true),
        }
    }

    /// Loads the rooms that have a session, so that sessions of an earlier run or of a dead node end in time. Notes
    /// which rooms are restricted.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn load_live(&self) -> Result<(), StoreError> {
        // Set before the read: a change that is missed while the store answers clears it again.
        self.restricted.set_complete();
        let rows = self.store.rooms(self.rules.held_max).await;
        if rows.as_ref().map_or(true, |rows| rows.len() >= self.rules.held_max) {
            self.restricted.set_incomplete();
        }
        for row in rows? {
            // Changes heard meanwhile are newer than the row, so nothing is taken off the list.
            if !restricted::is_open(&row.settings) {
                self.restricted.note(&row.room_id, &row.settings, self.rules.held_max);
            }
            self.roles.note(&row.room_id, None, &row.settings);
            if row.session.is_some() {
                self.entry(&row.room_id).await?;
            }
        }
        Ok(())
    }

    /// Another node changed the room: it is read again before its next use.
    pub fn mark_changed(&self, room: &RoomId) {
        if let Some(entry) = self.entries.get(room) {
            entry.mark_stale();
        }
    }

    /// Another node started a session. It counts from here on, even if the store is away when the room is read again.
    pub fn apply_remote_session(&self, session: &Arc<Session>) {
        let entry = self.entries.get(&session.room_id).map(|entry| entry.clone());
        if let Some(entry) = entry.filter(|entry| entry.loaded.initialized()) {
            let started = Some(session.clone());
            entry.info.rcu(|info| RoomInfo { session: info.session.clone().or(started.clone()), ..(**info).clone() });
            entry.mark_stale();
        }
    }

    /// Another node gave the room these settings.
    pub fn apply_remote_settings(&self, room: &RoomId, settings: &RoomSettings) {
        self.restricted.note(room, settings, self.rules.held_max);
        self.roles.note(room, self.known_settings(room).as_deref(), settings);
        self.mark_changed(room);
    }

    /// Other nodes may have changed any room.
    pub fn mark_all_changed(&self) {
        self.restricted.set_incomplete();
        self.entries.iter().for_each(|entry| entry.mark_stale());
    }

    /// Says whether this node hears of other nodes' changes from now on.
    pub fn set_disconnected(&self, disconnected: bool) {
        self.disconnected.store(disconnected, Ordering::Relaxed);
    }

    /// Whether this node hears of no changes now.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.disconnected.load(Ordering::Relaxed)
    }

    /// Whether the room takes comments of anybody.
    #[must_use]
    pub fn accepts_comments(&self, info: &RoomInfo) -> bool {
        info.settings.enabled
            && !info.closed
            && info.settings.speakers != Speakers::Nobody
            && (info.session.is_some() || self.rules.unopened)
    }

    /// The settings that decide who may read the room. While the store is away, a room that is known to be open to all
    /// counts as having the defaults.
    ///
    /// # Errors
    /// When the store is away and the room may be restricted.
    pub(crate) async fn access_settings(&self, room: &RoomId) -> Result<Arc<RoomSettings>, StoreError> {
        match self.info(room).await {
            Ok(info) => Ok(info.settings.clone()),
            Err(_) if self.restricted.is_known_open(room) && !self.is_disconnected() => Ok(Arc::default()),
            Err(error) => Err(error),
        }
    }

    /// The rooms in which a user has a role, as far as this node knows.
    pub(crate) fn rooms_with_role(&self, user: &UserId) -> Vec<RoomId> {
        self.roles.rooms_of(user)
    }

    /// The room's settings as this node last read them, if it has.
    pub(crate) fn known_settings(&self, room: &RoomId) -> Option<Arc<RoomSettings>> {
        Some(self.entries.get(room)?.info.load().settings.clone())
    }

    /// Changes settings and announces them.
    ///
    /// # Errors
    /// [`ChangeError::Setting`] names the field that is out of range; then nothing is changed.
    pub async fn configure(&self, room: &RoomId, patch: RoomPatch) -> Result<Arc<RoomInfo>, ChangeError> {
        self.change(room, |settings| patch.clone().apply(settings)).await
    }

    /// As [`Rooms::configure`], with a function that makes the new settings of those in force; it may be called again.
    ///
    /// # Errors
    /// As [`Rooms::configure`].
    pub async fn change(
        &self,
        room: &RoomId,
        change: impl Fn(&RoomSettings) -> Result<RoomSettings, InvalidSetting> + Send,
    ) -> Result<Arc<RoomInfo>, ChangeError> {
        let entry = self.entry(room).await?;
        let _change = entry.change.lock().await;
        for _ in 0..CHANGE_ATTEMPTS {
            self.reload(&entry, room).await?;
            let before = entry.info();
            let settings = Arc::new(change(&before.settings)?);
            // Fails when another node has changed the settings since they were read.
            if self.store.put_room(room, &before.settings, &settings).await? {
                return self.put_in_force(room, &entry, &before, settings).await;
            }
        }
        Err(ChangeError::Away)
    }

    async fn put_in_force(
        &self,
        room: &RoomId,
        entry: &RoomEntry,
        before: &RoomInfo,
        settings: Arc<RoomSettings>,
    ) -> Result<Arc<RoomInfo>, ChangeError> {
        self.restricted.note(room, &settings, self.rules.held_max);
        self.roles.note(room, Some(&before.settings), &settings);
        let after = Arc::new(RoomInfo { settings: settings.clone(), ..before.clone() });
        entry.info.store(after.clone());
        self.log.append(room.clone(), Record::Settings(settings)).await?;
        let told = |info: &RoomInfo| {
            let RoomSettings { speakers, slow_mode_s, .. } = *info.settings;
            (self.accepts_comments(info), speakers, slow_mode_s)
        };
        if told(before) != told(&after) {
            self.publish_state(room, &after).await?;
        }
        Ok(after)
    }

    /// The room's entry, loaded and, if another node changed it, read again.
    pub(crate) async fn entry(&self, room: &RoomId) -> Result<Arc<RoomEntry>, StoreError> {
        let known = self.entries.get(room).map(|entry| entry.clone());
        let entry = known.unwrap_or_else(|| {
            let fresh = || Arc::new(RoomEntry::new(self.clock.now_ms()));
            self.entries.entry(room.clone()).or_insert_with(fresh).clone()
        });
        if !entry.loaded.initialized() {
            entry.loaded.get_or_try_init(|| self.reload(&entry, room)).await?;
        } else if entry.is_stale() || self.is_disconnected() {
            self.refresh(&entry, room).await;
        }
        Ok(entry)
    }

    /// Reads the room again unless that was tried lately. While somebody else reads or changes the room, or while the
    /// store is away, callers take it as it is. The store has logged and counted its failure.
    async fn refresh(&self, entry: &RoomEntry, room: &RoomId) {
        if entry.was_read_lately(self.clock.now_ms()) {
            return;
        }
        if let Ok(_change) = entry.change.try_lock() {
            let read = tokio::time::timeout(REREAD_WAIT, self.reload(entry, room)).await;
            if !matches!(read, Ok(Ok(()))) {
                entry.read_failed();
            }
        }
    }

    /// Reads the room from the store. The caller holds the room's lock, or loads it for the first time.
    async fn reload(&self, entry: &RoomEntry, room: &RoomId) -> Result<(), StoreError> {
        entry.begin_read(self.clock.now_ms());
        let transition = entry.info.load().transition;
        let row = self.store.room(room).await?;
        let info = row.map(RoomInfo::from).unwrap_or_default();
        entry.info.store(Arc::new(RoomInfo { transition, ..info }));
        Ok(())
    }

    async fn publish_state(&self, room: &RoomId, info: &RoomInfo) -> Result<(), ChangeError> {
        let body = EventBody::RoomState {
            state: info.state(),
            accepts_comments: self.accepts_comments(info),
            session_id: info.session.as_ref().map(|session| session.id),
            speakers: info.settings.speakers,
            slow_mode_s: info.settings.slow_mode_s,
        };
        let event = Event {
            id: self.ids.next()?,
            room_id: room.clone(),
            audience: Audience::Everyone,
            critical_for: Audience::Nobody,
            at_ms: self.clock.now_ms(),
            body,
        };
        self.log.append(room.clone(), Record::Event(Arc::new(event))).await?;
        Ok(())
    }
}

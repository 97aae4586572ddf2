//! The rooms this node knows: settings, state, and the session that is on.
//!
//! Owns the node's cache; the store is the truth and the log tells everybody else. One lock per
//! room serialises opening, closing and changing it; reading takes no lock. What another node changed is
//! marked ([`Rooms::changed_elsewhere`]) and read again by whoever needs the room next; while nothing is heard of
//! other nodes every room is read again once it is [`REREAD_MS`] old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bus::{Change, Log, Record};
use dashmap::DashMap;
use model::room::{InvalidSetting, RoomPatch};
use model::{
    Audience, Clock, Code, Event, EventBody, Identity, NoIds, RoomId, RoomSettings, RoomState, Session, Snowflake,
    SnowflakeGenerator, Speakers, WireError,
};
use store::{RoomRow, Store, StoreError};
use tokio::sync::{Mutex, OnceCell};

use self::entry::Guarded;
pub use self::entry::may_enter;
pub(crate) use self::entry::may_speak;
use crate::Refusal;

mod entry;

/// How old what is known of a room may be while other nodes are not heard, in milliseconds; how often it is tried again
/// to read what another node changed.
pub const REREAD_MS: i64 = 2_000;
/// A comment waits no longer for a room to be read again: with the store away too it enters the room as it was known.
const REREAD_WAIT: Duration = Duration::from_millis(500);

/// How often a change of settings is tried when other nodes change the same room at the same moment.
const CHANGES_TRIED: usize = 32;

/// How rooms live unless their settings say otherwise.
#[derive(Debug, Clone)]
pub struct RoomRules {
    /// Whether a room that nobody opened takes comments, in an implicit session.
    pub unopened: bool,
    /// An implicit session ends after so long without a comment, in milliseconds.
    pub silence_ms: i64,
    /// An implicit session ends after so long in any case, in milliseconds.
    pub session_ms_max: i64,
    /// Rooms kept in memory; beyond it those without a session are forgotten first.
    pub rooms_max: usize,
}

/// A picture of one room.
#[derive(Debug, Clone, Default)]
pub struct RoomInfo {
    /// Its settings; the defaults for a room nobody configured.
    pub settings: Arc<RoomSettings>,
    /// Somebody closed it and nobody opened it since.
    pub closed: bool,
    /// The session that is on.
    pub session: Option<Arc<Session>>,
    /// It is being opened or closed at this moment.
    pub changing: Option<RoomState>,
}

impl RoomInfo {
    /// Where the room stands.
    #[must_use]
    pub fn state(&self) -> RoomState {
        self.changing.unwrap_or(if self.session.is_some() { RoomState::Live } else { RoomState::Idle })
    }
}

/// What is kept of one room.
pub(crate) struct Seat {
    info: ArcSwap<RoomInfo>,
    loaded: OnceCell<()>,
    /// Held while the room is opened, closed or changed.
    change: Mutex<()>,
    spoken_ms: AtomicI64,
    /// Another node changed it, so it has to be read again.
    stale: AtomicBool,
    /// When it was last read, or tried to be.
    read_ms: AtomicI64,
    /// A session was started here and the log did not take it: asking again tells.
    untold: AtomicBool,
}

/// Why a room could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Somebody closed the room meanwhile.
    #[error("the room was closed")]
    Closed,
    /// A dependency is away.
    #[error("away")]
    Away,
}

impl From<StoreError> for ChangeError {
    fn from(_: StoreError) -> Self {
        Self::Away
    }
}

impl From<bus::AppendError> for ChangeError {
    fn from(_: bus::AppendError) -> Self {
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
    seats: DashMap<RoomId, Arc<Seat>, ahash::RandomState>,
    store: Arc<dyn Store>,
    log: Arc<dyn Log>,
    ids: Arc<SnowflakeGenerator>,
    clock: Arc<dyn Clock>,
    rules: RoomRules,
    /// What other nodes change is not heard now.
    deaf: AtomicBool,
    guarded: Guarded,
}

impl Rooms {
    /// Rooms over a store, none loaded yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        log: Arc<dyn Log>,
        ids: Arc<SnowflakeGenerator>,
        clock: Arc<dyn Clock>,
        rules: RoomRules,
    ) -> Self {
        Self {
            seats: DashMap::default(),
            store,
            log,
            ids,
            clock,
            rules,
            deaf: AtomicBool::new(false),
            guarded: Guarded::default(),
        }
    }

    /// A room as it is now.
    ///
    /// # Errors
    /// When it must be loaded and the store is away.
    pub async fn info(&self, room: &RoomId) -> Result<Arc<RoomInfo>, StoreError> {
        Ok(self.seat(room).await?.info.load_full())
    }

    /// The room's priority as far as it is known here, and whether it is time to ask for the room, so that it be known.
    #[must_use]
    pub fn priority(&self, room: &RoomId) -> (i32, bool) {
        match self.seats.get(room) {
            Some(seat) => (seat.info.load().settings.priority, seat.is_outdated(self.clock.now_ms())),
            None => (0, true),
        }
    }

    /// Loads the rooms whose sessions are on, so that those of an earlier run, or of a node that is gone, end in time; and
    /// which ones not everybody may enter.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn load_live(&self) -> Result<(), StoreError> {
        // Unless something is missed while the store answers.
        self.guarded.begin();
        let rows = self.store.rooms(self.rules.rooms_max).await;
        if rows.as_ref().map_or(true, |rows| rows.len() >= self.rules.rooms_max) {
            self.guarded.doubt();
        }
        for row in rows? {
            // What was heard meanwhile is newer: nothing is taken off.
            if !entry::is_open(&row.settings) {
                self.guarded.note(&row.room_id, &row.settings, self.rules.rooms_max);
            }
            if row.session.is_some() {
                self.seat(&row.room_id).await?;
            }
        }
        Ok(())
    }

    /// Another node changed the room: it is read again before it is used.
    pub fn changed_elsewhere(&self, room: &RoomId) {
        if let Some(seat) = self.seats.get(room) {
            seat.mark();
        }
    }

    /// Another node started a session. It is on from here, should the store be away when the room is to be read again.
    pub fn started_elsewhere(&self, session: &Arc<Session>) {
        let seat = self.seats.get(&session.room_id).map(|seat| seat.clone());
        if let Some(seat) = seat.filter(|seat| seat.loaded.initialized()) {
            let on = Some(session.clone());
            seat.info.rcu(|info| RoomInfo { session: info.session.clone().or(on.clone()), ..(**info).clone() });
            seat.mark();
        }
    }

    /// Another node gave the room these settings.
    pub fn set_elsewhere(&self, room: &RoomId, settings: &RoomSettings) {
        self.guarded.note(room, settings, self.rules.rooms_max);
        self.changed_elsewhere(room);
    }

    /// Other nodes may have changed any room.
    pub fn all_changed_elsewhere(&self) {
        self.guarded.doubt();
        self.seats.iter().for_each(|seat| seat.mark());
    }

    /// Says whether what other nodes change is not heard from now on.
    pub fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }

    /// Whether what other nodes change is not heard now.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Whether the room takes comments at all; who may speak is another question.
    #[must_use]
    pub fn accepts_comments(&self, info: &RoomInfo) -> bool {
        info.settings.enabled
            && !info.closed
            && info.settings.speakers != Speakers::Nobody
            && (info.session.is_some() || self.rules.unopened)
    }

    /// Whether somebody may read the room. `None` is a reader without identity, whom the caller
    /// admits at all only where anonymous reading is allowed.
    ///
    /// # Errors
    /// `room_closed` for a disabled room, `forbidden` for one that this reader may not enter.
    pub async fn may_enter(&self, who: Option<&Identity>, room: &RoomId) -> Result<(), WireError> {
        let info = match self.info(room).await {
            Ok(info) => info,
            Err(_) if self.is_open_to_all(room) => Arc::default(),
            Err(_) => return Err(WireError::unavailable()),
        };
        may_enter(&info.settings, who, room).map_err(WireError::from)
    }

    /// Whether the room is known not to be one that only some may enter.
    fn is_open_to_all(&self, room: &RoomId) -> bool {
        self.guarded.leave_open(room) && !self.is_deaf()
    }

    /// Changes settings and tells the room.
    ///
    /// # Errors
    /// [`ChangeError::Setting`] names the field that is out of range; nothing is changed then.
    pub async fn configure(&self, room: &RoomId, patch: RoomPatch) -> Result<Arc<RoomInfo>, ChangeError> {
        let seat = self.seat(room).await?;
        let _change = seat.change.lock().await;
        for _ in 0..CHANGES_TRIED {
            self.read(&seat, room).await?;
            let before = seat.info.load_full();
            let settings = Arc::new(patch.clone().apply(&before.settings)?);
            // Unless another node has changed them since they were read.
            if self.store.put_room(room, &before.settings, &settings).await? {
                return self.configured(room, &seat, &before, settings).await;
            }
        }
        Err(ChangeError::Away)
    }

    /// The room has these settings from now on, and is told so.
    async fn configured(
        &self,
        room: &RoomId,
        seat: &Seat,
        before: &RoomInfo,
        settings: Arc<RoomSettings>,
    ) -> Result<Arc<RoomInfo>, ChangeError> {
        self.guarded.note(room, &settings, self.rules.rooms_max);
        let after = Arc::new(RoomInfo { settings: settings.clone(), ..before.clone() });
        seat.info.store(after.clone());
        self.log.append(room.clone(), Record::Settings(settings)).await?;
        if self.accepts_comments(before) != self.accepts_comments(&after) {
            self.tell_state(room, &after).await?;
        }
        Ok(after)
    }

    /// Opens a session, or returns the one that somebody opened already. An implicit session ends
    /// for it.
    ///
    /// # Errors
    /// [`ChangeError::Away`]; asking again is safe.
    pub async fn open(&self, room: &RoomId) -> Result<Arc<Session>, ChangeError> {
        let seat = self.seat(room).await?;
        let _change = seat.change.lock().await;
        self.read(&seat, room).await?;
        let before = seat.info.load_full();
        let told = !seat.untold.load(Ordering::Relaxed);
        if let Some(session) = before.session.as_ref().filter(|session| session.explicit && told) {
            return Ok(session.clone());
        }
        let _changing = Changing::mark(&seat, RoomState::Starting);
        if let Some(session) = before.session.as_ref().filter(|session| !session.explicit) {
            self.end(&seat, room, Some(session.id), false).await?;
        }
        let session = self.start(&seat, room, true).await?;
        self.tell_state(room, &seat.info.load().settled()).await?;
        Ok(session)
    }

    /// Closes the room: its session ends and comments are refused until it is opened again.
    ///
    /// # Errors
    /// [`ChangeError::Away`]; asking again is safe.
    pub async fn close(&self, room: &RoomId) -> Result<Option<Arc<Session>>, ChangeError> {
        let seat = self.seat(room).await?;
        let _change = seat.change.lock().await;
        let _changing = Changing::mark(&seat, RoomState::Closing);
        let ended = self.end(&seat, room, None, true).await?;
        self.tell_state(room, &seat.info.load().settled()).await?;
        Ok(ended)
    }

    /// The session a comment belongs to; starts an implicit one in a room that nobody opened.
    pub(crate) async fn session_for_comment(
        &self,
        seat: &Seat,
        room: &RoomId,
        now_ms: i64,
    ) -> Result<Arc<Session>, Refusal> {
        seat.spoken_ms.store(now_ms, Ordering::Relaxed);
        if let Some(session) = &seat.info.load().session {
            return Ok(session.clone());
        }
        let _change = seat.change.lock().await;
        let info = seat.info.load_full();
        match &info.session {
            Some(session) => Ok(session.clone()),
            None if !self.accepts_comments(&info) && info.closed => Err(Refusal::RoomClosed),
            None => {
                let session = self.start(seat, room, false).await?;
                self.tell_state(room, &seat.info.load().settled()).await?;
                Ok(session)
            }
        }
    }

    /// Ends implicit sessions that have been silent or on for too long, and forgets rooms that are
    /// only taking up memory. Called now and then.
    pub async fn sweep(&self) {
        let now_ms = self.clock.now_ms();
        for (room, seat) in self.seats.iter().map(|seat| (seat.key().clone(), seat.value().clone())).collect::<Vec<_>>()
        {
            if self.is_over(&seat, now_ms)
                && let Err(error) = self.end_if_over(&seat, &room, now_ms).await
            {
                tracing::warn!(room = room.as_str(), %error, "could not end a silent session; will try again");
            }
        }
        let spare = self.seats.len().saturating_sub(self.rules.rooms_max);
        if spare > 0 {
            self.seats.retain(|_, seat| seat.info.load().session.is_some() || Arc::strong_count(seat) > 1);
        }
    }

    fn is_over(&self, seat: &Seat, now_ms: i64) -> bool {
        let silent = now_ms - seat.spoken_ms.load(Ordering::Relaxed) > self.rules.silence_ms;
        let info = seat.info.load();
        let implicit = info.session.as_ref().filter(|session| !session.explicit);
        implicit.is_some_and(|session| silent || now_ms - session.started_at_ms > self.rules.session_ms_max)
    }

    /// Ends a session that looks over from here, unless it lives on another node. The store knows what was said
    /// anywhere, as far as the room's comments are kept.
    async fn end_if_over(&self, seat: &Seat, room: &RoomId, now_ms: i64) -> Result<(), ChangeError> {
        let _change = seat.change.lock().await;
        self.read(seat, room).await?;
        let Some(session) = seat.info().session.clone() else { return Ok(()) };
        let newest_ms = self.store.newest_comment_ms(session.id).await?.unwrap_or(session.started_at_ms);
        seat.spoken_ms.fetch_max(newest_ms, Ordering::Relaxed);
        if self.is_over(seat, now_ms) && self.end(seat, room, Some(session.id), false).await?.is_some() {
            self.tell_state(room, &seat.info.load()).await?;
        }
        Ok(())
    }

    /// What is kept of a room, loaded.
    pub(crate) async fn seat(&self, room: &RoomId) -> Result<Arc<Seat>, StoreError> {
        let known = self.seats.get(room).map(|seat| seat.clone());
        let seat = known.unwrap_or_else(|| {
            let fresh = || {
                Arc::new(Seat {
                    info: ArcSwap::default(),
                    loaded: OnceCell::new(),
                    change: Mutex::new(()),
                    spoken_ms: AtomicI64::new(self.clock.now_ms()),
                    stale: AtomicBool::new(false),
                    read_ms: AtomicI64::new(i64::MIN),
                    untold: AtomicBool::new(false),
                })
            };
            self.seats.entry(room.clone()).or_insert_with(fresh).clone()
        });
        if !seat.loaded.initialized() {
            seat.loaded.get_or_try_init(|| self.read(&seat, room)).await?;
        } else if seat.stale.load(Ordering::Relaxed) || self.is_deaf() {
            self.freshen(&seat, room).await;
        }
        Ok(seat)
    }

    /// Reads the room again if it was not tried lately. Whoever finds it being read or changed takes it as it is, and so
    /// does everybody while the store is away, which the store has logged and counted.
    async fn freshen(&self, seat: &Seat, room: &RoomId) {
        if seat.was_read(self.clock.now_ms()) {
            return;
        }
        if let Ok(_change) = seat.change.try_lock() {
            let read = tokio::time::timeout(REREAD_WAIT, self.read(seat, room)).await;
            if !matches!(read, Ok(Ok(()))) {
                seat.stale.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Reads the room from the store; the caller holds its lock, or loads it.
    async fn read(&self, seat: &Seat, room: &RoomId) -> Result<(), StoreError> {
        seat.read_ms.store(self.clock.now_ms(), Ordering::Relaxed);
        // Before the store is asked: what is marked while it answers is read again.
        seat.stale.store(false, Ordering::SeqCst);
        let changing = seat.info.load().changing;
        let row = self.store.room(room).await?;
        let info = row.map(info_of).unwrap_or_default();
        seat.info.store(Arc::new(RoomInfo { changing, ..info }));
        Ok(())
    }

    /// Starts a session, or takes part in the one that another node has just started; the caller holds the room's lock and
    /// has seen that none is on. Whoever is told twice that a session starts has nothing to do the second time.
    async fn start(&self, seat: &Seat, room: &RoomId, explicit: bool) -> Result<Arc<Session>, ChangeError> {
        let started_at_ms = self.clock.now_ms();
        let session =
            Session { id: self.ids.next()?, room_id: room.clone(), started_at_ms, ended_at_ms: None, explicit };
        let Some(session) = self.store.start_session(&session).await?.map(Arc::new) else {
            self.read(seat, room).await?;
            return Err(ChangeError::Closed);
        };
        seat.untold.store(true, Ordering::Relaxed);
        self.log.append(room.clone(), Record::SessionStarted(session.clone())).await?;
        seat.untold.store(false, Ordering::Relaxed);
        let info = seat.info.load_full();
        let closed = info.closed && !explicit;
        seat.info.store(Arc::new(RoomInfo { session: Some(session.clone()), closed, ..(*info).clone() }));
        Ok(session)
    }

    /// Ends the session that is on, or `only` this one, and with `close` closes the room; the caller holds the room's lock.
    /// Of several nodes that end one at once one gets it, and tells.
    async fn end(
        &self,
        seat: &Seat,
        room: &RoomId,
        only: Option<Snowflake>,
        close: bool,
    ) -> Result<Option<Arc<Session>>, ChangeError> {
        let ended = self.store.end_session(room, only, self.clock.now_ms(), close).await?.map(Arc::new);
        let record = match &ended {
            Some(session) => Record::SessionEnded(session.clone()),
            None if close => Record::Changed(Change::Room),
            // Another node ended it, and may have started the next one.
            None => return self.read(seat, room).await.map(|()| None).map_err(Into::into),
        };
        let info = seat.info.load_full();
        seat.info.store(Arc::new(RoomInfo { session: None, closed: info.closed || close, ..(*info).clone() }));
        self.log.append(room.clone(), record).await?;
        Ok(ended)
    }

    async fn tell_state(&self, room: &RoomId, info: &RoomInfo) -> Result<(), ChangeError> {
        let body = EventBody::RoomState {
            state: info.state(),
            accepts_comments: self.accepts_comments(info),
            session_id: info.session.as_ref().map(|session| session.id),
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

impl Seat {
    /// The room as it is now.
    pub(crate) fn info(&self) -> Arc<RoomInfo> {
        self.info.load_full()
    }

    /// Whether it was read lately, or tried to be.
    fn was_read(&self, now_ms: i64) -> bool {
        (0..REREAD_MS).contains(&now_ms.saturating_sub(self.read_ms.load(Ordering::Relaxed)))
    }

    /// Whether it is time to read it.
    fn is_outdated(&self, now_ms: i64) -> bool {
        (self.stale.load(Ordering::Relaxed) || !self.loaded.initialized()) && !self.was_read(now_ms)
    }

    /// The room is to be read again, at once.
    fn mark(&self) {
        self.read_ms.store(i64::MIN, Ordering::Relaxed);
        self.stale.store(true, Ordering::SeqCst);
    }
}

impl RoomInfo {
    /// The same room with its change behind it: what viewers are told.
    fn settled(&self) -> Self {
        Self { changing: None, ..self.clone() }
    }
}

/// Shows that a room is being opened or closed for as long as it lives.
struct Changing<'a>(&'a Seat);

impl<'a> Changing<'a> {
    fn mark(seat: &'a Seat, state: RoomState) -> Self {
        seat.info.rcu(|info| RoomInfo { changing: Some(state), ..(**info).clone() });
        Self(seat)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.info.rcu(|info| info.settled());
    }
}

fn info_of(row: RoomRow) -> RoomInfo {
    RoomInfo {
        settings: Arc::new(row.settings),
        closed: row.closed,
        session: row.session.map(Arc::new),
        changing: None,
    }
}

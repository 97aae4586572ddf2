//! The rooms this node holds because somebody here reads them.
//!
//! Room workers feed it through [`fanout::Fanout`]. Gateways join sockets; the API polls and opens event streams. It reads
//! the store to warm a room (once for all who wait), for cursors older than the ring, and for what was missed of other
//! nodes ([`crate::catch_up`]). It never touches a socket.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cluster::Viewers;
use dashmap::DashMap;
use fanout::{Fanout, RoomSubscriptions};
use log::{Entry, Record};
use model::recent::Recent;
use model::{
    Audience, Clock, Code, Comment, EventBody, Metrics, RoomId, Snowflake, SnowflakeGenerator, UserId, WireError,
};
use parking_lot::Mutex;
use protocol::message::JoinRoom;
use serde_json::value::RawValue;
use state::connections::network;
use state::{MemoryRateLimiter, Rate};
use store::{Store, StoreError};
use tokio::sync::{OnceCell, Semaphore, broadcast, mpsc};

use crate::batch::{ConnRef, ShardInbox, ShardMessage, SharedEvent};
use crate::catch_up::REREADS_MAX;
use crate::live::LIVE_WAITERS_MAX;
use crate::polling::ReaderCursors;
use crate::purges::Purges;
use crate::ring::Ring;
use crate::room::{BEGINNING, ClientMsgIds, History, HistoryStart, Room};
use crate::shadows::SHADOWS_MAX;
use crate::stream::{StreamId, TapMessage};
use crate::unstored::Unstored;

/// Comments a ring holds: enough for joins, resumes and long polls of a busy room.
pub const RING_COMMENTS: usize = 512;
/// Messages an event stream may lag behind before it is cut and resumes by id.
const TAP_MESSAGES: usize = 256;
/// Sanctions that a reader of all of them may lag behind; then it misses the oldest.
const SANCTIONS: usize = 256;
/// A room nobody reads is kept this long for pollers, in milliseconds.
pub(crate) const IDLE_MS: i64 = 90_000;
/// When space is short, a room without readers is kept this long, and an empty one only until the next pass.
const EVICTION_IDLE_MS: i64 = 5_000;
const EVICTION_PAUSE_MS: i64 = 1_000;
/// Users and addresses whose loads are counted at once.
const LOADERS_MAX: usize = 200_000;

/// Events remembered: more than a worker tells again.
const TOLD_EVENTS_MAX: usize = 16_384;
/// A shard as busy as this would rather not have more viewers.
const BUSY_LOAD: f32 = 0.85;
/// Nor a node that holds so many percent of the sockets it may.
const BUSY_SOCKETS_PERCENT: u64 = 90;

/// The hub's configuration.
#[derive(Debug, Clone, Default)]
pub struct HubSettings {
    /// What holds for rooms.
    pub rooms: settings::Rooms,
    /// By how much the order of arrival may differ between nodes, in milliseconds. Readers who come from another node are
    /// given this much again. 0 when there is one node.
    pub reread_ms: u64,
    /// Sockets that this node may hold; 0 is no bound.
    pub sockets_max: u64,
}

/// What all held rooms share.
pub(crate) struct HubContext {
    pub shards: OnceLock<Vec<Arc<dyn ShardInbox>>>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<SnowflakeGenerator>,
    pub metrics: Arc<Metrics>,
    pub settings: HubSettings,
    pub purges: Purges,
    pub unstored: Unstored,
    pub runtime: tokio::runtime::Handle,
    /// Rooms whose segments are recorded.
    pub live_rooms: AtomicUsize,
    next_stream: AtomicU32,
}

impl HubContext {
    /// Whether readers should rather come through a cache.
    pub fn prefers_segments(&self) -> bool {
        let sockets_max = self.settings.sockets_max;
        let sockets = || self.metrics.connections.get().max(0).unsigned_abs();
        (sockets_max > 0 && sockets() * 100 >= sockets_max * BUSY_SOCKETS_PERCENT) || self.load() >= BUSY_LOAD
    }

    /// The bytes of segments that one room may keep while there are too many: an equal share.
    pub fn live_share_bytes(&self) -> usize {
        let most = self.settings.rooms.live_bytes_max;
        let kept = usize::try_from(self.metrics.segments_bytes.get()).unwrap_or(0);
        if kept <= most { usize::MAX } else { most / self.live_rooms.load(Ordering::Relaxed).max(1) }
    }

    pub fn next_stream_id(&self) -> StreamId {
        StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// The busiest shard's load, 0 to 1.
    pub fn load(&self) -> f32 {
        self.shards.get().into_iter().flatten().map(|s| s.load()).fold(0.0, f32::max)
    }

    pub fn shard(&self, index: u16) -> Option<&Arc<dyn ShardInbox>> {
        self.shards.get()?.get(usize::from(index))
    }
}

/// A user was banned or muted. Rooms are told nothing of it, so those who show it to everybody ask for it.
#[derive(Debug, Clone)]
pub struct Sanction {
    /// Whom.
    pub user_id: UserId,
    /// Where; `None` is everywhere.
    pub room_id: Option<RoomId>,
    /// Until when, Unix milliseconds.
    pub until_ms: i64,
}

impl Sanction {
    /// Whether it holds in a room.
    #[must_use]
    pub fn holds_in(&self, room: &RoomId) -> bool {
        self.room_id.as_ref().is_none_or(|named| named == room)
    }

    fn of(record: &Record) -> Option<Self> {
        match record {
            Record::Banned { user_id, room_id, until_ms, .. } => {
                Some(Self { user_id: user_id.clone(), room_id: room_id.clone(), until_ms: *until_ms })
            }
            Record::Event(event) => match &event.body {
                EventBody::UserMuted { user_id, until_ms, .. } => {
                    let room_id = Some(event.room_id.clone()).filter(|room| !room.is_everywhere());
                    Some(Self { user_id: user_id.clone(), room_id, until_ms: *until_ms })
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// A request of a socket to read a room. The caller has checked that it may.
#[derive(Debug)]
pub struct JoinRequest {
    /// The socket.
    pub conn: ConnRef,
    /// The user on it, if any.
    pub user: Option<UserId>,
    /// Its client's address; `None` when that is exempt from limits.
    pub address: Option<IpAddr>,
    /// Whether the user moderates the room.
    pub moderates: bool,
    /// The room, and how to read it.
    pub options: JoinRoom,
    /// Comes back in the answer.
    pub reference: Option<Box<RawValue>>,
    /// The stream it reads now, when it joins again with other options.
    pub previous: Option<StreamId>,
}

/// For whom a room is loaded, if it is not held yet: that uses up a share of the user and of the address. Nobody's share
/// where there is neither.
#[derive(Debug, Clone, Default)]
pub struct Opener {
    /// The user.
    pub user: Option<UserId>,
    /// The client's address; `None` when that is exempt from limits.
    pub address: Option<IpAddr>,
}

/// The rooms this node holds.
pub struct Hub {
    pub(crate) rooms: DashMap<RoomId, Arc<RoomSlot>, ahash::RandomState>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) context: Arc<HubContext>,
    next_key: AtomicU32,
    loads: MemoryRateLimiter,
    /// When rooms were last evicted for lack of space.
    evicted_ms: AtomicI64,
    directory: OnceLock<Arc<dyn Viewers>>,
    subscriptions: OnceLock<Arc<dyn RoomSubscriptions>>,
    /// Whether nothing arrives from other nodes.
    pub(crate) disconnected: AtomicBool,
    pub(crate) rereads: Semaphore,
    /// Requests that wait for a live segment.
    pub(crate) live_waiters: Semaphore,
    sanctions: broadcast::Sender<Sanction>,
    pub(crate) reader_cursors: ReaderCursors,
    /// Events that came, among several nodes: a worker that was frozen or killed has its last ones told twice.
    told_events: Mutex<Recent<()>>,
}

/// A held room, cold until its ring has been warmed from the store.
pub(crate) struct RoomSlot {
    pub room: Arc<Room>,
    warm: OnceCell<()>,
}

impl Hub {
    /// A hub that holds no room yet. Must be called within a Tokio runtime, which runs its timers.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<SnowflakeGenerator>,
        metrics: Arc<Metrics>,
        settings: HubSettings,
    ) -> Arc<Self> {
        let context = HubContext {
            shards: OnceLock::new(),
            clock,
            ids,
            metrics,
            settings,
            purges: Purges::default(),
            unstored: Unstored::default(),
            runtime: tokio::runtime::Handle::current(),
            live_rooms: AtomicUsize::new(0),
            next_stream: AtomicU32::new(1),
        };
        let hub = Arc::new(Self {
            rooms: DashMap::default(),
            store,
            context: Arc::new(context),
            next_key: AtomicU32::new(1),
            loads: MemoryRateLimiter::new(LOADERS_MAX),
            evicted_ms: AtomicI64::new(i64::MIN),
            directory: OnceLock::new(),
            subscriptions: OnceLock::new(),
            disconnected: AtomicBool::new(false),
            rereads: Semaphore::new(REREADS_MAX),
            live_waiters: Semaphore::new(LIVE_WAITERS_MAX),
            sanctions: broadcast::Sender::new(SANCTIONS),
            reader_cursors: ReaderCursors::default(),
            told_events: Mutex::new(Recent::new(TOLD_EVENTS_MAX)),
        });
        tokio::spawn(retire_idle_rooms(Arc::downgrade(&hub)));
        hub
    }

    /// Sets the shards; called once, before the first join.
    pub fn register_shards(&self, shards: Vec<Arc<dyn ShardInbox>>) {
        let _ = self.context.shards.set(shards);
    }

    /// Sets how this node subscribes to rooms of other nodes; called once, before the first room is held. Without it there
    /// are no other nodes.
    pub fn register_subscriptions(&self, subscriptions: Arc<dyn RoomSubscriptions>) {
        let _ = self.subscriptions.set(subscriptions);
    }

    /// Joins. Warms the room and asks the store for an old cursor if it must.
    ///
    /// # Errors
    /// `invalid_request` for too many `only_user_ids`, `unavailable` when the store is away,
    /// `overloaded` when too many rooms are held.
    pub async fn join(self: &Arc<Self>, request: JoinRequest) -> Result<(), WireError> {
        self.check(&request.options)?;
        loop {
            let opener = Opener { user: request.user.clone(), address: request.address };
            let room = self.hold_for(&request.options, &opener).await?;
            let start = self.resolve(&room, request.options.since_id).await?;
            if room.join(&request, start).is_ok() {
                return Ok(());
            }
        }
    }

    fn check(&self, options: &JoinRoom) -> Result<(), WireError> {
        self.check_only(options.only_user_ids.as_deref())
    }

    /// Whether so many users may be named in `only_user_ids`.
    ///
    /// # Errors
    /// `invalid_request` when they are too many.
    pub fn check_only(&self, only: Option<&[UserId]>) -> Result<(), WireError> {
        let most = self.context.settings.rooms.only_users_max;
        match only {
            Some(users) if users.len() > most => {
                Err(WireError::invalid(format!("only_user_ids may name {most} users")))
            }
            _ => Ok(()),
        }
    }

    /// The room that shows a comment which is not stored.
    #[must_use]
    pub fn room_of(&self, id: Snowflake) -> Option<RoomId> {
        let room = self.context.unstored.room_of(id)?;
        self.rooms.get(&room).is_some_and(|slot| slot.room.ring(|ring| ring.contains(id))).then_some(room)
    }

    /// The room, warm, and held for at least a minute and a half.
    ///
    /// # Errors
    /// `unavailable` when the store is away, `rate_limited` when the opener has loaded too many rooms, `overloaded` when
    /// too many are held.
    pub async fn hold(&self, id: &RoomId, opener: &Opener) -> Result<Arc<Room>, WireError> {
        let slot = self.slot(id, opener)?;
        self.warm(&slot).await.map_err(|_| WireError::unavailable())?;
        slot.room.touch();
        Ok(slot.room.clone())
    }

    /// As [`Hub::hold`], for a reader who stays. Among several nodes a reader without a cursor joins without history while
    /// the store is away: live comments arrive, and the room is warmed when the store is back.
    pub(crate) async fn hold_for(
        self: &Arc<Self>,
        options: &JoinRoom,
        opener: &Opener,
    ) -> Result<Arc<Room>, WireError> {
        let slot = self.slot(&options.room_id, opener)?;
        let cold = || !slot.warm.initialized() && slot.room.is_behind();
        if cold() || self.warm(&slot).await.is_err() {
            if options.since_id.is_some() || self.subscriptions.get().is_none() {
                return Err(WireError::unavailable());
            }
            self.mark_incomplete(&options.room_id, self.context.clock.now_ms());
        }
        slot.room.touch();
        Ok(slot.room.clone())
    }

    fn slot(&self, id: &RoomId, opener: &Opener) -> Result<Arc<RoomSlot>, WireError> {
        if let Some(slot) = self.rooms.get(id) {
            return Ok(slot.clone());
        }
        self.count_load(opener)?;
        if self.rooms.len() >= self.context.settings.rooms.held_max && !self.evict_unread() {
            let busy = WireError::new(model::Code::Overloaded, "this node holds as many rooms as it may");
            return Err(busy.retry_after_ms(5_000));
        }
        let slot = self.rooms.entry(id.clone()).or_insert_with(|| {
            self.context.metrics.rooms_held.inc();
            let key = self.next_key.fetch_add(1, Ordering::Relaxed);
            Arc::new(RoomSlot { room: Room::new(id.clone(), key, self.context.clone()), warm: OnceCell::new() })
        });
        Ok(slot.clone())
    }

    /// Counts a room that is loaded: rooms are invented more cheaply than they are held.
    fn count_load(&self, opener: &Opener) -> Result<(), WireError> {
        let (rooms, now_ms) = (&self.context.settings.rooms, self.context.clock.now_ms());
        let count = |scope, id: &str, per_min| self.loads.count(scope, id, Rate::per(per_min, 60_000), now_ms);
        let user = opener.user.as_ref().map(|user| count("user", user.as_str(), rooms.loads_per_user_per_min));
        let address = opener
            .address
            .map(|address| count("address", &network(address).to_string(), rooms.loads_per_address_per_min));
        user.into_iter().chain(address).collect::<Result<(), u64>>().map_err(|retry_after_ms| {
            WireError::new(Code::RateLimited, "too many rooms that nobody else reads").retry_after_ms(retry_after_ms)
        })
    }

    /// Drops rooms without readers before their time: those in which nothing was said, and if that is not enough, the
    /// others, which the store can fill again. Says whether there is space. A pass looks at every room, so one a second is
    /// made.
    fn evict_unread(&self) -> bool {
        let (now_ms, rooms_max) = (self.context.clock.now_ms(), self.context.settings.rooms.held_max);
        let last = self.evicted_ms.swap(now_ms, Ordering::Relaxed);
        if now_ms.saturating_sub(last) < EVICTION_PAUSE_MS {
            self.evicted_ms.store(last, Ordering::Relaxed);
            return self.rooms.len() < rooms_max;
        }
        self.retire(|room| room.ring(Ring::is_empty) && room.retire_if_idle(now_ms, EVICTION_PAUSE_MS));
        if self.rooms.len() >= rooms_max {
            self.retire(|room| room.retire_if_idle(now_ms, EVICTION_IDLE_MS));
        }
        self.rooms.len() < rooms_max
    }

    /// Reads the room from the store, once. It subscribes to other nodes first, so nothing falls between the two.
    pub(crate) async fn warm(&self, slot: &RoomSlot) -> Result<(), StoreError> {
        let room = &slot.room;
        let warm = async || {
            if let Some(subscriptions) = self.subscriptions.get() {
                subscriptions.hold(room.id()).await;
            }
            let begun_ms = self.context.clock.now_ms();
            let row = self.store.room(room.id()).await?;
            let latest = self.store.latest_comments(room.id(), RING_COMMENTS).await?;
            let keys = self.client_msg_ids(latest.iter().map(|positioned| positioned.comment.id).collect()).await?;
            room.warm(row, latest, &keys, begun_ms);
            room.prefill_shadows(self.store.shadowed_comments(room.id(), None, SHADOWS_MAX).await?);
            Ok(())
        };
        slot.warm.get_or_try_init(warm).await.copied()
    }

    /// The `client_msg_id`s of stored comments. With one node nobody compares them.
    pub(crate) async fn client_msg_ids(&self, ids: Vec<Snowflake>) -> Result<ClientMsgIds, StoreError> {
        if self.context.settings.reread_ms == 0 || ids.is_empty() {
            return Ok(ClientMsgIds::default());
        }
        Ok(self.store.client_msg_ids(&ids).await?.into_iter().collect())
    }

    async fn resolve(&self, room: &Room, since_id: Option<Snowflake>) -> Result<HistoryStart, WireError> {
        let start = room.history_start(since_id);
        let (HistoryStart::NotInRing, Some(id)) = (start, since_id) else { return Ok(start) };
        let position = if id == BEGINNING { Some(0) } else { self.stored_position(room, id).await? };
        let Some(position) = position else { return Ok(HistoryStart::Latest) };
        let start = room.ring(|ring| ring.start_at(position));
        let missed = self.store.count_after(room.id(), position).await.map_err(|_| WireError::unavailable())?;
        Ok(HistoryStart::InStore { start, missed })
    }

    /// The stored position of a comment in this room's live order.
    pub(crate) async fn stored_position(&self, room: &Room, id: Snowflake) -> Result<Option<u64>, WireError> {
        let stored = self.store.position_of(id).await.map_err(|_| WireError::unavailable())?;
        let live = |(owner, position): &(RoomId, u64)| owner == room.id() && *position > 0;
        Ok(stored.filter(live).map(|(_, position)| position))
    }

    /// Opens an event stream: the comments missed since `options.since_id` (or the history asked
    /// for), how many more were missed, and what comes from here on.
    ///
    /// # Errors
    /// As [`Hub::hold`].
    pub async fn tap(self: &Arc<Self>, options: &JoinRoom, opener: &Opener) -> Result<Tap, WireError> {
        self.tap_as(options, opener, false).await
    }

    /// As [`Hub::tap`], for a reader who moderates the room if `moderates`.
    ///
    /// # Errors
    /// As [`Hub::hold`].
    pub async fn tap_as(
        self: &Arc<Self>,
        options: &JoinRoom,
        opener: &Opener,
        moderates: bool,
    ) -> Result<Tap, WireError> {
        self.check(options)?;
        loop {
            let room = self.hold_for(options, opener).await?;
            let start = self.resolve(&room, options.since_id).await?;
            let (sender, messages) = mpsc::channel(TAP_MESSAGES);
            if let Ok(History { history, omitted }) = room.tap(options, start, opener.user.clone(), moderates, sender) {
                return Ok(Tap { room, history, omitted, messages });
            }
        }
    }

    /// Bans and mutes from here on, in all rooms.
    #[must_use]
    pub fn sanctions(&self) -> broadcast::Receiver<Sanction> {
        self.sanctions.subscribe()
    }

    /// Sockets and event streams reading a room on this node.
    #[must_use]
    pub fn viewers(&self, id: &RoomId) -> u64 {
        self.rooms.get(id).map_or(0, |slot| slot.room.viewers())
    }

    /// Viewers on all nodes; those on other nodes as of at most 30 s ago.
    pub async fn viewers_everywhere(&self, id: &RoomId) -> u64 {
        let here = self.rooms.get(id).map(|slot| slot.room.clone());
        match (here, self.directory.get()) {
            (Some(room), _) => room.viewers() + room.remote_viewers().load(Ordering::Relaxed),
            (None, Some(directory)) => directory.remote(id).await,
            (None, None) => 0,
        }
    }

    /// Sets the directory that knows other nodes' viewers; called once. Without it there are none.
    pub fn register_viewers(&self, directory: Arc<dyn Viewers>) {
        let _ = self.directory.set(directory);
    }

    /// The rooms held here, each with its viewers here.
    #[must_use]
    pub fn held_rooms(&self) -> Vec<(RoomId, u64)> {
        self.rooms.iter().map(|slot| (slot.key().clone(), slot.room.viewers())).collect()
    }

    /// Sets how many viewers a room has on other nodes.
    pub fn set_remote_viewers(&self, id: &RoomId, viewers: u64) {
        if let Some(slot) = self.rooms.get(id) {
            slot.room.remote_viewers().store(viewers, Ordering::Relaxed);
        }
    }

    fn broadcast(&self, message: &ShardMessage) {
        for shard in self.context.shards.get().into_iter().flatten() {
            shard.send(message.clone());
        }
    }

    /// Makes the shards apply bans and revoked tokens again: of one user, or of all.
    pub fn recheck(&self, user: Option<&UserId>) {
        self.broadcast(&ShardMessage::Recheck(user.cloned()));
    }

    /// Drops events that were told before. Snapshots have no position and are told once.
    pub(crate) fn drop_told(&self, entries: &mut Vec<Entry>) {
        if self.context.settings.reread_ms == 0 {
            return;
        }
        entries.retain(|entry| match &entry.record {
            Record::Event(event) if entry.position.offset > 0 => {
                let mut told = self.told_events.lock();
                let is_new = !told.contains(event.id);
                told.insert(event.id, (), 0);
                is_new
            }
            _ => true,
        });
    }

    /// Sends what concerns single users to the shards, whether or not anybody reads the room here.
    pub(crate) fn forward_to_users(&self, record: &Record) {
        if let Some(sanction) = Sanction::of(record) {
            // Nobody may be listening.
            let _ = self.sanctions.send(sanction);
        }
        match record {
            Record::Event(event) => {
                let named = |audience: &Audience| matches!(audience, Audience::Users(_));
                if named(&event.audience) || named(&event.critical_for) {
                    self.broadcast(&ShardMessage::UserEvent(Arc::new(SharedEvent::new(event.clone()))));
                }
            }
            Record::Revoked { user_id, before_ms } => {
                self.broadcast(&ShardMessage::Revoked { user_id: user_id.clone(), before_ms: *before_ms });
            }
            Record::Banned { user_id, room_id, until_ms, reason } => self.broadcast(&ShardMessage::Banned {
                user_id: user_id.clone(),
                room_id: room_id.clone(),
                until_ms: *until_ms,
                reason: reason.clone(),
            }),
            _ => {}
        }
    }

    /// Drops the rooms that `retires` has retired.
    fn retire(&self, retires: impl Fn(&Room) -> bool) {
        self.rooms.retain(|_, slot| {
            let keep = !retires(&slot.room);
            if !keep {
                self.context.metrics.rooms_held.dec();
                // Nobody can hold the room anew before this is done: its map entry is locked.
                if let Some(subscriptions) = self.subscriptions.get() {
                    subscriptions.release(slot.room.id());
                }
            }
            keep
        });
    }
}

impl Fanout for Hub {
    fn push(&self, room_id: &RoomId, mut entries: Vec<Entry>) {
        self.drop_told(&mut entries);
        for entry in &entries {
            self.forward_to_users(&entry.record);
        }
        self.apply_purges(room_id, &entries);
        let slot = self.rooms.get(room_id).map(|slot| slot.clone());
        if let Some(slot) = slot {
            slot.room.apply(&entries);
        }
    }
}

/// An open event stream.
pub struct Tap {
    /// The room; it counts the tap as a viewer until `messages` is dropped.
    pub room: Arc<Room>,
    /// The history, oldest first.
    pub history: Vec<Arc<Comment>>,
    /// How many more were missed than `history` holds.
    pub omitted: u64,
    /// Live messages; the channel closes when the reader falls too far behind.
    pub messages: mpsc::Receiver<TapMessage>,
}

async fn retire_idle_rooms(hub: std::sync::Weak<Hub>) {
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tick.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        let now_ms = hub.context.clock.now_ms();
        hub.retire(|room| room.retire_if_idle(now_ms, IDLE_MS));
    }
}

//! The rooms this node holds: those somebody here reads, with their rings, streams and windows.
//!
//! Fed by the room workers through [`bus::Fanout`]; asked by gateways (join), and by the API (polls
//! and event streams). Reads the store only to warm a room that nobody here held before, once for
//! everybody who waits, for cursors older than the ring, and for what was missed of other nodes
//! ([`crate::elsewhere`]). Never touches a socket.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bus::{Elsewhere, Entry, Fanout, Record, Viewers};
use dashmap::DashMap;
use model::{Audience, Clock, Comment, Metrics, RoomId, Snowflake, SnowflakeGenerator, UserId, WireError};
use protocol::handshake::Form;
use protocol::message::JoinRoom;
use serde_json::value::RawValue;
use store::{Store, StoreError};
use tokio::sync::{OnceCell, Semaphore, mpsc};

use crate::batch::{ConnRef, EventFrame, Shard, ToShard};
use crate::elsewhere::REREADS_MAX;
pub use crate::held::HubRoom;
use crate::held::{BEGINNING, Held, Since};
use crate::reading::Readers;
pub use crate::reading::{Page, Poll};
pub use crate::stream::{StreamId, TapMessage};

/// Comments a ring holds: enough for joins, resumes and long polls of a busy room.
pub const RING_COMMENTS: usize = 512;
/// Messages an event stream may lag behind before it is cut and resumes by id.
const TAP_MESSAGES: usize = 256;
/// A room nobody reads is kept this long for pollers, in milliseconds.
const IDLE_MS: i64 = 90_000;

/// What the hub can be told by configuration.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Longest window, in milliseconds, unless the room says otherwise.
    pub window_ms_max: u32,
    /// Comments a second that one viewer is given at most, unless the room says otherwise.
    pub viewer_per_s_max: u32,
    /// Comments given at join when nothing is asked for.
    pub history_default: u32,
    /// Most comments given at join.
    pub history_max: u32,
    /// Most seconds of history given at join.
    pub history_s_max: u32,
    /// Most users in `only_user_ids`.
    pub only_users_max: usize,
    /// Messages of at least so many bytes are compressed for those who negotiated it.
    pub deflate_bytes_min: usize,
    /// Most rooms held at once; further ones are refused with `overloaded`.
    pub rooms_max: usize,
    /// By how much the order in which comments arrive may differ between nodes, in milliseconds: readers who come from
    /// another node are given so much again. 0 when there is one node.
    pub reread_ms: u64,
}

/// What every held room shares.
pub(crate) struct Shared {
    pub shards: OnceLock<Vec<Arc<dyn Shard>>>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<SnowflakeGenerator>,
    pub metrics: Arc<Metrics>,
    pub settings: HubSettings,
    pub runtime: tokio::runtime::Handle,
    next_stream: AtomicU32,
}

impl Shared {
    pub fn fresh_stream(&self) -> StreamId {
        StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// The busiest shard's load, 0 to 1.
    pub fn load(&self) -> f32 {
        self.shards.get().into_iter().flatten().map(|s| s.load()).fold(0.0, f32::max)
    }

    pub fn shard(&self, index: u16) -> Option<&Arc<dyn Shard>> {
        self.shards.get()?.get(usize::from(index))
    }
}

/// A socket asks to read a room. Whether it may has been decided before.
#[derive(Debug)]
pub struct JoinRequest {
    /// The socket.
    pub conn: ConnRef,
    /// How it reads.
    pub form: Form,
    /// Who reads, if anybody known.
    pub user: Option<UserId>,
    /// The room and the wishes.
    pub options: JoinRoom,
    /// Comes back in the answer.
    pub reference: Option<Box<RawValue>>,
    /// The stream it reads now, when it joins again with other wishes.
    pub previous: Option<StreamId>,
}

/// The rooms this node holds.
pub struct Hub {
    pub(crate) rooms: DashMap<RoomId, Arc<Slot>, ahash::RandomState>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shared: Arc<Shared>,
    next_key: AtomicU32,
    directory: OnceLock<Arc<dyn Viewers>>,
    elsewhere: OnceLock<Arc<dyn Elsewhere>>,
    /// Whether other nodes are not heard at all.
    pub(crate) deaf: AtomicBool,
    pub(crate) rereads: Semaphore,
    pub(crate) readers: Readers,
}

/// A held room, cold until its ring has been warmed from the store.
pub(crate) struct Slot {
    pub room: Arc<HubRoom>,
    warm: OnceCell<()>,
}

impl Hub {
    /// A hub that holds nothing yet. Must be made within a Tokio runtime, which runs its timers.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<SnowflakeGenerator>,
        metrics: Arc<Metrics>,
        settings: HubSettings,
    ) -> Arc<Self> {
        let shared = Shared {
            shards: OnceLock::new(),
            clock,
            ids,
            metrics,
            settings,
            runtime: tokio::runtime::Handle::current(),
            next_stream: AtomicU32::new(1),
        };
        let hub = Arc::new(Self {
            rooms: DashMap::default(),
            store,
            shared: Arc::new(shared),
            next_key: AtomicU32::new(1),
            directory: OnceLock::new(),
            elsewhere: OnceLock::new(),
            deaf: AtomicBool::new(false),
            rereads: Semaphore::new(REREADS_MAX),
            readers: Readers::default(),
        });
        tokio::spawn(retire_idle_rooms(Arc::downgrade(&hub)));
        hub
    }

    /// Tells the hub where sockets live; once, before the first join.
    pub fn register_shards(&self, shards: Vec<Arc<dyn Shard>>) {
        let _ = self.shared.shards.set(shards);
    }

    /// Tells the hub by what this node hears the others; once, before the first room is held. Without it there are none.
    pub fn register_elsewhere(&self, elsewhere: Arc<dyn Elsewhere>) {
        let _ = self.elsewhere.set(elsewhere);
    }

    /// Joins, warming the room or asking the store for an old cursor if need be.
    ///
    /// # Errors
    /// `invalid_request` for too many `only_user_ids`, `unavailable` when the store is away,
    /// `overloaded` when too many rooms are held.
    pub async fn join(self: &Arc<Self>, request: JoinRequest) -> Result<(), WireError> {
        self.check(&request.options)?;
        loop {
            let room = self.hold_for(&request.options).await?;
            let since = self.resolve(&room, request.options.since_id).await?;
            if room.join(&request, since).is_ok() {
                return Ok(());
            }
        }
    }

    fn check(&self, options: &JoinRoom) -> Result<(), WireError> {
        let most = self.shared.settings.only_users_max;
        match &options.only_user_ids {
            Some(users) if users.len() > most => {
                Err(WireError::invalid(format!("only_user_ids may name {most} users")))
            }
            _ => Ok(()),
        }
    }

    /// The room that holds a comment in its ring: how a comment that is not kept is found.
    #[must_use]
    pub fn room_of(&self, id: Snowflake) -> Option<RoomId> {
        self.rooms.iter().find(|slot| slot.room.ring(|ring| ring.knows(id))).map(|slot| slot.key().clone())
    }

    /// The room, held and warm from here on for at least a minute and a half.
    ///
    /// # Errors
    /// `unavailable` when the store is away, `overloaded` when too many rooms are held.
    pub async fn hold(&self, id: &RoomId) -> Result<Arc<HubRoom>, WireError> {
        let slot = self.slot(id)?;
        self.warm(&slot).await.map_err(|_| WireError::unavailable())?;
        slot.room.touch();
        Ok(slot.room.clone())
    }

    /// The same for somebody who comes to stay. Among several nodes, who has no cursor is let in without history while the
    /// store is away: what is said on other nodes is heard, and the room is warmed when the store is back.
    async fn hold_for(self: &Arc<Self>, options: &JoinRoom) -> Result<Arc<HubRoom>, WireError> {
        let slot = self.slot(&options.room_id)?;
        let cold = || !slot.warm.initialized() && slot.room.is_behind();
        if cold() || self.warm(&slot).await.is_err() {
            if options.since_id.is_some() || self.elsewhere.get().is_none() {
                return Err(WireError::unavailable());
            }
            self.missed(&options.room_id, self.shared.clock.now_ms());
        }
        slot.room.touch();
        Ok(slot.room.clone())
    }

    fn slot(&self, id: &RoomId) -> Result<Arc<Slot>, WireError> {
        if let Some(slot) = self.rooms.get(id) {
            return Ok(slot.clone());
        }
        if self.rooms.len() >= self.shared.settings.rooms_max {
            let busy = WireError::new(model::Code::Overloaded, "this node holds as many rooms as it may");
            return Err(busy.retry_after_ms(5_000));
        }
        let slot = self.rooms.entry(id.clone()).or_insert_with(|| {
            self.shared.metrics.rooms_held.inc();
            let key = self.next_key.fetch_add(1, Ordering::Relaxed);
            Arc::new(Slot { room: HubRoom::new(id.clone(), key, self.shared.clone()), warm: OnceCell::new() })
        });
        Ok(slot.clone())
    }

    /// Reads the room from the store, once; before, other nodes are heard, so that nothing lies between the two.
    pub(crate) async fn warm(&self, slot: &Slot) -> Result<(), StoreError> {
        let room = &slot.room;
        let warm = async || {
            if let Some(elsewhere) = self.elsewhere.get() {
                elsewhere.hold(room.id()).await;
            }
            let begun_ms = self.shared.clock.now_ms();
            let row = self.store.room(room.id()).await?;
            let latest = self.store.latest_comments(room.id(), RING_COMMENTS).await?;
            room.warm(row, latest, begun_ms);
            Ok(())
        };
        slot.warm.get_or_try_init(warm).await.copied()
    }

    async fn resolve(&self, room: &HubRoom, since_id: Option<Snowflake>) -> Result<Since, WireError> {
        let since = room.since(since_id);
        let (Since::Outside, Some(id)) = (since, since_id) else { return Ok(since) };
        let position = if id == BEGINNING { Some(0) } else { self.stored_place(room, id).await? };
        let Some(position) = position else { return Ok(Since::Nothing) };
        let start = room.ring(|ring| ring.start_at(position));
        let missed = self.store.count_after(room.id(), position).await.map_err(|_| WireError::unavailable())?;
        Ok(Since::Missed { start, missed })
    }

    /// The place of a comment of this room's live order, as stored.
    pub(crate) async fn stored_place(&self, room: &HubRoom, id: Snowflake) -> Result<Option<u64>, WireError> {
        let stored = self.store.position_of(id).await.map_err(|_| WireError::unavailable())?;
        let live = |(owner, position): &(RoomId, u64)| owner == room.id() && *position > 0;
        Ok(stored.filter(live).map(|(_, position)| position))
    }

    /// Opens an event stream: the comments missed since `options.since_id` (or the history asked
    /// for), how many more were missed, and what comes from here on.
    ///
    /// # Errors
    /// As [`Hub::hold`].
    pub async fn tap(self: &Arc<Self>, options: &JoinRoom, user: Option<UserId>) -> Result<Tap, WireError> {
        self.check(options)?;
        loop {
            let room = self.hold_for(options).await?;
            let since = self.resolve(&room, options.since_id).await?;
            let (sender, messages) = mpsc::channel(TAP_MESSAGES);
            if let Ok(Held { history, omitted }) = room.tap(options, since, user.clone(), sender) {
                return Ok(Tap { room, history, omitted, messages });
            }
        }
    }

    /// Sockets and event streams reading a room on this node.
    #[must_use]
    pub fn viewers(&self, id: &RoomId) -> u64 {
        self.rooms.get(id).map_or(0, |slot| slot.room.viewers())
    }

    /// Those on all nodes, on others as of at most 30 s ago.
    pub async fn viewers_everywhere(&self, id: &RoomId) -> u64 {
        let here = self.rooms.get(id).map(|slot| slot.room.clone());
        match (here, self.directory.get()) {
            (Some(room), _) => room.viewers() + room.elsewhere().load(Ordering::Relaxed),
            (None, Some(directory)) => directory.elsewhere(id).await,
            (None, None) => 0,
        }
    }

    /// Tells the hub who knows other nodes' viewers; once. Without it there are none.
    pub fn register_viewers(&self, directory: Arc<dyn Viewers>) {
        let _ = self.directory.set(directory);
    }

    /// The rooms held here, each with those who read it here.
    #[must_use]
    pub fn held(&self) -> Vec<(RoomId, u64)> {
        self.rooms.iter().map(|slot| (slot.key().clone(), slot.room.viewers())).collect()
    }

    /// So many read a room on other nodes.
    pub fn viewers_elsewhere(&self, id: &RoomId, viewers: u64) {
        if let Some(slot) = self.rooms.get(id) {
            slot.room.elsewhere().store(viewers, Ordering::Relaxed);
        }
    }

    fn tell_shards(&self, message: &ToShard) {
        for shard in self.shared.shards.get().into_iter().flatten() {
            shard.send(message.clone());
        }
    }

    /// Bans or revoked tokens of a user, or of anybody, were read again.
    pub fn recheck(&self, user: Option<&UserId>) {
        self.tell_shards(&ToShard::Recheck(user.cloned()));
    }

    /// What concerns users wherever they are, whether or not anybody reads the room here.
    pub(crate) fn tell_users(&self, record: &Record) {
        match record {
            Record::Event(event) => {
                let named = |audience: &Audience| matches!(audience, Audience::Users(_));
                if named(&event.audience) || named(&event.critical_for) {
                    self.tell_shards(&ToShard::UserEvent(Arc::new(EventFrame::new(event.clone()))));
                }
            }
            Record::Revoked { user_id, before_ms } => {
                self.tell_shards(&ToShard::Revoked { user_id: user_id.clone(), before_ms: *before_ms });
            }
            Record::Banned { user_id, room_id, until_ms, reason } => self.tell_shards(&ToShard::Banned {
                user_id: user_id.clone(),
                room_id: room_id.clone(),
                until_ms: *until_ms,
                reason: reason.clone(),
            }),
            _ => {}
        }
    }

    fn retire(&self, now_ms: i64) {
        self.rooms.retain(|_, slot| {
            let keep = !slot.room.retire_if_idle(now_ms, IDLE_MS);
            if !keep {
                self.shared.metrics.rooms_held.dec();
                // Nobody can hold the room anew before this is done: its place in the map is locked.
                if let Some(elsewhere) = self.elsewhere.get() {
                    elsewhere.release(slot.room.id());
                }
            }
            keep
        });
    }
}

impl Fanout for Hub {
    fn push(&self, room_id: &RoomId, entries: Vec<Entry>) {
        for entry in &entries {
            self.tell_users(&entry.record);
        }
        let slot = self.rooms.get(room_id).map(|slot| slot.clone());
        if let Some(slot) = slot {
            slot.room.take(&entries);
        }
    }
}

/// An open event stream.
pub struct Tap {
    /// The room; it counts the tap as a viewer until `messages` is dropped.
    pub room: Arc<HubRoom>,
    /// What was missed, oldest first.
    pub history: Vec<Arc<Comment>>,
    /// How many more were missed than `history` holds.
    pub omitted: u64,
    /// What comes; ends when the reader falls too far behind.
    pub messages: mpsc::Receiver<TapMessage>,
}

async fn retire_idle_rooms(hub: std::sync::Weak<Hub>) {
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tick.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        hub.retire(hub.shared.clock.now_ms());
    }
}

//! Sockets that leave a shard for another process, and those that come from one.
//!
//! Before it parks, the shard is frozen: it accepts and reads nothing, while commands that run are answered and batches are
//! delivered. A parked socket keeps its session and its rooms: nobody is told that it left. See [`crate::handover`].

use std::io;
use std::sync::Arc;

use ahash::HashMap;
use bytes::Bytes;
use hub::Room;
use hub::batch::SharedEvent;
use mio::Token;
use model::{RoomId, Snowflake, WireError};
use protocol::ws::Decoder;
use tokio::sync::oneshot;

use crate::conn::{Backlog, Conn, Membership, PendingRequest, Session, Stage};
use crate::handover::{
    InputLengths, Parked, ParkedEvent, ParkedMembership, ParkedReceipt, ParkedSession, ParkedShard, ParkedStage,
    SocketState, form, take_front,
};
use crate::shard::Shard;
use crate::shard::members::ShardRoom;

/// What sockets that are taken in refer to.
pub(crate) struct Adoption {
    /// The rooms, warm.
    pub rooms: HashMap<RoomId, Arc<Room>>,
    /// Events of which receipts are missing, and whether the store waits for them.
    pub events: HashMap<Snowflake, (Arc<SharedEvent>, bool)>,
}

impl Adoption {
    pub fn new(rooms: HashMap<RoomId, Arc<Room>>, events: Vec<ParkedEvent>) -> Self {
        let shared = |ParkedEvent { event, stored }| (event.id, (Arc::new(SharedEvent::new(event)), stored));
        Self { rooms, events: events.into_iter().map(shared).collect() }
    }
}

impl Shard {
    /// Stops accepting and reading; answers once no command runs.
    pub fn freeze(&mut self, frozen: oneshot::Sender<()>) {
        self.frozen = true;
        self.on_frozen = Some(frozen);
    }

    /// Accepts and reads on.
    pub fn thaw(&mut self) {
        self.frozen = false;
        self.on_frozen = None;
        self.acceptor.ready = true;
        let waiting = self.conns.iter().filter(|(_, conn)| conn.readable || conn.has_buffered);
        self.resume.extend(waiting.map(|(index, conn)| conn.token(index as u32)));
    }

    /// Whether new connections and new input have to wait.
    pub fn stops_accepting(&self) -> bool {
        self.frozen || self.drain_until.is_some()
    }

    /// Answers [`Shard::freeze`] when every command has its reply.
    pub fn report_frozen(&mut self) {
        let runs = |conn: &Conn| conn.busy || matches!(conn.stage, Stage::Upgrading(_));
        if self.on_frozen.is_some()
            && !self.conns.iter().any(|(_, conn)| !conn.removed && runs(conn))
            && let Some(frozen) = self.on_frozen.take()
        {
            // Who froze it may have lost patience.
            let _ = frozen.send(());
        }
    }

    /// Gives every socket away. One whose command did not end cannot be moved, nor can a session over QUIC: they are told to
    /// connect again.
    pub fn park_all(&mut self, to: oneshot::Sender<ParkedShard>) {
        for index in self.slots() {
            match self.conn(index) {
                Some(conn) if conn.is_open() && (conn.busy || conn.transport.closes_beside()) => {
                    self.close_for_drain(index);
                }
                Some(conn) if matches!(conn.stage, Stage::Upgrading(_)) => {
                    self.refuse_upgrade(index, &WireError::unavailable());
                }
                _ => {}
            }
        }
        let (events, mut receipts) = self.critical.park(self.now_ms);
        let mut sockets = Vec::with_capacity(self.conns.len());
        for index in self.slots() {
            let Some(conn) = self.conn(index) else { continue };
            let receipts = receipts.remove(&conn.token(index)).unwrap_or_default();
            sockets.extend(self.park(index, receipts));
        }
        self.parked = true;
        let _ = to.send(ParkedShard { sockets, events });
    }

    fn park(&mut self, index: u32, receipts: Vec<ParkedReceipt>) -> Option<Parked> {
        let now = self.now;
        let rooms = self.parked_memberships(index);
        let conn_ref = self.conn_ref(index);
        let deferred_room = self.deferred_joins.remove(&conn_ref).flatten();
        let mut conn = self.conns.try_remove(index as usize)?;
        if let Err(error) = conn.transport.deregister(self.poll.registry()) {
            tracing::debug!(%error, "a connection ended before it was parked");
            return None;
        }
        if conn.transport.closes_beside() {
            return None;
        }
        let mut bytes = Vec::new();
        let stage = match conn.stage {
            Stage::Handshake(request) => {
                let PendingRequest { peer, awaits_proxy_header, is_websocket, head } = *request;
                bytes.extend_from_slice(&head);
                ParkedStage::Request { peer, awaits_proxy_header, is_websocket, head: head.len() }
            }
            Stage::Open => ParkedStage::Open,
            Stage::Closing { until, shut_at } => ParkedStage::Closing {
                left_s: until.saturating_sub(now),
                shut_in_s: shut_at.map(|at| at.saturating_sub(now)),
            },
            Stage::Upgrading(_) => return None,
        };
        let input = InputLengths::of(&conn.decoder.park(), &mut bytes);
        let backlog = conn.backlog.map(|backlog| {
            self.counters.backlog_bytes -= backlog.bytes() as i64;
            let room_of = |key: u32| Some(self.rooms.get(&key)?.room.id().clone());
            let (backlog, waiting) = backlog.park(room_of);
            bytes.extend_from_slice(&waiting);
            backlog
        });
        if conn.counted {
            self.counters.connections -= 1;
        }
        let watched = conn.session.as_ref().map(|session| self.common.services.chat.watched_by(session.socket));
        let session = conn.session.as_ref().map(|session| ParkedSession {
            identity: session.identity.clone(),
            device: session.device.clone(),
            number: session.number,
            since_ms: session.since_ms,
            socket: session.socket,
        });
        let state = SocketState {
            stage,
            form: conn.form.index(),
            address: conn.address,
            counted: conn.counted,
            peer_closed: conn.peer_closed,
            login_in_s: (conn.login_by != u32::MAX).then(|| conn.login_by.saturating_sub(now)),
            session,
            watched: watched.unwrap_or_default(),
            rooms,
            deferred_room,
            receipts,
            input,
            backlog,
        };
        Some(Parked { transport: conn.transport, state, bytes })
    }

    fn parked_memberships(&self, index: u32) -> Vec<ParkedMembership> {
        let Some(conn) = self.conns.get(index as usize) else { return Vec::new() };
        let parked = |member: &Membership| {
            let room = &self.rooms.get(&member.room)?.room;
            let reading = room.reading(member.stream)?;
            Some(ParkedMembership { room: room.id().clone(), reading, by_query: member.by_query })
        };
        conn.memberships.iter().filter_map(parked).collect()
    }

    /// Takes a socket in that another process, or this one, has parked. Called before the shard runs.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn adopt(&mut self, parked: Parked, adoption: &Adoption) -> io::Result<()> {
        let Parked { mut transport, state, mut bytes } = parked;
        let entry = self.conns.vacant_entry();
        let index = entry.key() as u32;
        transport.register(self.poll.registry(), Token(entry.key()))?;
        self.generation = self.generation.wrapping_add(1);
        let stage = match state.stage {
            ParkedStage::Request { peer, awaits_proxy_header, is_websocket, head } => {
                let head = take_front(&mut bytes, head);
                Stage::Handshake(Box::new(PendingRequest { peer, awaits_proxy_header, is_websocket, head }))
            }
            ParkedStage::Open => Stage::Open,
            ParkedStage::Closing { left_s, shut_in_s } => {
                Stage::Closing { until: self.now + left_s, shut_at: shut_in_s.map(|s| self.now + s) }
            }
        };
        let addresses = &self.common.services.addresses;
        let counted_for = match &stage {
            Stage::Handshake(request) => Some(request.peer.ip()),
            _ => state.address,
        };
        // Whoever holds a connection keeps it, also when the limit is lower by now.
        let permit = counted_for.and_then(|address| addresses.connect(address).ok().flatten());
        let unacknowledged = transport.unacknowledged_bytes();
        let mut conn = Conn::new(transport, self.generation, stage, self.now, permit);
        conn.form = form(state.form);
        conn.address = state.address;
        conn.counted = state.counted;
        conn.peer_closed = state.peer_closed;
        conn.login_by = state.login_in_s.map_or(u32::MAX, |s| self.now + s);
        conn.decoder = Decoder::unpark(state.input.restore(&mut bytes));
        conn.has_buffered = conn.decoder.buffered_bytes() > 0;
        conn.backlog = state.backlog.map(|backlog| {
            let key_of = |room: &RoomId| adoption.rooms.get(room).map(|room| room.key());
            Box::new(Backlog::unpark(backlog, Bytes::from(bytes), (self.now, unacknowledged), key_of))
        });
        self.counters.backlog_bytes += conn.backlog.as_ref().map_or(0, |backlog| backlog.bytes()) as i64;
        self.counters.connections += i64::from(conn.counted);
        let token = conn.token(index);
        let has_buffered = conn.has_buffered;
        entry.insert(conn);
        if has_buffered {
            self.resume.push_back(token);
        }
        if let Some(session) = state.session {
            self.continue_session(index, session, &state.watched);
        }
        for membership in state.rooms {
            self.continue_membership(index, membership, adoption);
        }
        if let Some(room) = state.deferred_room {
            let conn = self.conn_ref(index);
            self.deferred_joins.insert(conn, Some(room));
        }
        for receipt in state.receipts {
            if let Some((event, stored)) = adoption.events.get(&receipt.event) {
                self.critical.unpark(event, *stored, token, receipt, self.now_ms);
            }
        }
        self.schedule(index);
        Ok(())
    }

    fn continue_session(&mut self, index: u32, parked: ParkedSession, watched: &[model::UserId]) {
        let common = self.common.clone();
        let ParkedSession { identity, device, number, since_ms, socket } = parked;
        let now_ms = common.services.clock.now_ms();
        let left_ms = identity.expires_at_ms.map(|at_ms| at_ms.saturating_sub(now_ms).max(0).cast_unsigned());
        let left_s = left_ms.map(|ms| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX));
        let expires = left_s.map_or(u32::MAX, |s| self.now.saturating_add(s));
        // It was admitted by the process before.
        let permit = common.user_sockets.acquire(&identity.user_id, u32::MAX).map(Arc::new);
        let since = self.now;
        let session = Arc::new(Session { identity, device, number, since_ms, since, socket, expires, permit });
        let user = &session.identity.user_id;
        self.users.entry(user.clone()).or_default().push(index);
        if !watched.is_empty() {
            common.services.chat.watch_on(user, socket, watched);
        }
        if let Some(conn) = self.conn(index) {
            conn.session = Some(session.clone());
        }
        common.presence_events.taken_over(session);
    }

    fn continue_membership(&mut self, index: u32, parked: ParkedMembership, adoption: &Adoption) {
        let Some(room) = adoption.rooms.get(&parked.room) else { return };
        let stream = room.admit(parked.reading, self.id);
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let held = self.rooms.entry(room.key()).or_insert_with(|| ShardRoom::new(room.clone()));
        let list_index = held.members.add((stream, conn.form), index);
        let by_query = parked.by_query;
        conn.memberships.push(Membership { room: room.key(), stream, list_index, by_query, rejoining: false });
    }
}

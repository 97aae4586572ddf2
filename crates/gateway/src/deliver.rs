//! A room's batch to its members in this shard: the hot path.
//!
//! A delivery to many members takes longer than others should wait, so it is made in slices, between which the shard
//! reads its sockets. What comes through the inbox waits for its end, so a socket hears everything in order.
//!
//! Per stream and sub-protocol one parcel is put together (events, then the stream's comments) and written
//! to every member with one system call. Members who get something else are found first, by the users a
//! batch names, never by asking every member: who wrote or is mentioned in a comment their stream was not
//! given, to whom an event is critical, and who holds a credit against the number told as `omitted`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::HashMap;
use bytes::Bytes;
use model::{Audience, UserId};
use protocol::handshake::{Form, SubProtocol};
use room::batch::{Batch, EventFrame, Item, StreamBatch, encode};
use room::hub::StreamId;

use crate::backlog::Comments;
use crate::conn::{Conn, Parcel, Sent};
use crate::events::is_stored;
use crate::members::ShardRoom;
use crate::shard::Shard;

/// Seats that get something of their own, with the batch's items that concern them, in order.
type Special = HashMap<u32, Vec<u32>>;

/// How long a slice of a delivery may take.
const SLICE: Duration = Duration::from_millis(2);
/// Sends between two looks at the clock.
const SENDS_PER_LOOK: usize = 32;

/// A batch that is being delivered.
pub(crate) struct Delivery {
    batch: Arc<Batch>,
    /// What each list's members get, and the members as they were when it began, but the special ones.
    shares: Vec<Share>,
    special: Special,
}

struct Share {
    stream: StreamId,
    parcel: Parcel,
    /// Who is still to get it.
    seats: Vec<u32>,
}

impl Shard {
    /// Begins to write a batch to the room's members here; [`Shard::deliver_on`] does it.
    pub fn deliver(&mut self, batch: Arc<Batch>) {
        let Some(room) = self.rooms.get(&batch.room.key()) else { return };
        let special = self.special(room, &batch);
        let shares = self.shares(room, &batch, &special);
        self.delivery = Some(Delivery { batch, shares, special });
        self.deliver_on();
    }

    /// Goes on with the delivery under way, if there is one, for a slice of time.
    pub fn deliver_on(&mut self) {
        let Some(mut delivery) = self.delivery.take() else { return };
        let mut troubled = self.deliver_shared(&mut delivery);
        let over = delivery.shares.is_empty();
        if over {
            troubled.extend(self.deliver_special(&delivery));
        }
        for (index, sent) in troubled {
            self.after_send(index, sent);
        }
        if over {
            self.observe(&delivery.batch);
        } else {
            self.delivery = Some(delivery);
        }
    }

    /// Each list's parcel and its members.
    fn shares(&self, room: &ShardRoom, batch: &Batch, special: &Special) -> Vec<Share> {
        let (key, now) = (batch.room.key(), self.now);
        let mut told: [Option<Bytes>; 2] = [None, None];
        let share = |((stream, form), seats): ((StreamId, Form), &[u32])| {
            let share = batch.streams.iter().find(|share| share.stream == stream);
            let events = told[usize::from(form.protocol == SubProtocol::Proto)]
                .get_or_insert_with(|| shared_events(form.protocol, &batch.events));
            let comments = share.map_or(&Bytes::new(), |share| share.frames.of(form)).clone();
            let missed = share.map_or(0, |share| share.kept.len() as u64 + share.omitted);
            let parcel = Parcel::new(events, batch.events.len(), &comments, Comments { room: key, missed, at: now });
            let seats = seats.iter().copied().filter(|index| special.is_empty() || !special.contains_key(index));
            (!parcel.is_empty()).then(|| Share { stream, parcel, seats: in_order(seats.collect()) })
        };
        room.roster.lists().filter_map(share).collect()
    }

    /// Writes parcels until all are written or the slice is over, and drops the shares that are done. Returns whoever
    /// did not take all of it.
    fn deliver_shared(&mut self, delivery: &mut Delivery) -> Vec<(u32, Sent)> {
        let (key, budget, now) = (delivery.batch.room.key(), self.budget(), self.now);
        let Self { conns, tally, .. } = self;
        let (begun, mut troubled) = (Instant::now(), Vec::new());
        while let Some(Share { stream, parcel, seats }) = delivery.shares.last_mut() {
            let rest = seats.len().saturating_sub(SENDS_PER_LOOK);
            for index in seats.drain(rest..) {
                // Whoever left meanwhile gets no more of it.
                let reads = |conn: &&mut Conn| conn.membership(key).is_some_and(|member| member.stream == *stream);
                let Some(conn) = conns.get_mut(index as usize).filter(reads) else { continue };
                match conn.send(parcel, budget, now, tally) {
                    Sent::Whole => {}
                    sent => troubled.push((index, sent)),
                }
            }
            if seats.is_empty() {
                delivery.shares.pop();
            }
            if begun.elapsed() >= SLICE {
                break;
            }
        }
        troubled
    }

    /// Writes what special members get. Returns what became of each.
    fn deliver_special(&mut self, delivery: &Delivery) -> Vec<(u32, Sent)> {
        let Delivery { batch, special, .. } = delivery;
        let key = batch.room.key();
        let streams: HashMap<StreamId, &StreamBatch> = batch.streams.iter().map(|s| (s.stream, s)).collect();
        let own =
            |(index, concerns): (&u32, &Vec<u32>)| (*index, self.deliver_own(key, *index, batch, &streams, concerns));
        let sent = special.iter().map(own).collect();
        self.await_receipts(key, &batch.events);
        sent
    }

    /// Who gets something of their own.
    fn special(&self, room: &ShardRoom, batch: &Batch) -> Special {
        let mut special: Special = room.credits.keys().map(|index| (*index, Vec::new())).collect();
        let left_out = batch.streams.iter().any(|stream| !stream.left_out.is_empty());
        for (i, item) in (0u32..).zip(&batch.items).filter(|_| left_out) {
            for user in std::iter::once(&item.comment.user_id).chain(&item.comment.mentions) {
                for index in self.readers(room, user) {
                    let concerns = special.entry(index).or_default();
                    if concerns.last() != Some(&i) {
                        concerns.push(i);
                    }
                }
            }
        }
        for frame in &batch.events {
            if let Audience::Users(users) = &frame.event.critical_for {
                for index in users.iter().flat_map(|user| self.readers(room, user)) {
                    special.entry(index).or_default();
                }
            }
        }
        special
    }

    /// The sockets of a user that read the room here.
    fn readers<'a>(&'a self, room: &'a ShardRoom, user: &UserId) -> impl Iterator<Item = u32> + 'a {
        let key = room.room.key();
        let seats = self.users.get(user).map_or(&[][..], |seats| seats.as_slice());
        let reads =
            move |index: &u32| self.conns.get(*index as usize).is_some_and(|conn| conn.membership(key).is_some());
        seats.iter().copied().filter(reads)
    }

    /// Writes one member's own frames: the stream's comments with those that concern them, in order.
    fn deliver_own(
        &mut self,
        key: u32,
        index: u32,
        batch: &Batch,
        streams: &HashMap<StreamId, &StreamBatch>,
        concerns: &[u32],
    ) -> Sent {
        let (budget, now) = (self.budget(), self.now);
        let Some(conn) = self.conns.get_mut(index as usize) else { return Sent::Whole };
        let Some(membership) = conn.membership(key).copied() else { return Sent::Whole };
        let Some(room) = self.rooms.get_mut(&key) else { return Sent::Whole };
        let user = conn.session.as_ref().map(|session| &session.identity.user_id);
        let events: Vec<u8> = {
            let frames = batch.events.iter().flat_map(|frame| frame.for_user(conn.form.protocol, user).0);
            frames.copied().collect()
        };
        let mut comments = Bytes::new();
        let mut missed = 0;
        if let Some(share) = streams.get(&membership.stream) {
            let extras: Vec<u32> = concerns.iter().copied().filter(|i| share.left_out.contains(i)).collect();
            let credit = room.credits.remove(&index).unwrap_or(0) + extras.len() as u64;
            let omitted = share.omitted.saturating_sub(credit);
            if share.omitted == 0 && credit > 0 {
                room.credits.insert(index, credit);
            }
            missed = (share.kept.len() + extras.len()) as u64 + omitted;
            self.tally.delivered += extras.len() as u64;
            comments = own_comments(conn.form, batch, share, &extras, omitted);
        }
        let parcel =
            Parcel::new(&Bytes::from(events), batch.events.len(), &comments, Comments { room: key, missed, at: now });
        if parcel.is_empty() { Sent::Whole } else { conn.send(&parcel, budget, now, &mut self.tally) }
    }

    /// Remembers who owes receipts for the batch's critical events.
    fn await_receipts(&mut self, key: u32, events: &[Arc<EventFrame>]) {
        for frame in events {
            let Some(room) = self.rooms.get(&key) else { return };
            let indices: Vec<u32> = match &frame.event.critical_for {
                Audience::Nobody => continue,
                Audience::Everyone => room.roster.lists().flat_map(|(_, seats)| seats).copied().collect(),
                Audience::Users(users) => users.iter().flat_map(|user| self.readers(room, user)).collect(),
            };
            let conns = &self.conns;
            let seats = indices.iter().filter_map(|index| Some(conns.get(*index as usize)?.seat(*index as usize)));
            self.critical.sent(frame, is_stored(frame), seats, self.now_ms);
        }
    }

    fn observe(&self, batch: &Batch) {
        if !batch.items.is_empty() {
            let services = &self.common.services;
            let took_ms = services.clock.now_ms().saturating_sub(batch.accepted_at_ms).max(0);
            services.metrics.publish_to_socket.observe(took_ms as f64 / 1_000.0);
        }
    }
}

/// Seats follow the order of accepting, and so, mostly, do the kernel's sockets in its memory: in this order a send costs 7 %
/// less than in that of a list which many have joined and left.
fn in_order(mut seats: Vec<u32>) -> Vec<u32> {
    seats.sort_unstable();
    seats
}

/// The events as most members get them.
fn shared_events(protocol: SubProtocol, events: &[Arc<EventFrame>]) -> Bytes {
    let frame = |frame: &Arc<EventFrame>| frame.for_user(protocol, None).0.clone();
    match events {
        [] => Bytes::new(),
        [only] => frame(only),
        many => many.iter().flat_map(frame).collect(),
    }
}

/// A member's own encoding, or the shared one when it says the same.
fn own_comments(form: Form, batch: &Batch, share: &StreamBatch, extras: &[u32], omitted: u64) -> Bytes {
    if extras.is_empty() && omitted == share.omitted {
        return share.frames.of(form).clone();
    }
    let mut indices: Vec<u32> = share.kept.iter().chain(extras).copied().collect();
    if indices.is_empty() && omitted == 0 {
        return Bytes::new();
    }
    indices.sort_unstable();
    let items = indices.iter().filter_map(|i| batch.items.get(*i as usize));
    let items: Vec<&Item> = items.collect();
    encode(form.protocol, batch.room.id(), items.into_iter(), omitted)
}

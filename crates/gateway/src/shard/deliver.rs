//! A room's batch to its members in this shard: the hot path.
//!
//! A delivery to many members takes longer than other work should wait. So it is made in slices, between which the shard
//! reads its sockets. Inbox messages wait for its end, so a socket receives everything in order.
//!
//! Per stream and form the shard puts the frames together once (events, then the stream's comments) and writes them to every
//! member with one system call. Members who get something of their own are found first, by the users a batch names and
//! never by asking every member: authors of and users mentioned in comments that their stream was not given, users to whom
//! an event is critical, and members who have joined since the last batch.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ahash::HashMap;
use bytes::Bytes;
use hub::StreamId;
use hub::batch::{Batch, BatchItem, OwnShare, ShadowComment, SharedEvent, StreamBatch};
use ingest::Reader;
use model::trace::{Span, Trace, Value};
use model::{Audience, UserId};
use protocol::handshake::{Form, SubProtocol};

use crate::conn::{Conn, OutboundFrames, Sent, Skippable};
use crate::encode;
use crate::shard::Shard;
use crate::shard::events::is_stored;
use crate::shard::members::ShardRoom;

/// Slots of members who get something of their own, with the batch's items that concern them, in order.
type Individual = HashMap<u32, Vec<u32>>;

/// How long a slice of a delivery may take.
const SLICE: Duration = Duration::from_millis(2);
/// Sends between two readings of the clock.
const SENDS_PER_CLOCK_READ: usize = 32;

/// A batch that is being delivered.
pub(super) struct Delivery {
    batch: Arc<Batch>,
    /// The lists still to be written.
    lists: Vec<ListDelivery>,
    individual: Individual,
}

/// What one member list gets.
struct ListDelivery {
    stream: StreamId,
    frames: OutboundFrames,
    /// Slots of the members who still have to get it, as the list was when the delivery began.
    slots: Vec<u32>,
}

impl Shard {
    /// Begins the delivery of a batch to the room's members here; [`Shard::continue_delivery`] writes it.
    pub fn deliver(&mut self, batch: Arc<Batch>) {
        let Some(room) = self.rooms.get(&batch.room.key()) else { return self.observe(&batch) };
        let individual = self.individual(room, &batch);
        let lists = self.lists(room, &batch, &individual);
        self.delivery = Some(Delivery { batch, lists, individual });
        self.continue_delivery();
    }

    /// Continues the current delivery, if there is one, for a slice of time.
    pub fn continue_delivery(&mut self) {
        let Some(mut delivery) = self.delivery.take() else { return };
        let mut incomplete = self.deliver_lists(&mut delivery);
        let done = delivery.lists.is_empty();
        if done {
            incomplete.extend(self.deliver_individual(&delivery));
        }
        for (index, sent) in incomplete {
            self.after_send(index, sent);
        }
        if done {
            self.observe(&delivery.batch);
        } else {
            self.delivery = Some(delivery);
        }
    }

    /// The frames and members of each list.
    fn lists(&self, room: &ShardRoom, batch: &Batch, individual: &Individual) -> Vec<ListDelivery> {
        let (key, now) = (batch.room.key(), self.now);
        let deflate_bytes_min = self.common.services.settings.sockets.compression_bytes_min;
        let mut shared_events: [Option<Bytes>; 2] = [None, None];
        let list = |((stream, form), members): ((StreamId, Form), &[u32])| {
            let share = batch.streams.iter().find(|share| share.stream == stream);
            let events = shared_events[usize::from(form.protocol == SubProtocol::Proto)]
                .get_or_insert_with(|| events_for_most(form.protocol, &batch.events));
            let none = Bytes::new();
            let comments = share.map_or(&none, |share| encode::stream_frames(batch, share, form, deflate_bytes_min));
            let missed = share.map_or(0, |share| share.kept.len() as u64 + share.omitted);
            let frames =
                OutboundFrames::new(events, batch.events.len(), comments, Skippable { room: key, missed, at: now });
            let slots =
                members.iter().copied().filter(|index| individual.is_empty() || !individual.contains_key(index));
            (!frames.is_empty()).then(|| ListDelivery { stream, frames, slots: in_slot_order(slots.collect()) })
        };
        room.members.lists().filter_map(list).collect()
    }

    /// Writes lists until all are written or the slice is over. Returns the members that did not take all of it.
    fn deliver_lists(&mut self, delivery: &mut Delivery) -> Vec<(u32, Sent)> {
        let (key, budget, now) = (delivery.batch.room.key(), self.budget(), self.now);
        let Self { conns, counters, .. } = self;
        let (begun, mut incomplete) = (Instant::now(), Vec::new());
        while let Some(ListDelivery { stream, frames, slots }) = delivery.lists.last_mut() {
            let rest = slots.len().saturating_sub(SENDS_PER_CLOCK_READ);
            for index in slots.drain(rest..) {
                // A member that left meanwhile gets no more of it.
                let reads = |conn: &&mut Conn| conn.membership(key).is_some_and(|member| member.stream == *stream);
                let Some(conn) = conns.get_mut(index as usize).filter(reads) else { continue };
                match conn.send(frames, budget, now, counters) {
                    Sent::Whole => {}
                    sent => incomplete.push((index, sent)),
                }
            }
            if slots.is_empty() {
                delivery.lists.pop();
            }
            if begun.elapsed() >= SLICE {
                break;
            }
        }
        incomplete
    }

    /// Writes to the members who get something of their own. Returns the result of each send.
    fn deliver_individual(&mut self, delivery: &Delivery) -> Vec<(u32, Sent)> {
        let Delivery { batch, individual, .. } = delivery;
        let key = batch.room.key();
        let streams: HashMap<StreamId, &StreamBatch> = batch.streams.iter().map(|s| (s.stream, s)).collect();
        let send = |(index, items): (&u32, &Vec<u32>)| (*index, self.deliver_to(key, *index, batch, &streams, items));
        let sent = individual.iter().map(send).collect();
        self.await_receipts(key, &batch.events);
        sent
    }

    /// The members who get something of their own.
    fn individual(&self, room: &ShardRoom, batch: &Batch) -> Individual {
        let mut individual: Individual = room.credits.keys().map(|index| (*index, Vec::new())).collect();
        let left_out = batch.streams.iter().any(|stream| !stream.left_out.is_empty());
        for (i, item) in (0u32..).zip(batch.items.iter()).filter(|_| left_out) {
            for user in std::iter::once(&item.comment.user_id).chain(&item.comment.mentions) {
                for index in self.members_of(room, user) {
                    let items = individual.entry(index).or_default();
                    if items.last() != Some(&i) {
                        items.push(i);
                    }
                }
            }
        }
        if batch.has_given {
            for index in self.moderating(room) {
                individual.entry(index).or_default();
            }
            for index in batch.given().flat_map(|item| self.members_of(room, &item.comment.user_id)) {
                individual.entry(index).or_default();
            }
        }
        for shared in &batch.events {
            if let Audience::Users(users) = &shared.event.critical_for {
                for index in users.iter().flat_map(|user| self.members_of(room, user)) {
                    individual.entry(index).or_default();
                }
            }
        }
        individual
    }

    /// The sockets of a user that read the room here.
    fn members_of<'a>(&'a self, room: &'a ShardRoom, user: &UserId) -> impl Iterator<Item = u32> + 'a {
        let key = room.room.key();
        let slots = self.users.get(user).map_or(&[][..], |slots| slots.as_slice());
        let reads =
            move |index: &u32| self.conns.get(*index as usize).is_some_and(|conn| conn.membership(key).is_some());
        slots.iter().copied().filter(reads)
    }

    /// The sockets of those who moderate the room.
    fn moderating<'a>(&'a self, room: &'a ShardRoom) -> impl Iterator<Item = u32> + 'a {
        let sees = self.common.services.ingest.shadow_readers(room.room.id());
        let moderates = move |index: &u32| self.conns.get(*index as usize).and_then(Conn::identity).is_some_and(&sees);
        room.members.lists().flat_map(|(_, slots)| slots).copied().filter(moderates)
    }

    /// Writes one member's own frames: the stream's comments with the items that concern the member, in order.
    fn deliver_to(
        &mut self,
        key: u32,
        index: u32,
        batch: &Batch,
        streams: &HashMap<StreamId, &StreamBatch>,
        items: &[u32],
    ) -> Sent {
        let (budget, now) = (self.budget(), self.now);
        let deflate_bytes_min = self.common.services.settings.sockets.compression_bytes_min;
        let moderates = batch.has_given
            && self
                .conns
                .get(index as usize)
                .and_then(Conn::identity)
                .is_some_and(|who| self.common.services.ingest.sees_shadows(Reader::User(who), batch.room.id()));
        let Some(conn) = self.conns.get_mut(index as usize) else { return Sent::Whole };
        let Some(membership) = conn.membership(key).copied() else { return Sent::Whole };
        let Some(room) = self.rooms.get_mut(&key) else { return Sent::Whole };
        let user = conn.session.as_ref().map(|session| &session.identity.user_id);
        let events: Vec<u8> = {
            let protocol = conn.form.protocol;
            let frames = batch.events.iter().flat_map(|event| encode::event_frame_for(event, protocol, user).0);
            frames.copied().collect()
        };
        let mut comments = Bytes::new();
        let mut missed = 0;
        if let Some(share) = streams.get(&membership.stream) {
            let concerning: Vec<u32> = items.iter().copied().filter(|i| share.left_out.contains(i)).collect();
            let mut credit = room.credits.remove(&index).unwrap_or_default();
            let mut own = credit.share(&batch.items, share, &concerning);
            if batch.has_given {
                own = OwnShare::without_given(own, &batch.items, share, (user, moderates));
            }
            if !credit.is_none() {
                room.credits.insert(index, credit);
            }
            let (given, omitted) =
                own.as_ref().map_or((share.kept.len(), share.omitted), |own| (own.given.len(), own.omitted));
            missed = given as u64 + omitted;
            self.counters.delivered += (given as u64).saturating_sub(share.kept.len() as u64);
            comments = match own {
                Some(own) => own_comments(conn.form.protocol, batch, &own),
                None => encode::stream_frames(batch, share, conn.form, deflate_bytes_min).clone(),
            };
        }
        let frames = OutboundFrames::new(
            &Bytes::from(events),
            batch.events.len(),
            &comments,
            Skippable { room: key, missed, at: now },
        );
        if frames.is_empty() { Sent::Whole } else { conn.send(&frames, budget, now, &mut self.counters) }
    }

    /// Gives a comment to its sender's sockets in the room, and to those of who moderates it.
    pub fn deliver_shadow(&mut self, shadow: &ShadowComment) {
        let ShadowComment { room: of, item } = shadow;
        let Some(room) = self.rooms.get(&of.key()) else { return };
        let mut slots: Vec<u32> = self.moderating(room).chain(self.members_of(room, &item.comment.user_id)).collect();
        slots.sort_unstable();
        slots.dedup();
        let (budget, now, mut incomplete) = (self.budget(), self.now, Vec::new());
        for index in slots {
            let Some(conn) = self.conns.get_mut(index as usize) else { continue };
            let frame = encode::comments(Form::plain(conn.form.protocol), usize::MAX, of.id(), [item].into_iter(), 0);
            let frames =
                OutboundFrames::new(&Bytes::new(), 0, &frame, Skippable { room: of.key(), missed: 1, at: now });
            match conn.send(&frames, budget, now, &mut self.counters) {
                Sent::Whole => {}
                sent => incomplete.push((index, sent)),
            }
        }
        for (index, sent) in incomplete {
            self.after_send(index, sent);
        }
    }

    /// Remembers who must acknowledge the batch's critical events.
    fn await_receipts(&mut self, key: u32, events: &[Arc<SharedEvent>]) {
        for shared in events {
            let Some(room) = self.rooms.get(&key) else { return };
            let indices: Vec<u32> = match &shared.event.critical_for {
                Audience::Nobody => continue,
                Audience::Everyone => room.members.lists().flat_map(|(_, members)| members).copied().collect(),
                Audience::Users(users) => users.iter().flat_map(|user| self.members_of(room, user)).collect(),
            };
            let conns = &self.conns;
            let tokens = indices.iter().filter_map(|index| Some(conns.get(*index as usize)?.token(*index)));
            self.critical.sent(shared, is_stored(shared), tokens, self.now_ms);
        }
    }

    /// Counts each comment once the last shard is done with it.
    fn observe(&self, batch: &Batch) {
        if !batch.handed_over() || batch.items.is_empty() {
            return;
        }
        let services = &self.common.services;
        let (metrics, now_ms) = (&services.metrics, services.clock.now_ms());
        for item in batch.items.iter() {
            let took_ms = now_ms.saturating_sub(item.comment.created_at_ms).max(0);
            let trace = metrics.tracer.trace(item.comment.id);
            if let Some(trace) = trace {
                metrics.tracer.note(delivery_span(trace, batch, item));
            }
            metrics.delivered_after(took_ms as f64 / 1_000.0, trace);
        }
    }
}

/// What became of one comment here: from the batch that left the room to the last socket.
fn delivery_span(trace: Trace, batch: &Batch, item: &BatchItem) -> Span {
    let emitted = Duration::from_millis(u64::try_from(batch.emitted_ms).unwrap_or(0));
    let ended = SystemTime::now();
    Span {
        name: "deliver",
        trace,
        id: rand::random::<u64>().max(1),
        parent: Some(trace.first_span()),
        begun: (SystemTime::UNIX_EPOCH + emitted).min(ended),
        ended,
        attributes: vec![
            ("barrage.room_id", Value::Text(batch.room.id().to_string())),
            ("barrage.comment_id", Value::Text(item.comment.id.to_string())),
            ("barrage.batch_comments", Value::Number(batch.items.len() as i64)),
            ("barrage.merged_comments", Value::Number(item.count.into())),
        ],
    }
}

/// Slots follow the order of accepting, and so, mostly, do the kernel's sockets in its memory. In this order a send costs
/// 7 % less than in the order of a list which many have joined and left.
fn in_slot_order(mut slots: Vec<u32>) -> Vec<u32> {
    slots.sort_unstable();
    slots
}

/// The events as members get them to whom none is critical by name.
fn events_for_most(protocol: SubProtocol, events: &[Arc<SharedEvent>]) -> Bytes {
    let frame = |event: &Arc<SharedEvent>| encode::event_frame_for(event, protocol, None).0.clone();
    match events {
        [] => Bytes::new(),
        [only] => frame(only),
        many => many.iter().flat_map(frame).collect(),
    }
}

/// A member's own frames, uncompressed.
fn own_comments(protocol: SubProtocol, batch: &Batch, own: &OwnShare) -> Bytes {
    if own.given.is_empty() && own.omitted == 0 {
        return Bytes::new();
    }
    let items = own.given.iter().filter_map(|i| batch.items.get(*i as usize));
    encode::comments(Form::plain(protocol), usize::MAX, batch.room.id(), items, own.omitted)
}

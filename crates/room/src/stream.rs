//! The streams of one room on one node: viewers who are given the same comments share one.
//!
//! Owns who reads what and each tier's budget; [`compose`](Streams::compose) turns a moment's
//! comments into what each stream gets. Called by [`crate::hub`] under the room's lock; no I/O.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{RoomId, Snowflake, UserId};
use protocol::handshake::Form;
use tokio::sync::mpsc;

use crate::batch::{EventFrame, Frames, Item, StreamBatch};
use crate::budget::{Budget, tier};
use crate::select;

/// One stream, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// How long left-out comments may wait to be told, in milliseconds.
pub(crate) const OWED_MS_MAX: i64 = 450;

/// What viewers of one stream have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Comments a second: a tier, or 0 for events only.
    pub tier: u32,
    /// Whether the viewers chose the tier themselves (then its shedding is no news to them).
    pub chosen: bool,
    /// Which of the room's samples they are given when the tier sheds.
    pub group: u16,
    /// Only these users' comments, sorted.
    pub only: Option<Arc<[UserId]>>,
}

impl StreamKey {
    /// The key for a viewer's wishes. `per_s_max` is what the room gives one viewer at most and
    /// what those get who ask for nothing.
    #[must_use]
    pub fn new(max_per_s: Option<u32>, only: Option<&[UserId]>, group: u16, per_s_max: u32) -> Self {
        let only = only.map(|users| {
            let mut users = users.to_vec();
            users.sort();
            users.dedup();
            Arc::from(users)
        });
        let wished = max_per_s.map(|n| tier(n).unwrap_or(0));
        let tier = wished.map_or(per_s_max, |n| n.min(per_s_max));
        Self { tier, chosen: wished.is_some_and(|n| n < per_s_max), group, only }
    }
}

/// What an event stream's task hears.
#[derive(Debug, Clone)]
pub enum TapMessage {
    /// Comments.
    Comments {
        /// A `comments` message as JSON.
        message: Bytes,
        /// The newest comment of the moment, given or left out: where the reader resumes.
        last_id: Option<Snowflake>,
    },
    /// An event.
    Event(Arc<EventFrame>),
}

struct Tap {
    user: Option<UserId>,
    sender: mpsc::Sender<TapMessage>,
}

struct Stream {
    id: StreamId,
    key: StreamKey,
    /// Sockets by the form in which they read.
    readers: [u32; Form::COUNT],
    per_shard: Vec<u32>,
    taps: Vec<Tap>,
    /// Left out and not yet told.
    owed: u64,
    owed_since_ms: i64,
}

impl Stream {
    fn viewers(&self) -> u64 {
        self.readers.iter().copied().map(u64::from).sum::<u64>() + self.taps.len() as u64
    }
}

/// All streams of a room.
#[derive(Default)]
pub struct Streams {
    streams: Vec<Stream>,
    budgets: HashMap<Share, Budget>,
}

/// What one moment's composing left out, for metrics and the "too many comments" notice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Shed {
    /// Comments × viewers that a budget left out.
    pub by_budget: u64,
    /// Comments × viewers that were merged into another.
    pub by_merging: u64,
    /// Comments × viewers given.
    pub delivered: u64,
    /// Whether viewers who chose no budget of their own were given a sample.
    pub surprised: bool,
}

impl Streams {
    /// Adds a socket; creates the stream when it is the first. Returns the stream and what is owed in it.
    pub fn add(&mut self, key: &StreamKey, form: Form, shard: u16, fresh: StreamId) -> (StreamId, u64) {
        let stream = self.stream(key, fresh);
        stream.readers[form.index()] += 1;
        let shard = usize::from(shard);
        if stream.per_shard.len() <= shard {
            stream.per_shard.resize(shard + 1, 0);
        }
        stream.per_shard[shard] += 1;
        (stream.id, stream.owed)
    }

    /// Removes a socket; the stream goes with its last reader.
    pub fn remove(&mut self, id: StreamId, form: Form, shard: u16) {
        let Some(stream) = self.streams.iter_mut().find(|s| s.id == id) else { return };
        let count = &mut stream.readers[form.index()];
        *count = count.saturating_sub(1);
        if let Some(n) = stream.per_shard.get_mut(usize::from(shard)) {
            *n = n.saturating_sub(1);
        }
        self.drop_empty();
    }

    /// Adds an event stream's ear.
    pub fn add_tap(
        &mut self,
        key: &StreamKey,
        user: Option<UserId>,
        sender: mpsc::Sender<TapMessage>,
        fresh: StreamId,
    ) {
        self.stream(key, fresh).taps.push(Tap { user, sender });
    }

    /// Forgets ears whose task has gone.
    pub fn drop_closed_taps(&mut self) {
        for stream in &mut self.streams {
            stream.taps.retain(|tap| !tap.sender.is_closed());
        }
        self.drop_empty();
    }

    /// Sockets and event streams reading this room here.
    #[must_use]
    pub fn viewers(&self) -> u64 {
        self.streams.iter().map(Stream::viewers).sum()
    }

    /// Whether anybody reads.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The shards that hold a reader, as a bit set over the first 128 shards.
    #[must_use]
    pub fn shards(&self) -> u128 {
        let mut set = 0;
        for stream in &self.streams {
            for (shard, n) in stream.per_shard.iter().enumerate().take(128) {
                set |= u128::from(*n > 0) << shard;
            }
        }
        set
    }

    /// When something is owed: by when it must be told.
    #[must_use]
    pub fn owed_deadline_ms(&self) -> Option<i64> {
        self.streams.iter().filter(|s| s.owed > 0).map(|s| s.owed_since_ms + OWED_MS_MAX).min()
    }

    fn stream(&mut self, key: &StreamKey, fresh: StreamId) -> &mut Stream {
        let found = self.streams.iter().position(|s| s.key == *key);
        let index = found.unwrap_or_else(|| {
            self.streams.push(Stream {
                id: fresh,
                key: key.clone(),
                readers: [0; Form::COUNT],
                per_shard: Vec::new(),
                taps: Vec::new(),
                owed: 0,
                owed_since_ms: 0,
            });
            self.streams.len() - 1
        });
        &mut self.streams[index]
    }

    fn drop_empty(&mut self) {
        self.streams.retain(|stream| stream.viewers() > 0);
        let streams = &self.streams;
        self.budgets.retain(|(tier, only), _| streams.iter().any(|s| s.key.tier == *tier && s.key.only == *only));
    }

    /// Composes what each stream gets of a moment's comments. Event streams are fed here, sockets
    /// by the caller with what is returned.
    pub fn compose(&mut self, moment: &Moment<'_>) -> (Vec<StreamBatch>, Shed) {
        let (mut batches, mut shed) = (Vec::with_capacity(self.streams.len()), Shed::default());
        let mut allowed = HashMap::new();
        for stream in &mut self.streams {
            let kept = moment.choose(&stream.key, &mut self.budgets, &mut allowed);
            let left_out = moment.left_out(&stream.key, &kept);
            shed.note(stream, moment.merged, &kept, &left_out);
            let omitted = stream.tell(kept.len(), left_out.len() as u64, moment.now_ms);
            let frames = stream.frames(moment, &kept, omitted);
            let batch = StreamBatch { stream: stream.id, kept, left_out, omitted, frames };
            stream.feed_taps(moment.room, moment.items, &batch);
            batches.push(batch);
        }
        (batches, shed)
    }

    /// Gives an event to the event streams.
    pub fn feed_event(&mut self, event: &Arc<EventFrame>) {
        for tap in self.streams.iter_mut().flat_map(|s| &mut s.taps) {
            // A reader that fell behind loses its stream and resumes by id.
            let _ = tap.sender.try_send(TapMessage::Event(event.clone()));
        }
    }
}

/// Streams of one tier and filter share a budget.
type Share = (u32, Option<Arc<[UserId]>>);

/// What is composed at once.
pub struct Moment<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// The comments, in order, those merged away included.
    pub items: &'a [Item],
    /// `merged[i]`: item `i` was merged into another.
    pub merged: &'a [bool],
    /// Counts the room's moments; it turns the samples.
    pub sequence: u64,
    /// Into how many samples the room's viewers fall.
    pub groups: u16,
    /// Unix milliseconds.
    pub now_ms: i64,
    /// Messages from this length on are compressed for those who negotiated it.
    pub deflate_bytes_min: usize,
}

impl Moment<'_> {
    /// The indices that a stream is given. The tier's budget is asked once for all its streams.
    fn choose(
        &self,
        key: &StreamKey,
        budgets: &mut HashMap<Share, Budget>,
        allowed: &mut HashMap<Share, usize>,
    ) -> Vec<u32> {
        if key.tier == 0 {
            return Vec::new();
        }
        let wanted = self.wanted(key);
        let kept: Vec<_> = wanted.iter().filter_map(|&i| self.items.get(i as usize)).map(Item::kept).collect();
        let share = (key.tier, key.only.clone());
        let allowed = *allowed.entry(share.clone()).or_insert_with(|| {
            let budget = budgets.entry(share).or_insert_with(|| Budget::new(key.tier, self.now_ms));
            budget.take(self.now_ms, kept.len(), select::preferred(&kept))
        });
        if allowed >= wanted.len() {
            return wanted;
        }
        let salt = select::salt(self.sequence, key.group, self.groups);
        select::select(&kept, allowed, salt).into_iter().filter_map(|i| wanted.get(i).copied()).collect()
    }

    /// What a stream would get without a budget: everything not merged away, or its users' comments.
    fn wanted(&self, key: &StreamKey) -> Vec<u32> {
        let wants = |(item, merged): (&Item, &bool)| match &key.only {
            Some(users) => users.contains(&item.comment.user_id),
            None => !merged,
        };
        (0u32..).zip(self.items.iter().zip(self.merged)).filter(|(_, pair)| wants(*pair)).map(|(i, _)| i).collect()
    }

    /// What a stream asked for and was not given; an events-only stream asked for nothing.
    fn left_out(&self, key: &StreamKey, kept: &[u32]) -> Vec<u32> {
        if key.tier == 0 {
            return Vec::new();
        }
        let asked = |item: &Item| key.only.as_ref().is_none_or(|users| users.contains(&item.comment.user_id));
        let mut kept = kept.iter().peekable();
        let mut given = |i: u32| kept.next_if_eq(&&i).is_some();
        (0u32..).zip(self.items).filter(|(i, item)| !given(*i) && asked(item)).map(|(i, _)| i).collect()
    }
}

impl Shed {
    fn note(&mut self, stream: &Stream, merged: &[bool], kept: &[u32], left_out: &[u32]) {
        let viewers = stream.viewers();
        let by_merging = left_out.iter().filter(|&&i| merged[i as usize]).count() as u64;
        let by_budget = left_out.len() as u64 - by_merging;
        self.by_merging += by_merging * viewers;
        self.by_budget += by_budget * viewers;
        self.delivered += kept.len() as u64 * viewers;
        self.surprised |= by_budget > 0 && !stream.key.chosen && viewers > 0;
    }
}

impl Stream {
    /// How many omissions go with a batch of `kept` comments: all that is owed when something is
    /// sent anyway or it has waited long enough, none otherwise.
    fn tell(&mut self, kept: usize, left_out: u64, now_ms: i64) -> u64 {
        if self.owed == 0 {
            self.owed_since_ms = now_ms;
        }
        self.owed += left_out;
        let due = kept > 0 || now_ms - self.owed_since_ms >= OWED_MS_MAX;
        if due { std::mem::take(&mut self.owed) } else { 0 }
    }

    fn frames(&self, moment: &Moment<'_>, kept: &[u32], omitted: u64) -> Frames {
        if kept.is_empty() && omitted == 0 {
            return Frames::default();
        }
        let items = kept.iter().filter_map(|&i| moment.items.get(i as usize));
        Frames::encode(&self.readers, moment.deflate_bytes_min, moment.room, items, omitted)
    }

    fn feed_taps(&mut self, room: &RoomId, items: &[Item], batch: &StreamBatch) {
        if self.taps.is_empty() || (batch.kept.is_empty() && batch.omitted == 0 && batch.left_out.is_empty()) {
            return;
        }
        let message = |indices: &mut dyn Iterator<Item = u32>, omitted| {
            let fragments: Vec<_> = indices.map(|i| items[i as usize].json()).collect();
            Bytes::from(protocol::comment::batch(room.as_str(), fragments.into_iter(), omitted))
        };
        let shared = message(&mut batch.kept.iter().copied(), batch.omitted);
        let last_id = items.last().map(|item| item.comment.id);
        self.taps.retain(|tap| {
            let owed: Vec<u32> = match &tap.user {
                Some(user) => batch.left_out.iter().copied().filter(|&i| items[i as usize].concerns(user)).collect(),
                None => Vec::new(),
            };
            let message = if owed.is_empty() {
                if batch.kept.is_empty() && batch.omitted == 0 {
                    return true;
                }
                shared.clone()
            } else {
                let mut indices: Vec<u32> = batch.kept.iter().chain(&owed).copied().collect();
                indices.sort_unstable();
                message(&mut indices.into_iter(), batch.omitted.saturating_sub(owed.len() as u64))
            };
            // A reader that fell behind loses its stream and resumes by id.
            tap.sender.try_send(TapMessage::Comments { message, last_id }).is_ok()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::handshake::SubProtocol;

    use super::*;
    use crate::fixture::said_by;

    const SHARD: u16 = 0;
    const JSON: Form = Form::plain(SubProtocol::Json);

    /// A room's streams with one socket each for the given budgets; the ids in the same order.
    fn streams(tiers: &[Option<u32>], groups: u16) -> (Streams, Vec<StreamId>) {
        let mut streams = Streams::default();
        let ids = (0u32..).zip(tiers).map(|(n, max_per_s)| {
            let key = StreamKey::new(*max_per_s, None, (n % u32::from(groups)) as u16, 200);
            streams.add(&key, JSON, SHARD, StreamId(n)).0
        });
        let ids = ids.collect();
        (streams, ids)
    }

    fn moment<'a>(room: &'a RoomId, items: &'a [Item], merged: &'a [bool], now_ms: i64) -> Moment<'a> {
        Moment { room, items, merged, sequence: now_ms.unsigned_abs(), groups: 2, now_ms, deflate_bytes_min: 512 }
    }

    fn items(ids: std::ops::Range<u64>) -> Vec<Item> {
        ids.map(|id| Item::new(said_by(id, &format!("user-{id}")), 1)).collect()
    }

    #[test]
    fn viewers_with_the_same_wishes_share_a_stream_and_it_ends_with_the_last() {
        let (mut streams, ids) = streams(&[None, None, Some(50), Some(63)], 1);
        assert_eq!((ids[0], ids[2]), (ids[1], ids[3]));
        assert_eq!((streams.viewers(), streams.shards()), (4, 1));
        for id in ids {
            streams.remove(id, JSON, SHARD);
        }
        assert!(streams.is_empty() && streams.budgets.is_empty());
    }

    #[test]
    fn who_wants_events_only_is_neither_given_nor_told_of_comments() {
        let (mut streams, _) = streams(&[Some(0)], 1);
        let (room, items) = (RoomId::new("r").expect("id"), items(1..9));
        let (batches, shed) = streams.compose(&moment(&room, &items, &[false; 8], 0));
        assert!(batches[0].frames.of(JSON).is_empty() && batches[0].left_out.is_empty());
        assert_eq!(shed, Shed::default());
    }

    #[test]
    fn only_some_users_are_shown_merged_or_not() {
        let mut streams = Streams::default();
        let users = ["user-2", "user-5"].map(|user| UserId::new(user).expect("id"));
        streams.add(&StreamKey::new(None, Some(&users), 0, 200), JSON, SHARD, StreamId(1));
        let (room, items) = (RoomId::new("r").expect("id"), items(0..9));
        let mut merged = [false; 9];
        merged[5] = true;
        let (batches, _) = streams.compose(&moment(&room, &items, &merged, 0));
        assert_eq!((batches[0].kept.as_slice(), batches[0].omitted), ([2, 5].as_slice(), 0));
    }

    proptest! {
        /// What a stream is given and what it is told it was not given is everything there was.
        #[test]
        fn everything_is_given_or_told(
            moments in prop::collection::vec((0u64..40, 0i64..300, any::<u64>()), 1..40),
            tiers in prop::collection::vec(prop_oneof![Just(None), (1u32..300).prop_map(Some)], 1..6),
        ) {
            let room = RoomId::new("r").expect("id");
            let (mut streams, ids) = streams(&tiers, 2);
            let (mut now_ms, mut next) = (0, 1);
            let mut accounts: HashMap<StreamId, u64> = HashMap::new();
            for (n, gap_ms, merging) in moments {
                now_ms += gap_ms;
                let items = items(next..next + n);
                next += n;
                let merged: Vec<_> = (0..n).map(|i| merging >> (i % 64) & 1 == 1).collect();
                let (batches, _) = streams.compose(&moment(&room, &items, &merged, now_ms));
                for batch in batches {
                    prop_assert!(batch.kept.is_sorted() && batch.kept.iter().all(|&i| !merged[i as usize]));
                    let given = batch.kept.len() + batch.left_out.len();
                    prop_assert_eq!(given as u64, n, "each comment is given or left out");
                    *accounts.entry(batch.stream).or_default() += batch.kept.len() as u64 + batch.omitted;
                    prop_assert_eq!(batch.frames.of(JSON).is_empty(), batch.kept.is_empty() && batch.omitted == 0);
                }
            }
            let (batches, _) = streams.compose(&moment(&room, &[], &[], now_ms + OWED_MS_MAX + 1));
            for batch in batches {
                *accounts.entry(batch.stream).or_default() += batch.omitted;
            }
            for id in ids {
                prop_assert_eq!(accounts.get(&id).copied(), Some(next - 1));
            }
        }
    }
}

//! The streams of one room on one node: viewers who are given the same comments share one.
//!
//! Owns the members of each stream and the budget of each tier. [`Streams::compose`] turns a batch's comments into what
//! each stream gets. Called by [`crate::room`] under the room's lock. Encodes nothing and does no I/O.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Comment, UserId};
use protocol::encode::EncodeOnce;
use tokio::sync::mpsc;

use crate::batch::{BatchItem, Credit, OwnShare, SharedEvent, StreamBatch, TapBatch};
use crate::budget::{Budget, tier};
use crate::select::{self, Candidate, Class, Counts};

/// One stream, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// How long a number of left-out comments may wait before viewers are told, in milliseconds.
pub(crate) const OMITTED_DELAY_MS_MAX: i64 = 450;

/// What viewers of one stream have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Comments a second: a tier, or 0 for events only.
    pub tier: u32,
    /// Whether the viewers chose the tier themselves. Then they need no notice that it samples.
    pub chosen: bool,
    /// Which of the room's samples they are given when the tier cannot hold all.
    pub group: u16,
    /// Only these users' comments, sorted.
    pub only: Option<Arc<[UserId]>>,
}

impl StreamKey {
    /// The key for a viewer's options. `per_s_max` is the most that the room gives one viewer, and the default.
    #[must_use]
    pub fn new(max_per_s: Option<u32>, only: Option<&[UserId]>, group: u16, per_s_max: u32) -> Self {
        let only = only.map(|users| {
            let mut users = users.to_vec();
            users.sort();
            users.dedup();
            Arc::from(users)
        });
        let requested = max_per_s.map(|n| tier(n).unwrap_or(0));
        let tier = requested.map_or(per_s_max, |n| n.min(per_s_max));
        Self { tier, chosen: requested.is_some_and(|n| n < per_s_max), group, only }
    }

    fn budget(&self) -> BudgetKey {
        (self.tier, self.only.clone(), self.group)
    }
}

/// What an event stream's task receives.
#[derive(Debug, Clone)]
pub enum TapMessage {
    /// Comments.
    Comments(Arc<TapBatch>),
    /// An event.
    Event(Arc<SharedEvent>),
}

/// A reader that is a task of this process instead of a socket.
struct Tap {
    user: Option<UserId>,
    /// Whether it is given what only moderators see.
    moderates: bool,
    sender: mpsc::Sender<TapMessage>,
    credit: Credit,
}

struct Stream {
    id: StreamId,
    key: StreamKey,
    /// Member sockets by shard.
    per_shard: Vec<u32>,
    taps: Vec<Tap>,
    /// Whether it is recorded as live segments, too.
    recorded: bool,
    /// Comments left out that the viewers have not been told of.
    pending_omitted: u64,
    pending_since_ms: i64,
}

impl Stream {
    fn viewers(&self) -> u64 {
        self.per_shard.iter().copied().map(u64::from).sum::<u64>() + self.taps.len() as u64
    }
}

/// All streams of a room.
#[derive(Default)]
pub struct Streams {
    streams: Vec<Stream>,
    budgets: HashMap<BudgetKey, Budget>,
}

/// What composing one batch gave and left out, for metrics and the "too many comments" notice.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ComposeStats {
    /// Comments × viewers that a budget left out.
    pub by_budget: u64,
    /// Comments × viewers that were merged into another.
    pub by_merging: u64,
    /// Comments × viewers given.
    pub delivered: u64,
    /// Whether viewers who chose no budget of their own were given a sample.
    pub sampled_by_default: bool,
}

impl Streams {
    /// Adds a socket; its stream is created as `new_id` when it is the first. Returns the stream and the number of
    /// left-out comments that its viewers have not been told of.
    pub fn add(&mut self, key: &StreamKey, shard: u16, new_id: StreamId) -> (StreamId, u64) {
        let stream = self.stream(key, new_id);
        let shard = usize::from(shard);
        if stream.per_shard.len() <= shard {
            stream.per_shard.resize(shard + 1, 0);
        }
        stream.per_shard[shard] += 1;
        (stream.id, stream.pending_omitted)
    }

    /// What the viewers of a stream have in common.
    #[must_use]
    pub fn key(&self, id: StreamId) -> Option<&StreamKey> {
        self.streams.iter().find(|stream| stream.id == id).map(|stream| &stream.key)
    }

    /// Removes a socket; the stream ends with its last reader.
    pub fn remove(&mut self, id: StreamId, shard: u16) {
        let Some(stream) = self.streams.iter_mut().find(|s| s.id == id) else { return };
        if let Some(n) = stream.per_shard.get_mut(usize::from(shard)) {
            *n = n.saturating_sub(1);
        }
        self.drop_empty();
    }

    /// Adds an event stream. Its history has settled what arrived before `first_arrival`.
    pub fn add_tap(
        &mut self,
        key: &StreamKey,
        (user, moderates): (Option<UserId>, bool),
        sender: mpsc::Sender<TapMessage>,
        first_arrival: u64,
        new_id: StreamId,
    ) {
        let stream = self.stream(key, new_id);
        let credit = Credit { first_arrival, omitted: stream.pending_omitted };
        stream.taps.push(Tap { user, moderates, sender, credit });
    }

    /// Has a stream recorded, also while it has no readers. One stream of a room at most.
    pub fn record(&mut self, key: &StreamKey, new_id: StreamId) -> StreamId {
        let stream = self.stream(key, new_id);
        stream.recorded = true;
        stream.id
    }

    /// Ends what [`Streams::record`] began.
    pub fn stop_recording(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.recorded = false;
        }
        self.drop_empty();
    }

    /// Removes event streams whose task has ended.
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

    /// Whether nobody reads and nothing is recorded.
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

    /// By when viewers must be told of left-out comments, if there are any.
    #[must_use]
    pub fn omitted_deadline_ms(&self) -> Option<i64> {
        let waiting = self.streams.iter().filter(|s| s.pending_omitted > 0);
        waiting.map(|s| s.pending_since_ms + OMITTED_DELAY_MS_MAX).min()
    }

    fn stream(&mut self, key: &StreamKey, new_id: StreamId) -> &mut Stream {
        let found = self.streams.iter().position(|s| s.key == *key);
        let index = found.unwrap_or_else(|| {
            self.streams.push(Stream {
                id: new_id,
                key: key.clone(),
                per_shard: Vec::new(),
                taps: Vec::new(),
                recorded: false,
                pending_omitted: 0,
                pending_since_ms: 0,
            });
            self.streams.len() - 1
        });
        &mut self.streams[index]
    }

    fn drop_empty(&mut self) {
        self.streams.retain(|stream| stream.viewers() > 0 || stream.recorded);
        let streams = &self.streams;
        self.budgets.retain(|key, _| streams.iter().any(|stream| stream.key.budget() == *key));
    }

    /// Composes what each stream gets of a batch's comments. Event streams are fed here, sockets by the caller with
    /// what is returned.
    pub fn compose(&mut self, input: &BatchInput<'_>) -> (Vec<StreamBatch>, ComposeStats) {
        let (mut batches, mut stats) = (Vec::with_capacity(self.streams.len()), ComposeStats::default());
        let mut allowed = HashMap::new();
        for stream in &mut self.streams {
            let kept = input.choose(&stream.key, &mut self.budgets, &mut allowed);
            let left_out = input.left_out(&stream.key, &kept);
            stats.add(stream, input.merged, &kept, &left_out);
            let omitted = stream.due_omitted(kept.len(), left_out.len() as u64, input.now_ms);
            let batch = StreamBatch { stream: stream.id, kept, left_out, omitted, encoded: EncodeOnce::default() };
            stream.feed_taps(input.items, &batch);
            batches.push(batch);
        }
        (batches, stats)
    }

    /// Gives a comment to the event streams of its sender and of those who moderate the room.
    pub fn feed_shadow(&mut self, comment: &Arc<Comment>) {
        let sees = |tap: &&mut Tap| tap.moderates || tap.user.as_ref() == Some(&comment.user_id);
        let mut batch = None;
        for tap in self.streams.iter_mut().flat_map(|s| &mut s.taps).filter(sees) {
            let batch = batch.get_or_insert_with(|| Arc::new(TapBatch::alone(comment.clone())));
            let _ = tap.sender.try_send(TapMessage::Comments(batch.clone()));
        }
    }

    /// Gives an event to the event streams.
    pub fn feed_event(&mut self, event: &Arc<SharedEvent>) {
        for tap in self.streams.iter_mut().flat_map(|s| &mut s.taps) {
            // A reader that fell behind loses its stream and resumes by id.
            let _ = tap.sender.try_send(TapMessage::Event(event.clone()));
        }
    }
}

/// Streams of one tier, filter and reader group share a budget.
type BudgetKey = (u32, Option<Arc<[UserId]>>, u16);

/// What one batch is composed of.
pub struct BatchInput<'a> {
    /// The comments, in order, those merged away included.
    pub items: &'a Arc<[BatchItem]>,
    /// `merged[i]`: item `i` was merged into another.
    pub merged: &'a [bool],
    /// Counts the room's batches; it rotates the samples.
    pub sequence: u64,
    /// Into how many samples the room's viewers are divided.
    pub groups: u16,
    /// Unix milliseconds.
    pub now_ms: i64,
}

impl BatchInput<'_> {
    /// The indices that a stream is given. A budget is asked once for all its streams.
    fn choose(
        &self,
        key: &StreamKey,
        budgets: &mut HashMap<BudgetKey, Budget>,
        allowed: &mut HashMap<BudgetKey, Counts>,
    ) -> Vec<u32> {
        if key.tier == 0 {
            return Vec::new();
        }
        let wanted = self.wanted(key);
        let candidates: Vec<_> = wanted
            .iter()
            .filter_map(|&i| self.items.get(i as usize))
            .map(|item| Candidate {
                class: Class::of(item.comment.level),
                own: select::belongs(item.comment.id, key.group, self.groups),
            })
            .collect();
        let budget_key = key.budget();
        let allowed = *allowed.entry(budget_key.clone()).or_insert_with(|| {
            let budget = budgets.entry(budget_key).or_insert_with(|| Budget::new(key.tier, self.now_ms));
            budget.spend(self.now_ms, select::counts(&candidates))
        });
        if allowed.iter().map(|share| share.sum()).sum::<usize>() >= wanted.len() {
            return wanted;
        }
        let salt = select::salt(self.sequence, key.group, self.groups);
        select::select(&candidates, allowed, salt).into_iter().filter_map(|i| wanted.get(i).copied()).collect()
    }

    /// What a stream would get without a budget: everything not merged away, or its users' comments.
    fn wanted(&self, key: &StreamKey) -> Vec<u32> {
        let wants = |(item, merged): (&BatchItem, &bool)| match &key.only {
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
        let asked = |item: &BatchItem| key.only.as_ref().is_none_or(|users| users.contains(&item.comment.user_id));
        let mut kept = kept.iter().peekable();
        let mut given = |i: u32| kept.next_if_eq(&&i).is_some();
        (0u32..).zip(self.items.iter()).filter(|(i, item)| !given(*i) && asked(item)).map(|(i, _)| i).collect()
    }
}

impl ComposeStats {
    fn add(&mut self, stream: &Stream, merged: &[bool], kept: &[u32], left_out: &[u32]) {
        let viewers = stream.viewers();
        let by_merging = left_out.iter().filter(|&&i| merged[i as usize]).count() as u64;
        let by_budget = left_out.len() as u64 - by_merging;
        self.by_merging += by_merging * viewers;
        self.by_budget += by_budget * viewers;
        self.delivered += kept.len() as u64 * viewers;
        self.sampled_by_default |= by_budget > 0 && !stream.key.chosen && (viewers > 0 || stream.recorded);
    }
}

impl Stream {
    /// The number to tell as `omitted` with a batch of `kept` comments: all that is pending when something is sent
    /// anyway or it has waited long enough, 0 otherwise.
    fn due_omitted(&mut self, kept: usize, left_out: u64, now_ms: i64) -> u64 {
        if self.pending_omitted == 0 {
            self.pending_since_ms = now_ms;
        }
        self.pending_omitted += left_out;
        let due = kept > 0 || now_ms - self.pending_since_ms >= OMITTED_DELAY_MS_MAX;
        if due { std::mem::take(&mut self.pending_omitted) } else { 0 }
    }

    fn feed_taps(&mut self, items: &Arc<[BatchItem]>, batch: &StreamBatch) {
        if self.taps.is_empty() || (batch.is_empty() && batch.left_out.is_empty()) {
            return;
        }
        let shared = TapBatch::new(items.clone(), batch.kept.clone(), batch.omitted);
        self.taps.retain_mut(|tap| {
            let concerning: Vec<u32> = match &tap.user {
                Some(user) => batch.left_out.iter().copied().filter(|&i| items[i as usize].concerns(user)).collect(),
                None => Vec::new(),
            };
            let own = tap.credit.share(items, batch, &concerning);
            let message = match OwnShare::without_given(own, items, batch, (tap.user.as_ref(), tap.moderates)) {
                Some(own) => TapBatch::new(items.clone(), own.given, own.omitted),
                None => shared.clone(),
            };
            // A reader that fell behind loses its stream and resumes by id.
            message.is_empty() || tap.sender.try_send(TapMessage::Comments(message)).is_ok()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use testkit::comments::said_by;

    const SHARD: u16 = 0;

    /// A room's streams with one socket each for the given budgets; the ids in the same order.
    fn streams(tiers: &[Option<u32>], groups: u16) -> (Streams, Vec<StreamId>) {
        let mut streams = Streams::default();
        let ids = (0u32..).zip(tiers).map(|(n, max_per_s)| {
            let key = StreamKey::new(*max_per_s, None, (n % u32::from(groups)) as u16, 200);
            streams.add(&key, SHARD, StreamId(n)).0
        });
        let ids = ids.collect();
        (streams, ids)
    }

    fn input<'a>(items: &'a Arc<[BatchItem]>, merged: &'a [bool], now_ms: i64) -> BatchInput<'a> {
        BatchInput { items, merged, sequence: now_ms.unsigned_abs(), groups: 2, now_ms }
    }

    fn items(ids: std::ops::Range<u64>) -> Arc<[BatchItem]> {
        ids.map(|id| BatchItem::new(said_by(id, &format!("user-{id}")), 1)).collect()
    }

    #[test]
    fn viewers_with_the_same_wishes_share_a_stream_and_it_ends_with_the_last() {
        let (mut streams, ids) = streams(&[None, None, Some(50), Some(63)], 1);
        assert_eq!((ids[0], ids[2]), (ids[1], ids[3]));
        assert_eq!((streams.viewers(), streams.shards()), (4, 1));
        for id in ids {
            streams.remove(id, SHARD);
        }
        assert!(streams.is_empty() && streams.budgets.is_empty());
    }

    #[test]
    fn who_wants_events_only_is_neither_given_nor_told_of_comments() {
        let (mut streams, _) = streams(&[Some(0)], 1);
        let items = items(1..9);
        let (batches, stats) = streams.compose(&input(&items, &[false; 8], 0));
        assert!(batches[0].is_empty() && batches[0].left_out.is_empty());
        assert_eq!(stats, ComposeStats::default());
    }

    #[test]
    fn only_some_users_are_shown_merged_or_not() {
        let mut streams = Streams::default();
        let users = ["user-2", "user-5"].map(|user| UserId::new(user).expect("id"));
        streams.add(&StreamKey::new(None, Some(&users), 0, 200), SHARD, StreamId(1));
        let items = items(0..9);
        let mut merged = [false; 9];
        merged[5] = true;
        let (batches, _) = streams.compose(&input(&items, &merged, 0));
        assert_eq!((batches[0].kept.as_slice(), batches[0].omitted), ([2, 5].as_slice(), 0));
    }

    proptest! {
        /// What a stream is given and what it is told it was not given is everything there was.
        #[test]
        fn everything_is_given_or_told(
            moments in prop::collection::vec((0u64..40, 0i64..300, any::<u64>()), 1..40),
            tiers in prop::collection::vec(prop_oneof![Just(None), (1u32..300).prop_map(Some)], 1..6),
        ) {
            let (mut streams, ids) = streams(&tiers, 2);
            let (mut now_ms, mut next) = (0, 1);
            let mut accounts: HashMap<StreamId, u64> = HashMap::new();
            for (n, gap_ms, merging) in moments {
                now_ms += gap_ms;
                let items = items(next..next + n);
                next += n;
                let merged: Vec<_> = (0..n).map(|i| merging >> (i % 64) & 1 == 1).collect();
                let (batches, _) = streams.compose(&input(&items, &merged, now_ms));
                for batch in batches {
                    prop_assert!(batch.kept.is_sorted() && batch.kept.iter().all(|&i| !merged[i as usize]));
                    let given = batch.kept.len() + batch.left_out.len();
                    prop_assert_eq!(given as u64, n, "each comment is given or left out");
                    *accounts.entry(batch.stream).or_default() += batch.kept.len() as u64 + batch.omitted;
                }
            }
            let (batches, _) = streams.compose(&input(&items(0..0), &[], now_ms + OMITTED_DELAY_MS_MAX + 1));
            for batch in batches {
                *accounts.entry(batch.stream).or_default() += batch.omitted;
            }
            for id in ids {
                prop_assert_eq!(accounts.get(&id).copied(), Some(next - 1));
            }
        }
    }
}

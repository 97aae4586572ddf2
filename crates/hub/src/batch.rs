//! What the hub hands to the edge: batches of comments, events, and what a shard has to do.
//!
//! Rooms make them; the gateway's shards and the API's event streams encode and write them. A batch is data: the hub
//! encodes no frame and knows no transport. Everything here is immutable and shared by reference. What the edge
//! encodes once for many readers it keeps in the batch's own [`EncodeOnce`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use model::moderation::Pin;
use model::{Audience, Comment, Event, RoomId, RoomSettings, RoomState, Snowflake, UserId};
use protocol::encode::EncodeOnce;
use protocol::handshake::{Form, SubProtocol};
use protocol::{comment, proto};
use serde_json::value::RawValue;

use crate::room::Room;
use crate::stream::StreamId;

/// One socket: its shard, its slot there, and the slot's generation, so that a late answer never reaches the slot's
/// next owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnRef {
    /// The shard.
    pub shard: u16,
    /// The slot.
    pub index: u32,
    /// Rises with each socket that the shard accepts.
    pub generation: u32,
}

/// What the hub sends to a shard. Messages of one room reach a shard in the hub's order.
#[derive(Debug, Clone)]
pub enum ShardMessage {
    /// A socket is a member of a stream from here on: the batches that follow are for it too.
    Joined(Joined),
    /// One room's next comments and events.
    Batch(Arc<Batch>),
    /// A comment that only its sender and those who moderate the room are given.
    Shadow(Arc<ShadowComment>),
    /// An event for certain users in any room of this shard: those of its audience. When the audience is the whole
    /// room, those it is critical for who are not in that room; the others get it with the room's batch.
    UserEvent(Arc<SharedEvent>),
    /// A room was disabled or made private: members who may no longer read it leave.
    Restricted {
        /// The room's key.
        room: u32,
        /// Its settings.
        settings: Arc<RoomSettings>,
    },
    /// Sockets of a user whose token was issued before a moment close with 4001.
    Revoked {
        /// The user.
        user_id: UserId,
        /// Unix milliseconds.
        before_ms: i64,
    },
    /// A user leaves a room (`Some`), or every socket of the user closes with 4003 (`None`).
    Banned {
        /// The user.
        user_id: UserId,
        /// The room.
        room_id: Option<RoomId>,
        /// The end of the ban, Unix milliseconds.
        until_ms: i64,
        /// The reason that the user is shown.
        reason: Option<String>,
    },
    /// Bans or revoked tokens of a user (`Some`), or of any user (`None`), were read again: the shard applies them.
    Recheck(Option<UserId>),
}

/// A comment that only some members of its room are given.
#[derive(Debug)]
pub struct ShadowComment {
    /// The room.
    pub room: Arc<Room>,
    /// The comment, as an item of a batch of its own.
    pub item: BatchItem,
}

/// How the hub reaches a shard. It must not block: a shard that cannot take a batch refuses it, and the hub counts the
/// batch's comments as omitted.
pub trait ShardInbox: Send + Sync {
    /// Delivers one message; false when the inbox is full and the message was dropped.
    fn send(&self, message: ShardMessage) -> bool;
    /// How busy the shard's core is, 0 to 1, smoothed over about a second.
    fn load(&self) -> f32;
}

/// A socket became a member: what `room_joined` answers, and which stream it reads.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The socket.
    pub conn: ConnRef,
    /// The room.
    pub room: Arc<Room>,
    /// The stream it now reads.
    pub stream: StreamId,
    /// What of the stream's next batches is not for this viewer.
    pub credit: Credit,
    /// Whether the room is live.
    pub state: RoomState,
    /// Viewers on all nodes, the new one included.
    pub viewers: u64,
    /// What the viewer is given first, oldest first.
    pub history: Vec<Arc<Comment>>,
    /// Comments the viewer missed beyond `history`.
    pub omitted: u64,
    /// The pinned comment.
    pub pin: Option<Box<Pin>>,
    /// The `ref` of the request.
    pub reference: Option<Box<RawValue>>,
}

/// What one room emits at one moment: events first, then each stream's comments.
#[derive(Debug)]
pub struct Batch {
    /// The room.
    pub room: Arc<Room>,
    /// Events for everybody in the room, oldest first.
    pub events: Vec<Arc<SharedEvent>>,
    /// The comments in order, those merged away included. Streams name them by index.
    pub items: Arc<[BatchItem]>,
    /// What each stream with members gets.
    pub streams: Vec<StreamBatch>,
    /// Whether some have been given some of the comments before.
    pub has_given: bool,
    /// When it left the room, Unix milliseconds.
    pub emitted_ms: i64,
    /// Shards that have not handed it to their sockets yet.
    pub(crate) shards_left: AtomicU32,
}

impl Batch {
    /// The comments that some have been given before.
    pub fn given(&self) -> impl Iterator<Item = &BatchItem> {
        self.items.iter().filter(|item| item.is_given)
    }

    /// Notes that a shard is done with it. True for the last one.
    #[must_use]
    pub fn handed_over(&self) -> bool {
        self.shards_left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// One comment of a batch; after merging it may stand for several.
#[derive(Debug)]
pub struct BatchItem {
    /// The comment.
    pub comment: Arc<Comment>,
    /// For how many it stands, itself included.
    pub count: u32,
    /// Rises with each comment that the room is to emit. It names what a joining reader's history has settled.
    pub arrival: u64,
    /// Its sender and those who moderate the room were given it before.
    pub is_given: bool,
    json: OnceLock<Vec<u8>>,
    proto: OnceLock<Vec<u8>>,
}

impl BatchItem {
    /// A comment standing for `count`.
    #[must_use]
    pub fn new(comment: Arc<Comment>, count: u32) -> Self {
        Self { comment, count, arrival: 0, is_given: false, json: OnceLock::new(), proto: OnceLock::new() }
    }

    /// The same with its number of arrival.
    #[must_use]
    pub fn arrived(self, arrival: u64) -> Self {
        Self { arrival, ..self }
    }

    /// Its JSON object, formatted once for all streams.
    pub fn json(&self) -> &[u8] {
        self.json.get_or_init(|| comment::fragment(&self.comment, Some(self.count)))
    }

    /// Its Protobuf field of a batch, encoded once for all streams.
    #[must_use]
    pub fn proto(&self) -> &[u8] {
        self.proto.get_or_init(|| proto::fragment(&self.comment, Some(self.count)))
    }

    /// Whether a viewer must get it whatever the budget: their own, or one that mentions them.
    #[must_use]
    pub fn concerns(&self, user: &UserId) -> bool {
        self.comment.user_id == *user || self.comment.mentions.contains(user)
    }
}

/// One stream's share of a batch.
#[derive(Debug)]
pub struct StreamBatch {
    /// The stream.
    pub stream: StreamId,
    /// Indices into [`Batch::items`], in order.
    pub kept: Vec<u32>,
    /// Indices of what this stream was not given, sampled out or merged away. Their authors and the users they mention
    /// get them all the same.
    pub left_out: Vec<u32>,
    /// The number told as `omitted`. It may include earlier batches', and is 0 while it waits for a later batch (at most
    /// 500 ms).
    pub omitted: u64,
    /// The stream's frames, one slot per form, each encoded by the first shard that needs it.
    pub encoded: EncodeOnce<{ Form::COUNT }>,
}

impl StreamBatch {
    /// Whether its readers are sent no comments message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.omitted == 0
    }
}

/// What of its stream's next batches a reader is not given, because its join has settled it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credit {
    /// Comments that arrived earlier are settled: the reader's history held them, counted them in `omitted`, or the
    /// reader did not ask for them.
    pub first_arrival: u64,
    /// Comments that the stream will tell as omitted although this reader has had them, or joined after them.
    pub omitted: u64,
}

impl OwnShare {
    /// A reader's share without what the reader was given before. `own` is it, where it is not the stream's.
    #[must_use]
    pub fn without_given(
        own: Option<Self>,
        items: &[BatchItem],
        stream: &StreamBatch,
        (user, moderates): (Option<&UserId>, bool),
    ) -> Option<Self> {
        let is_given = |i: &u32| {
            let item = items.get(*i as usize).filter(|item| item.is_given);
            item.is_some_and(|item| moderates || user == Some(&item.comment.user_id))
        };
        let given = own.as_ref().map_or(&stream.kept, |own| &own.given);
        if !given.iter().any(is_given) {
            return own;
        }
        let omitted = own.as_ref().map_or(stream.omitted, |own| own.omitted);
        Some(Self { given: given.iter().copied().filter(|i| !is_given(i)).collect(), omitted })
    }
}

/// One reader's own share of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnShare {
    /// Indices of what it is given, in order.
    pub given: Vec<u32>,
    /// The number it is told as `omitted`.
    pub omitted: u64,
}

impl Credit {
    /// Whether its reader is given exactly what its stream is given.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The reader's own share, and uses up the credit. `concerning` are the items that the stream left out and this
    /// reader must get. `None` when it is the stream's share unchanged.
    pub fn share(&mut self, items: &[BatchItem], stream: &StreamBatch, concerning: &[u32]) -> Option<OwnShare> {
        if self.is_none() && concerning.is_empty() {
            return None;
        }
        let first_arrival = std::mem::take(&mut self.first_arrival);
        let settled = |i: &u32| items.get(*i as usize).is_some_and(|item| item.arrival < first_arrival);
        let own = concerning.iter().copied().filter(|i| !settled(i));
        let mut given: Vec<u32> = stream.kept.iter().copied().filter(|i| !settled(i)).collect();
        let unchanged = given.len() == stream.kept.len();
        given.extend(own);
        given.sort_unstable();
        let not_lost = |i: &&u32| settled(i) || given.binary_search(i).is_ok();
        self.omitted += stream.left_out.iter().filter(not_lost).count() as u64;
        let omitted = stream.omitted.saturating_sub(self.omitted);
        if stream.omitted > 0 {
            self.omitted = 0;
        }
        let same = unchanged && given.len() == stream.kept.len() && omitted == stream.omitted;
        (!same).then_some(OwnShare { given, omitted })
    }
}

/// A batch as an event stream's task receives it: shared by all tasks that are given the same comments.
#[derive(Debug)]
pub struct TapBatch {
    pub(crate) items: Arc<[BatchItem]>,
    /// Indices of what the reader is given, in order.
    pub(crate) given: Vec<u32>,
    /// The number told as `omitted`.
    pub omitted: u64,
    /// What readers encode of it, once for all that share this batch: slot 0 is the event stream's, the others are the
    /// goim door's.
    pub encoded: EncodeOnce<4>,
}

impl TapBatch {
    pub(crate) fn new(items: Arc<[BatchItem]>, given: Vec<u32>, omitted: u64) -> Arc<Self> {
        Arc::new(Self { items, given, omitted, encoded: EncodeOnce::default() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty() && self.omitted == 0
    }

    pub(crate) fn alone(comment: Arc<Comment>) -> Self {
        let items = Arc::new([BatchItem::new(comment, 1)]);
        Self { items, given: vec![0], omitted: 0, encoded: EncodeOnce::default() }
    }

    /// What the reader is given, in order.
    pub fn items(&self) -> impl Iterator<Item = &BatchItem> + Clone {
        self.given.iter().filter_map(|&i| self.items.get(i as usize))
    }

    /// The newest comment of the batch, given or left out: where the reader resumes.
    #[must_use]
    pub fn last_id(&self) -> Option<Snowflake> {
        self.items.last().map(|item| item.comment.id)
    }
}

/// An event, shared by all who are sent it.
#[derive(Debug)]
pub struct SharedEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Its frames, each encoded by the first shard that needs it: see [`SharedEvent::encoding`].
    pub encoded: EncodeOnce<4>,
}

impl SharedEvent {
    /// An event that nothing has been encoded of.
    #[must_use]
    pub fn new(event: Arc<Event>) -> Self {
        Self { event, encoded: EncodeOnce::default() }
    }

    /// Whether the event is critical for a user, who then acknowledges it.
    #[must_use]
    pub fn is_critical_for(&self, user: Option<&UserId>) -> bool {
        self.event.critical_for.includes(user)
    }

    /// The slot of `encoded` for one sub-protocol, for those to whom the event is critical or for the others. An event
    /// that is critical to nobody has one form.
    #[must_use]
    pub fn encoding(&self, protocol: SubProtocol, critical: bool) -> usize {
        let critical = critical && self.event.critical_for != Audience::Nobody;
        usize::from(protocol == SubProtocol::Proto) * 2 + usize::from(critical)
    }
}

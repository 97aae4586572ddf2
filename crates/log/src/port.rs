//! The log: accepted records in an order that all readers agree on.

use std::sync::Arc;
use std::task::Waker;

use async_trait::async_trait;
use model::panics::contain;
use model::{Audience, Comment, Event, EventBody, FirstAnswer, RoomId, RoomSettings, Session, UserId};
use tokio::sync::oneshot;

/// One thing that happened in a room. Records are applied in the log's order by every consumer.
#[derive(Debug, Clone)]
pub enum Record {
    /// A comment enters: accepted now, or approved now after review.
    Comment {
        /// The comment.
        comment: Arc<Comment>,
        /// Its `client_msg_id`, remembered so that a retry returns the first answer.
        client_msg_id: Option<Box<str>>,
        /// Whether it is stored (`store` of the room).
        keep: bool,
    },
    /// A comment that the room publishes later. Its sender and those who moderate the room see it already; it is stored
    /// elsewhere until then.
    Early(Arc<Comment>),
    /// An event to show; its effects on the ranking are the worker's.
    Event(Arc<Event>),
    /// A comment's likes changed. Two changes of one comment may arrive out of order.
    Liked {
        /// The comment as it was then, its `like_count` included.
        comment: Arc<Comment>,
        /// A like was taken back.
        taken_back: bool,
    },
    /// The room's settings changed; consumers refresh their copies.
    Settings(Arc<RoomSettings>),
    /// A live session starts: rankings and hot comments start anew.
    SessionStarted(Arc<Session>),
    /// A live session ended.
    SessionEnded(Arc<Session>),
    /// A user's tokens issued before a moment are revoked: sockets opened with them close.
    Revoked {
        /// Who.
        user_id: UserId,
        /// Unix milliseconds.
        before_ms: i64,
    },
    /// Removes a user from the room at once (room `None`: closes every socket of the user).
    Banned {
        /// Who.
        user_id: UserId,
        /// Where; `None` is everywhere.
        room_id: Option<RoomId>,
        /// Until when, Unix milliseconds; 0 closes the sockets and bans nobody.
        until_ms: i64,
        /// Why, if somebody said.
        reason: Option<String>,
    },
    /// Something changed in the store that nodes keep a copy of: they read it again.
    Changed(Change),
}

/// What changed in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The word lists.
    Words,
    /// A user's bans and mutes.
    Bans(UserId),
    /// An event that is stored until this user acknowledges it.
    PendingEvents(UserId),
    /// The entry's room.
    Room,
    /// All that a user said before a moment is erased, in the entry's room or, where that is no room, everywhere; and the user
    /// left the rankings.
    Purged {
        /// Who.
        user_id: UserId,
        /// Unix milliseconds.
        before_ms: i64,
    },
}

impl Record {
    /// Whether the persisting group needs it: stored comments, and deletions, which may precede the storing of their comment.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Comment { keep, .. } => *keep,
            Self::Event(event) => matches!(event.body, EventBody::CommentsDeleted { .. }),
            _ => false,
        }
    }

    /// Whether it concerns every node, also those that do not hold the room, because they keep a copy of what changed or hold
    /// the user's sockets. Such entries travel on the control channel, all others on their room's.
    #[must_use]
    pub fn concerns_every_node(&self) -> bool {
        match self {
            Self::Comment { .. } | Self::Early(_) | Self::Liked { .. } => false,
            Self::Event(event) => {
                matches!(event.audience, Audience::Users(_)) || matches!(event.critical_for, Audience::Users(_))
            }
            Self::Settings(_)
            | Self::SessionStarted(_)
            | Self::SessionEnded(_)
            | Self::Revoked { .. }
            | Self::Banned { .. }
            | Self::Changed(_) => true,
        }
    }
}

/// A record's position. Offsets rise within an epoch; a new epoch is a log that lost its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The log's incarnation.
    pub epoch: u32,
    /// The offset in it, from 1.
    pub offset: u64,
}

/// A record with its room and position.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The room whose order it belongs to.
    pub room_id: RoomId,
    /// Its position.
    pub position: Position,
    /// The record.
    pub record: Record,
}

/// Why a record was not appended. Trying again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue before the log is full.
    #[error("the log takes no more records now")]
    Full,
    /// The log, or what makes it durable, is away; nothing was appended.
    #[error("the log is away")]
    Away,
    /// The answer did not come in time: the record may be on the log or not.
    #[error("nobody knows whether the log took it")]
    Unknown,
    /// An earlier comment has the same `client_msg_id`; it got this answer.
    #[error("an earlier comment has the same client_msg_id")]
    Repeat(FirstAnswer),
}

/// A run of entries in the log's order, handed to one consumer.
pub trait Delivery: Send {
    /// The entries.
    fn entries(&self) -> &[Entry];
    /// Marks them as handled: this group does not receive them again.
    fn commit(self: Box<Self>);
}

/// One member of a named group of readers.
#[async_trait]
pub trait Consumer: Send {
    /// The next run of entries; `None` when the log closes. After a crash, an uncommitted run is delivered again: consumers
    /// drop repeats by id.
    async fn next(&mut self) -> Option<Box<dyn Delivery>>;
}

/// Receives a record's outcome: its position once it is durable, or why it was not appended. Called at most once, perhaps on
/// the log's own task, so it must not block. The waker it returns is woken after all records of the run were answered: one
/// wake-up a run, not one a record.
pub type Done = Box<dyn FnOnce(Result<Position, AppendError>) -> Option<Waker> + Send>;

/// The shard of its room that a record belongs to; `None` while the room is not spread over partitions.
///
/// Ingest chooses the shard of a hot room by a hash of the user. Only records of one shard keep their order.
pub type ShardOf = Arc<dyn Fn(&RoomId, &Record) -> Option<u16> + Send + Sync>;

/// A record on its way to the log.
pub struct Submission {
    /// The room whose order it belongs to.
    pub room_id: RoomId,
    /// The record.
    pub record: Record,
    /// Receives its outcome.
    pub done: Done,
}

/// Answers a run of records, then wakes each waker once.
pub(crate) fn answer(run: impl Iterator<Item = (Done, Result<Position, AppendError>)>) {
    let mut wakers: Vec<Waker> = Vec::new();
    for (done, result) in run {
        // An answer that panics is its submitter's loss, not the log's.
        let waker = contain(|| done(result)).flatten();
        if let Some(waker) = waker.filter(|new| !wakers.iter().any(|waker| waker.will_wake(new))) {
            wakers.push(waker);
        }
    }
    wakers.into_iter().for_each(Waker::wake);
}

/// The ordered, durable hand-over.
///
/// - A record is answered once it is durable and has a position. Entries of one room reach every consumer in the order of
///   their positions. A failed append may be tried again with the same id.
/// - Of two comments of one user with the same `client_msg_id` the log's order says which is first. A log whose journal
///   sees both refuses the later one; otherwise consumers drop it ([`crate::first::FirstSeen`]).
/// - The in-process backend also waits until its consumers have committed the entry, so that a caller reads its own writes.
/// - Never blocks the caller's thread.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends a run of records, in this order, to their rooms' orders, and answers each; on this thread when they are refused.
    /// One call with several records wakes the log once. A log that dies drops `done` uncalled.
    fn submit(&self, run: Vec<Submission>);

    /// [`Log::submit`] with one record, for callers that can wait.
    async fn append(&self, room_id: RoomId, record: Record) -> Result<Position, AppendError> {
        let (submission, answer) = awaited(room_id, record);
        self.submit(vec![submission]);
        answer.await.unwrap_or(Err(AppendError::Away))
    }

    /// [`Log::append`] with several records of one room at once; an error when one of them was not appended.
    async fn append_all(&self, room_id: RoomId, records: Vec<Record>) -> Result<(), AppendError> {
        let (run, answers): (Vec<_>, Vec<_>) =
            records.into_iter().map(|record| awaited(room_id.clone(), record)).unzip();
        self.submit(run);
        for answer in answers {
            answer.await.unwrap_or(Err(AppendError::Away))?;
        }
        Ok(())
    }
}

/// A record with a future for its answer.
fn awaited(room_id: RoomId, record: Record) -> (Submission, oneshot::Receiver<Result<Position, AppendError>>) {
    let (sender, answer) = oneshot::channel();
    let done = move |result| {
        // Whoever stopped waiting has no use for the answer.
        let _ = sender.send(result);
        None
    };
    (Submission { room_id, record, done: Box::new(done) }, answer)
}

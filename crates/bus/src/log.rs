//! The log: what was accepted, in the order that every reader agrees on.

use std::sync::Arc;
use std::task::Waker;

use async_trait::async_trait;
use model::panics::contain;
use model::{Audience, Comment, Event, EventBody, RoomId, RoomSettings, Session, UserId};
use tokio::sync::oneshot;

/// One thing that happened in a room. Records are applied in the log's order by every consumer.
#[derive(Debug, Clone)]
pub enum Record {
    /// A comment enters: accepted now, or approved now after review.
    Comment {
        /// The comment.
        comment: Arc<Comment>,
        /// The sender's own id for it, remembered so that a retry returns the first answer.
        client_msg_id: Option<Box<str>>,
        /// Whether it is kept (`store` of the room).
        keep: bool,
    },
    /// An event to show; its effects on the ranking are the worker's.
    Event(Arc<Event>),
    /// A comment's likes changed. Two of one comment may come in another order than they happened in.
    Liked {
        /// The comment as it was then, its `like_count` included.
        comment: Arc<Comment>,
        /// A like was taken back.
        taken_back: bool,
    },
    /// The room's settings changed; consumers refresh what they hold.
    Settings(Arc<RoomSettings>),
    /// A live session starts: rankings and hot comments start anew.
    SessionStarted(Arc<Session>),
    /// A live session ended.
    SessionEnded(Arc<Session>),
    /// A user's tokens issued before a moment are no longer good: sockets opened with them close.
    Revoked {
        /// Who.
        user_id: UserId,
        /// Unix milliseconds.
        before_ms: i64,
    },
    /// A user is to leave the room's sockets at once (`None`: every socket of the user closes).
    Banned {
        /// Who.
        user_id: UserId,
        /// Where; `None` is everywhere.
        room_id: Option<RoomId>,
        /// Until when, Unix milliseconds.
        until_ms: i64,
        /// Why, if somebody said.
        reason: Option<String>,
    },
    /// The store has something new that nodes keep a copy of: they read it again.
    Changed(Change),
}

/// Of what the store has something new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The word lists.
    Words,
    /// A user's bans and mutes.
    Bans(UserId),
    /// An event is kept until this user acknowledges it.
    Awaited(UserId),
    /// The entry's room.
    Room,
}

impl Record {
    /// Whether what lasts is to hear of it: comments that are kept, and deletions, which may have come before their comment
    /// was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Comment { keep, .. } => *keep,
            Self::Event(event) => matches!(event.body, EventBody::CommentsDeleted { .. }),
            _ => false,
        }
    }

    /// Whether it concerns every node, also those that do not hold the room: because they keep a copy of what changed, or
    /// hold the sockets of a user whom it concerns. Such entries travel on the control channel, all others on their
    /// room's.
    #[must_use]
    pub fn concerns_every_node(&self) -> bool {
        match self {
            Self::Comment { .. } | Self::Liked { .. } => false,
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

/// Where a record stands. Offsets rise within an epoch; a new epoch is a log that lost its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The life of the log.
    pub epoch: u32,
    /// The place in it, from 1.
    pub offset: u64,
}

/// A record with its room and its place.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The room whose order it belongs to.
    pub room_id: RoomId,
    /// Its place.
    pub position: Position,
    /// What happened.
    pub record: Record,
}

/// Why a record was not appended. Nothing was accepted then, and trying again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue before the log is full.
    #[error("the log takes no more records now")]
    Full,
    /// The log, or what makes it durable, is away.
    #[error("the log is away")]
    Away,
}

/// A run of entries in the log's order, handed to one consumer.
pub trait Delivery: Send {
    /// The entries.
    fn entries(&self) -> &[Entry];
    /// Says that they are handled: they will not be delivered to this group again.
    fn commit(self: Box<Self>);
}

/// One member of a named group of readers.
#[async_trait]
pub trait Consumer: Send {
    /// The next run of entries, or `None` when the log is closing. A run that was not committed
    /// before a crash is delivered again: consumers drop repeats by id.
    async fn next(&mut self) -> Option<Box<dyn Delivery>>;
}

/// Hears what became of a record: its place once it is durable, or why it was not appended. Called once, at most
/// from the log's own task, so it must not block. Whom it returns is woken when all records of the same run have
/// been answered: one wake-up a run, not one a record.
pub type Done = Box<dyn FnOnce(Result<Position, AppendError>) -> Option<Waker> + Send>;

/// A record on its way to the log.
pub struct Submission {
    /// The room whose order it belongs to.
    pub room_id: RoomId,
    /// What happened.
    pub record: Record,
    /// Hears what became of it.
    pub done: Done,
}

/// Answers a run of records, then wakes whoever is to be woken, each once.
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
/// - A record is answered when it is durable and has a place; entries of one room reach every
///   consumer in the order of their places. A failed append may be tried again with the same id.
/// - Within one process the in-process backend also waits until its consumers have committed the
///   entry, so that whoever reads after writing finds what it wrote.
/// - Never blocks the caller's thread.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends a run of records, in this order, to their rooms' orders, and answers each; on this thread when they
    /// cannot be taken. Whoever has several hands them over together, which wakes the log once. A log that dies
    /// drops `done` uncalled.
    fn submit(&self, run: Vec<Submission>);

    /// As [`Log::submit`] with one record, for callers that can wait.
    async fn append(&self, room_id: RoomId, record: Record) -> Result<Position, AppendError> {
        let (submission, answer) = awaited(room_id, record);
        self.submit(vec![submission]);
        answer.await.unwrap_or(Err(AppendError::Away))
    }

    /// As [`Log::append`] with several records of one room, handed over together; an error when one of them was not
    /// appended.
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

/// A record whose answer can be waited for.
fn awaited(room_id: RoomId, record: Record) -> (Submission, oneshot::Receiver<Result<Position, AppendError>>) {
    let (sender, answer) = oneshot::channel();
    let done = move |result| {
        // Whoever stopped waiting has no use for the answer.
        let _ = sender.send(result);
        None
    };
    (Submission { room_id, record, done: Box::new(done) }, answer)
}

//! Polls: pages of what was published after a cursor. Called by the HTTP API; never waits for comments itself.
//!
//! With one node the order of arrival is the same for all readers, and a page continues after the cursor. Among several
//! nodes a cursor says what its reader was given only if this node gave it: [`ReaderCursors`] remembers the last one of
//! each reader. Any other cursor may come from a node where comments arrived in another order. Then the page begins
//! `reread_ms` earlier, and readers drop known comments by id. Repeats count towards no limit and are not worth an answer
//! of their own: they come with the next answer, or at its deadline.

use std::collections::HashMap;
use std::sync::Arc;

use log::hlc;
use model::{Comment, Snowflake, UserId, WireError};
use parking_lot::Mutex;
use store::Positioned;

use crate::hub::Hub;
use crate::ring::{Ring, RingCursor};
use crate::room::{BEGINNING, Room};

/// Readers remembered, in two generations of half as many each.
const READERS_MAX: usize = 131_072;
/// Comments of one query to the store for repeats, and the most queries of one page.
const PAGE: usize = 1_024;
const PAGES_MAX: usize = 8;

/// A page for a polling reader.
#[derive(Debug, Clone)]
pub struct Page {
    /// Oldest first as they arrived; among several nodes some may be repeats.
    pub comments: Vec<Arc<Comment>>,
    /// Pass it as the next `since_id`. For a reader of some users' comments it may be another user's.
    pub latest_id: Snowflake,
    /// Whether something in it is new to the reader, and so worth an answer.
    pub has_new: bool,
}

/// One reader's poll, which may ask for its page repeatedly while it waits.
pub struct Poll<'a> {
    hub: &'a Hub,
    room: &'a Room,
    reader: Option<UserId>,
    /// The users whose comments it wants; all when absent.
    only: Option<Vec<UserId>>,
    /// Whether the reader moderates the room.
    moderates: bool,
    /// `None` without a `since_id`, or with one that nobody knows.
    cursor: Option<PollCursor>,
}

/// Where a reader continues.
#[derive(Debug, Clone, Copy)]
struct PollCursor {
    since: Snowflake,
    /// Its position.
    position: u64,
    /// The position after which the store is asked, where the ring does not reach back.
    reread_after: u64,
    start: RingCursor,
}

/// What a reader was given here with the last `latest_id`.
#[derive(Debug, Clone, Copy)]
enum Resume {
    /// Everything that had arrived by then; `position` is the cursor's.
    Arrival { arrival: u64, position: u64 },
    /// Everything up to this position, which is so old that nothing arrives before it any more.
    Position(u64),
}

impl Hub {
    /// Starts a poll for what was published after `since_id`, or for the newest comments without one. A `since_id` of 0
    /// starts at the beginning; an unknown one gets the newest comments, so that its reader continues. `reader` is the
    /// user who asks, if any; `only` are the users whose comments it wants.
    ///
    /// # Errors
    /// `unavailable` when the store has to be asked and is away.
    pub async fn poll<'a>(
        &'a self,
        room: &'a Room,
        since_id: Option<u64>,
        reader: Option<UserId>,
        only: Option<Vec<UserId>>,
    ) -> Result<Poll<'a>, WireError> {
        let cursor = match since_id {
            None => None,
            Some(id) => self.cursor(room, Snowflake(id), reader.as_ref()).await?,
        };
        Ok(Poll { hub: self, room, reader, moderates: false, only, cursor })
    }

    async fn cursor(
        &self,
        room: &Room,
        since: Snowflake,
        reader: Option<&UserId>,
    ) -> Result<Option<PollCursor>, WireError> {
        let given = reader.and_then(|reader| self.reader_cursors.resume(room, reader, since));
        if let Some(cursor) = room.ring(|ring| known(ring, since, given)) {
            return Ok(Some(cursor));
        }
        let stored = self.stored_position(room, since).await?;
        Ok(stored.map(|position| room.ring(|ring| positioned_cursor(ring, since, position))))
    }
}

fn known(ring: &Ring, since: Snowflake, given: Option<Resume>) -> Option<PollCursor> {
    match given {
        Some(Resume::Arrival { arrival, position }) => {
            let start = RingCursor::after_arrival(arrival);
            Some(PollCursor { since, position, reread_after: ring.reread_from(position), start })
        }
        Some(Resume::Position(position)) => {
            let start = RingCursor { floor: position, ..ring.start_at(position) };
            Some(PollCursor { since, position, reread_after: position, start })
        }
        None if since == BEGINNING => Some(positioned_cursor(ring, since, 0)),
        None => {
            let (start, position) = ring.start_after(since)?;
            Some(PollCursor { since, position, reread_after: ring.reread_from(position), start })
        }
    }
}

fn positioned_cursor(ring: &Ring, since: Snowflake, position: u64) -> PollCursor {
    PollCursor { since, position, reread_after: ring.reread_from(position), start: ring.start_at(position) }
}

/// A page, where its reader continues, and the position of its `latest_id`.
type Found = (Page, Option<Resume>, u64);

impl Poll<'_> {
    /// The page as it is now, with at most `limit` comments that are new to the reader.
    ///
    /// # Errors
    /// `unavailable` when the store has to be asked and is away.
    pub async fn page(&mut self, limit: usize) -> Result<Page, WireError> {
        let mut page = self.public_page(limit).await?;
        if self.moderates || self.reader.is_some() {
            self.add_shadows(&mut page, limit);
        }
        Ok(page)
    }

    /// The same poll of a reader who moderates the room, if so.
    #[must_use]
    pub fn moderating(self, moderates: bool) -> Self {
        Self { moderates, ..self }
    }

    /// Adds what this reader sees and others do not.
    fn add_shadows(&self, page: &mut Page, limit: usize) {
        let inner = self.room.inner.lock();
        let after = self.cursor.map_or(0, |cursor| cursor.position);
        let mut seen =
            inner.shadows.seen_by(self.reader.as_ref(), self.moderates).filter(|(at, _)| *at > after).peekable();
        if seen.peek().is_none() {
            return;
        }
        // A full page ends with its last comment: what follows that comes with the next one.
        let end = inner.ring.start_after(page.latest_id).map(|(_, position)| position);
        let full = self.cursor.is_some() && page.comments.len() >= limit;
        for (position, comment) in seen.filter(|(at, _)| !full || end.is_some_and(|end| *at < end)) {
            let at = page.comments.iter().rposition(|known| known.id < comment.id).map_or(0, |before| before + 1);
            page.comments.insert(at, comment.clone());
            page.has_new = true;
            if end.is_none_or(|end| *position > end) {
                page.latest_id = comment.id;
            }
        }
        if self.cursor.is_none() {
            page.comments.drain(..page.comments.len().saturating_sub(limit));
        }
    }

    async fn public_page(&mut self, limit: usize) -> Result<Page, WireError> {
        let Some(cursor) = self.cursor else {
            let (page, resume) = self.room.ring(|ring| self.newest(ring, limit));
            return Ok(self.record_given(page, resume));
        };
        let here = self.room.ring(|ring| ring.covers(&cursor.start).then(|| self.arrived(ring, cursor, limit)));
        let (page, resume, position) = match here {
            Some(found) => found,
            None => {
                let stored = self.stored(cursor, limit).await.map_err(|_| WireError::unavailable())?;
                // When the store has none, what the ring has was never stored, and the gap stays.
                let unkept = self.room.ring(|ring| self.arrived(ring, cursor, limit));
                if unkept.0.has_new && !stored.0.has_new { unkept } else { stored }
            }
        };
        if page.comments.is_empty() && page.latest_id != cursor.since {
            // Others' comments: the next look need not pass them again.
            let since = page.latest_id;
            self.cursor =
                Some(self.room.ring(|ring| {
                    known(ring, since, resume).unwrap_or_else(|| positioned_cursor(ring, since, position))
                }));
        }
        Ok(self.record_given(page, resume))
    }

    fn wants(&self, comment: &Comment) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&comment.user_id))
    }

    /// Remembers what the reader is given. A page of repeats only may never be sent, so it is not remembered.
    fn record_given(&self, page: Page, resume: Option<Resume>) -> Page {
        if let (Some(reader), Some(resume)) = (&self.reader, resume)
            && self.hub.context.settings.reread_ms > 0
            && (page.has_new || page.comments.is_empty())
        {
            self.hub.reader_cursors.remember(self.room, reader, page.latest_id, resume);
        }
        page
    }

    fn newest(&self, ring: &Ring, limit: usize) -> (Page, Option<Resume>) {
        let wanted = ring.comments().rev().filter(|comment| self.wants(comment)).take(limit);
        let mut comments: Vec<_> = wanted.cloned().collect();
        comments.reverse();
        let latest_id = ring.comments().next_back().map_or(BEGINNING, |comment| comment.id);
        let resume =
            ring.start_after(latest_id).map(|(start, position)| Resume::Arrival { arrival: start.arrival, position });
        (Page { has_new: !comments.is_empty(), comments, latest_id }, resume)
    }

    /// What the ring gives from a cursor on, in the order of arrival, up to the `limit`th that is new and wanted.
    fn arrived(&self, ring: &Ring, cursor: PollCursor, limit: usize) -> Found {
        let PollCursor { since, mut position, start, .. } = cursor;
        let (mut comments, mut latest_id, mut news, mut arrival) = (Vec::new(), since, 0, ring.arrived());
        for given in ring.after(start) {
            let wanted = self.wants(given.comment);
            if wanted {
                comments.push(given.comment.clone());
            }
            if given.is_new {
                (latest_id, position, news) = (given.comment.id, given.position, news + usize::from(wanted));
            }
            if news == limit {
                arrival = given.arrival;
                break;
            }
        }
        (Page { comments, latest_id, has_new: news > 0 }, Some(Resume::Arrival { arrival, position }), position)
    }

    async fn stored(&self, cursor: PollCursor, limit: usize) -> store::Result<Found> {
        let Stored { given, newest, more } = self.find(cursor, limit).await?;
        let reread_ms = self.hub.context.settings.reread_ms;
        let settled = hlc::at(self.hub.context.clock.now_ms() - reread_ms.cast_signed());
        let (latest_id, position) = newest.unwrap_or((cursor.since, cursor.position));
        let resume = newest.map(|_| Resume::Position(position)).filter(|_| position < settled);
        let has_new = more || given.last().is_some_and(|last| last.position > cursor.position);
        let comments = given.into_iter().map(|positioned| positioned.comment);
        let comments = comments.filter(|comment| comment.id != cursor.since).collect();
        Ok((Page { comments, latest_id, has_new }, resume, position))
    }

    /// What is stored after the position to begin at: all up to the cursor, and `limit` more.
    async fn find(&self, cursor: PollCursor, limit: usize) -> store::Result<Stored> {
        let (store, room_id) = (&self.hub.store, self.room.id());
        let (mut given, mut from): (Vec<Positioned>, _) = (Vec::new(), cursor.reread_after);
        for _ in 0..PAGES_MAX {
            if from >= cursor.position {
                break;
            }
            let some = store.comments_after(room_id, from, PAGE).await?;
            from = some.last().filter(|_| some.len() == PAGE).map_or(cursor.position, |last| last.position);
            given.extend(some.into_iter().take_while(|positioned| positioned.position <= cursor.position));
        }
        given.retain(|positioned| self.wants(&positioned.comment));
        let (mut newest, mut from, mut missing) = (None, cursor.position, limit);
        // Few may be of the wanted users: several pages are looked through, and the rest with the next request.
        let size = if self.only.is_some() { PAGE } else { limit };
        for _ in 0..PAGES_MAX {
            let some = store.comments_after(room_id, from, size).await?;
            let last = some.len() < size;
            for positioned in some {
                (newest, from) = (Some((positioned.comment.id, positioned.position)), positioned.position);
                if self.wants(&positioned.comment) {
                    given.push(positioned);
                    missing -= 1;
                }
                if missing == 0 {
                    break;
                }
            }
            if last || missing == 0 {
                return Ok(Stored { given, newest, more: false });
            }
        }
        Ok(Stored { given, newest, more: true })
    }
}

/// What the store has for a reader.
struct Stored {
    given: Vec<Positioned>,
    /// The newest comment looked at, wanted or not, and its position.
    newest: Option<(Snowflake, u64)>,
    /// Whether there are more that were not looked at.
    more: bool,
}

/// The last cursor that each reader was given here, by room. A forgotten one costs repeats, never a comment. All polls
/// of one user count as one reader, so concurrent ones are given repeats.
#[derive(Default)]
pub(crate) struct ReaderCursors(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    recent: HashMap<(u32, UserId), (Snowflake, Resume), ahash::RandomState>,
    /// Forgotten when `recent` is full.
    previous: HashMap<(u32, UserId), (Snowflake, Resume), ahash::RandomState>,
}

impl ReaderCursors {
    fn resume(&self, room: &Room, reader: &UserId, since: Snowflake) -> Option<Resume> {
        let (key, generations) = ((room.key(), reader.clone()), self.0.lock());
        let given = generations.recent.get(&key).or_else(|| generations.previous.get(&key));
        given.filter(|(latest, _)| *latest == since).map(|(_, resume)| *resume)
    }

    fn remember(&self, room: &Room, reader: &UserId, latest: Snowflake, resume: Resume) {
        let mut generations = self.0.lock();
        if generations.recent.len() >= READERS_MAX / 2 {
            generations.previous = std::mem::take(&mut generations.recent);
        }
        generations.recent.insert((room.key(), reader.clone()), (latest, resume));
    }
}

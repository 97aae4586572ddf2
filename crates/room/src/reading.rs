//! Polls: pages of what was published after a cursor.
//!
//! Where there is one node the order of arrival is the same for everybody, and a page goes on after the cursor. Among
//! several nodes a cursor says what its reader was given only if this node gave it: [`Readers`] remembers the last
//! one of each. Any other may come from a node where something had not arrived that arrived here before it, so the page
//! begins `reread_ms` earlier, and readers drop what they know by its id. Repeats count towards no limit, and nobody is
//! answered for their sake alone: they come with the next answer, or at its deadline.

use std::collections::HashMap;
use std::sync::Arc;

use bus::stamp;
use model::{Comment, Snowflake, UserId, WireError};
use parking_lot::Mutex;
use store::Placed;

use crate::held::{BEGINNING, HubRoom};
use crate::hub::Hub;
use crate::ring::{Ring, Start};

/// Readers remembered: the last and those before are half of it each.
const READERS_MAX: usize = 131_072;
/// Comments of one look into the store for repeats, and at most so many looks.
const LOOK: usize = 1_024;
const LOOKS_MAX: usize = 8;

/// A page for a polling reader.
#[derive(Debug, Clone)]
pub struct Page {
    /// Oldest first as they arrived; among several nodes some may be repeats.
    pub comments: Vec<Arc<Comment>>,
    /// Pass it as the next `since_id`.
    pub latest_id: Snowflake,
    /// Whether something in it is new to the reader, so that it is worth an answer.
    pub has_news: bool,
}

/// One reader's question, which may be asked again and again while it waits.
pub struct Poll<'a> {
    hub: &'a Hub,
    room: &'a HubRoom,
    reader: Option<UserId>,
    /// `None` without a `since_id`, or with one that nobody knows.
    cursor: Option<Cursor>,
}

/// Where a reader goes on.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    since: Snowflake,
    /// Its place.
    position: u64,
    /// From which place on the store is asked, where the ring does not reach back.
    again: u64,
    start: Start,
}

/// What a reader was given here with the last `latest_id`.
#[derive(Debug, Clone, Copy)]
enum Resume {
    /// Everything that had arrived by then. The place is the cursor's.
    Arrival { arrival: u64, position: u64 },
    /// Everything up to this place, which is so old that nothing comes before it any more.
    Position(u64),
}

impl Hub {
    /// A question for what was published after `since_id`, or for the newest comments. A `since_id` of 0 starts at the
    /// beginning; an unknown one gets the newest comments, so that a reader whose cursor is from elsewhere goes on
    /// rather than stops. `reader` is who asks, if anybody known.
    ///
    /// # Errors
    /// `unavailable` when the store has to be asked and is away.
    pub async fn poll<'a>(
        &'a self,
        room: &'a HubRoom,
        since_id: Option<u64>,
        reader: Option<UserId>,
    ) -> Result<Poll<'a>, WireError> {
        let cursor = match since_id {
            None => None,
            Some(id) => self.cursor(room, Snowflake(id), reader.as_ref()).await?,
        };
        Ok(Poll { hub: self, room, reader, cursor })
    }

    async fn cursor(
        &self,
        room: &HubRoom,
        since: Snowflake,
        reader: Option<&UserId>,
    ) -> Result<Option<Cursor>, WireError> {
        let given = reader.and_then(|reader| self.readers.resume(room, reader, since));
        if let Some(cursor) = room.ring(|ring| known(ring, since, given)) {
            return Ok(Some(cursor));
        }
        let stored = self.stored_place(room, since).await?;
        Ok(stored.map(|position| room.ring(|ring| placed(ring, since, position))))
    }
}

fn known(ring: &Ring, since: Snowflake, given: Option<Resume>) -> Option<Cursor> {
    match given {
        Some(Resume::Arrival { arrival, position }) => {
            let start = Start::after_arrival(arrival);
            Some(Cursor { since, position, again: ring.earlier(position), start })
        }
        Some(Resume::Position(position)) => {
            let start = Start { floor: position, ..ring.start_at(position) };
            Some(Cursor { since, position, again: position, start })
        }
        None if since == BEGINNING => Some(placed(ring, since, 0)),
        None => {
            let (start, position) = ring.start_after(since)?;
            Some(Cursor { since, position, again: ring.earlier(position), start })
        }
    }
}

fn placed(ring: &Ring, since: Snowflake, position: u64) -> Cursor {
    Cursor { since, position, again: ring.earlier(position), start: ring.start_at(position) }
}

impl Poll<'_> {
    /// The page as it is now, with at most `limit` comments that are new to the reader.
    ///
    /// # Errors
    /// `unavailable` when the store has to be asked and is away.
    pub async fn page(&self, limit: usize) -> Result<Page, WireError> {
        let Some(cursor) = self.cursor else {
            let (page, resume) = self.room.ring(|ring| newest(ring, limit));
            return Ok(self.give(page, resume));
        };
        let here = self.room.ring(|ring| ring.covers(&cursor.start).then(|| arrived(ring, cursor, limit)));
        if let Some((page, resume)) = here {
            return Ok(self.give(page, Some(resume)));
        }
        let (page, resume) = self.stored(cursor, limit).await.map_err(|_| WireError::unavailable())?;
        // When the store knows of none, what the ring has was never kept: the gap is all there is.
        match self.room.ring(|ring| arrived(ring, cursor, limit)) {
            (unkept, resume) if unkept.has_news && !page.has_news => Ok(self.give(unkept, Some(resume))),
            _ => Ok(self.give(page, resume)),
        }
    }

    /// Remembers what the reader is given. Repeats alone may be left ungiven, when the reader stops waiting.
    fn give(&self, page: Page, resume: Option<Resume>) -> Page {
        if let (Some(reader), Some(resume)) = (&self.reader, resume)
            && self.hub.shared.settings.reread_ms > 0
            && (page.has_news || page.comments.is_empty())
        {
            self.hub.readers.remember(self.room, reader, page.latest_id, resume);
        }
        page
    }

    async fn stored(&self, cursor: Cursor, limit: usize) -> store::Result<(Page, Option<Resume>)> {
        let found = self.find(cursor, limit).await?;
        let newest = found.last().filter(|last| last.position > cursor.position);
        let reread_ms = self.hub.shared.settings.reread_ms;
        let settled = stamp::at(self.hub.shared.clock.now_ms() - reread_ms.cast_signed());
        let resume = newest.map(|last| last.position).filter(|position| *position < settled);
        let latest_id = newest.map_or(cursor.since, |last| last.comment.id);
        let has_news = newest.is_some();
        let given = found.into_iter().map(|placed| placed.comment).filter(|comment| comment.id != cursor.since);
        Ok((Page { comments: given.collect(), latest_id, has_news }, resume.map(Resume::Position)))
    }

    /// What is stored after the place to begin at: all up to the cursor, and `limit` more.
    async fn find(&self, cursor: Cursor, limit: usize) -> store::Result<Vec<Placed>> {
        let (store, room_id) = (&self.hub.store, self.room.id());
        let (mut found, mut from): (Vec<Placed>, _) = (Vec::new(), cursor.again);
        for _ in 0..LOOKS_MAX {
            if from >= cursor.position {
                break;
            }
            let some = store.comments_after(room_id, from, LOOK).await?;
            from = some.last().filter(|_| some.len() == LOOK).map_or(cursor.position, |last| last.position);
            found.extend(some.into_iter().take_while(|placed| placed.position <= cursor.position));
        }
        found.extend(store.comments_after(room_id, cursor.position, limit).await?);
        Ok(found)
    }
}

fn newest(ring: &Ring, limit: usize) -> (Page, Option<Resume>) {
    let comments = ring.newest(limit);
    let latest_id = comments.last().map_or(BEGINNING, |comment| comment.id);
    let resume =
        ring.start_after(latest_id).map(|(start, position)| Resume::Arrival { arrival: start.arrival, position });
    (Page { has_news: !comments.is_empty(), comments, latest_id }, resume)
}

/// What the ring gives from a cursor on, in the order of arrival, up to the `limit`th that is new.
fn arrived(ring: &Ring, cursor: Cursor, limit: usize) -> (Page, Resume) {
    let Cursor { since, mut position, start, .. } = cursor;
    let (mut comments, mut latest_id, mut news, mut arrival) = (Vec::new(), since, 0, ring.arrived());
    for given in ring.after(start, 0) {
        comments.push(given.comment.clone());
        if given.is_new {
            (latest_id, position, news) = (given.comment.id, given.position, news + 1);
        }
        if news == limit {
            arrival = given.arrival;
            break;
        }
    }
    (Page { comments, latest_id, has_news: news > 0 }, Resume::Arrival { arrival, position })
}

/// The last cursor that each reader was given here, by room. What is forgotten costs repeats, never a comment. The
/// same user's polls count as one reader: one that another overtakes is given repeats.
#[derive(Default)]
pub(crate) struct Readers(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<(u32, UserId), (Snowflake, Resume), ahash::RandomState>,
    /// Forgotten when the young ones are as many as may be.
    old: HashMap<(u32, UserId), (Snowflake, Resume), ahash::RandomState>,
}

impl Readers {
    fn resume(&self, room: &HubRoom, reader: &UserId, since: Snowflake) -> Option<Resume> {
        let (key, generations) = ((room.key(), reader.clone()), self.0.lock());
        let given = generations.young.get(&key).or_else(|| generations.old.get(&key));
        given.filter(|(latest, _)| *latest == since).map(|(_, resume)| *resume)
    }

    fn remember(&self, room: &HubRoom, reader: &UserId, latest: Snowflake, resume: Resume) {
        let mut generations = self.0.lock();
        if generations.young.len() >= READERS_MAX / 2 {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert((room.key(), reader.clone()), (latest, resume));
    }
}

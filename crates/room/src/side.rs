//! What one node keeps of its part in a room's shared board: what it has yet to apply, and for some seconds what it has
//! applied, so that it can do so again when the board turns out to have lost it.
//!
//! Pure. Held by [`crate::shared`], which knows when to ask the board. The rules that make every comment count once are in
//! [`state::boards`].

use std::collections::VecDeque;

use ahash::AHashMap;
use model::{Lane, Snowflake};
use state::boards::{Change, Check, What};

/// How long what was applied is kept: longer than a follower of Redis that becomes its master may be behind.
pub(crate) const KEEP_MS: i64 = 5_000;
/// Changes kept of a room; beyond it the oldest goes, and a board that lacks it is filled from the store.
const KEPT_MAX: usize = 8_192;
/// Changes applied in one call, which then takes Redis some milliseconds.
const RUN_MAX: usize = 1_024;

#[derive(Default)]
pub(crate) struct Side {
    /// The latest session that anything was heard of.
    session: Option<Snowflake>,
    kept: VecDeque<Kept>,
    /// How many came before those kept.
    gone: u64,
    /// How many, of all that ever came, are applied.
    applied: u64,
    lanes: AHashMap<Lane, Mark>,
    /// The last attempt failed, or the board must be filled first: left to the task that tends the sides.
    pub(crate) failing: bool,
    /// The last moment at which the board said that it has everything.
    pub(crate) checked_ms: i64,
    pub(crate) touched_ms: i64,
}

struct Kept {
    at_ms: i64,
    change: Change,
}

/// Highest places of a lane's comments.
#[derive(Clone, Copy, Default)]
struct Mark {
    forgotten: u64,
    applied: u64,
}

/// What is to be applied next.
pub(crate) struct Next {
    pub(crate) session: Option<Snowflake>,
    pub(crate) checks: Vec<Check>,
    pub(crate) changes: Vec<Change>,
    /// How many will be applied then, of all that ever came.
    upto: u64,
    /// Nothing of this session was forgotten here.
    pub(crate) whole: bool,
}

impl Side {
    /// Takes a change in. One of an earlier session concerns nobody any more, the first of a later one ends the
    /// earlier.
    pub(crate) fn note(&mut self, session: Option<Snowflake>, change: Change, now_ms: i64) {
        if session.is_some() && session < self.session {
            return;
        }
        self.begin(session);
        self.kept.push_back(Kept { at_ms: now_ms, change });
        if self.kept.len() > KEPT_MAX {
            self.forget_oldest();
        }
    }

    /// A session is on: unless it is known, what was kept belongs to an earlier one.
    pub(crate) fn begin(&mut self, session: Option<Snowflake>) {
        if session > self.session {
            self.drop_all();
            self.session = session;
        }
    }

    pub(crate) fn drop_all(&mut self) {
        self.gone += self.kept.len() as u64;
        self.applied = self.gone;
        self.kept.clear();
        self.lanes.clear();
    }

    fn forget_oldest(&mut self) {
        let Some(Kept { change, .. }) = self.kept.pop_front() else { return };
        self.gone += 1;
        if let What::Said(_) = change.what {
            let mark = self.lanes.entry(change.lane).or_default();
            mark.forgotten = mark.forgotten.max(change.place);
        }
    }

    pub(crate) fn next(&self) -> Next {
        let fresh = self.applied.saturating_sub(self.gone) as usize;
        let changes: Vec<_> = self.kept.iter().skip(fresh).take(RUN_MAX).map(|kept| kept.change.clone()).collect();
        let mut lanes: Vec<_> =
            changes.iter().filter(|it| matches!(it.what, What::Said(_))).map(|it| it.lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        let checks = lanes.into_iter().filter_map(|lane| self.check(lane)).collect();
        let whole = self.lanes.values().all(|mark| mark.forgotten == 0);
        let upto = self.gone + (fresh + changes.len()) as u64;
        Next { session: self.session, checks, changes, upto, whole }
    }

    fn check(&self, lane: Lane) -> Option<Check> {
        let Mark { forgotten, applied } = *self.lanes.get(&lane)?;
        Some(Check { lane, forgotten, applied })
    }

    pub(crate) fn session(&self) -> Option<Snowflake> {
        self.session
    }

    /// What the board must have seen of everything that was applied.
    pub(crate) fn checks(&self) -> Vec<Check> {
        self.lanes.keys().filter_map(|lane| self.check(*lane)).collect()
    }

    /// The board has all of `next`. Says whether more is to be applied.
    pub(crate) fn done(&mut self, next: &Next) -> bool {
        if next.session != self.session {
            return true;
        }
        self.applied = self.applied.max(next.upto);
        for change in next.changes.iter().filter(|change| matches!(change.what, What::Said(_))) {
            let mark = self.lanes.entry(change.lane).or_default();
            mark.applied = mark.applied.max(change.place);
        }
        self.applied < self.gone + self.kept.len() as u64
    }

    /// All that is kept is to be applied again.
    pub(crate) fn again(&mut self) {
        self.applied = self.gone;
        self.lanes.values_mut().for_each(|mark| mark.applied = 0);
    }

    /// The board is about to be filled with what is stored, which has what was forgotten here.
    pub(crate) fn trust_the_store(&mut self) {
        self.lanes.values_mut().for_each(|mark| mark.forgotten = 0);
    }

    /// The board has everything: what was applied long ago need not be kept.
    pub(crate) fn checked(&mut self, now_ms: i64) {
        self.checked_ms = now_ms;
        while self.gone < self.applied && self.kept.front().is_some_and(|kept| now_ms - kept.at_ms >= KEEP_MS) {
            self.forget_oldest();
        }
    }

    /// Whether anything is to be applied or, after it was, to be looked after.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.kept.is_empty() && !self.failing
    }

    pub(crate) fn kept(&self) -> impl Iterator<Item = (Option<Snowflake>, &Change)> {
        self.kept.iter().map(|kept| (self.session, &kept.change))
    }
}

//! One node's changes to a room's shared leaderboard: those it has yet to apply, and for some seconds those it has applied, so
//! that it can apply them again when the leaderboard turns out to have lost them.
//!
//! Pure. [`crate::shared_leaderboard`] owns one for each room and decides when to ask the leaderboard. [`state::leaderboard`] has
//! the rules that make every comment count once.

use std::collections::VecDeque;

use ahash::AHashMap;
use model::{OrderingKey, Snowflake};
use state::leaderboard::{LeaderboardChange, LeaderboardEvent, SeenCheck};

/// How long an applied change is kept: longer than a Redis replica that becomes master may lag.
pub(crate) const KEEP_MS: i64 = 5_000;
/// Changes kept of a room. Beyond it the oldest goes, and a leaderboard that lacks it is filled from the store.
const KEPT_MAX: usize = 8_192;
/// Changes applied in one call, which takes Redis some milliseconds.
const RUN_MAX: usize = 1_024;

#[derive(Default)]
pub(crate) struct UnackedChanges {
    /// The latest session seen.
    session: Option<Snowflake>,
    kept: VecDeque<Kept>,
    /// Changes that were dropped from the front of `kept`.
    gone: u64,
    /// Changes applied, counted since the beginning.
    applied: u64,
    keys: AHashMap<OrderingKey, Mark>,
    /// The last attempt failed, or the leaderboard must be filled first: the repair task takes over.
    pub(crate) failing: bool,
    /// The last moment at which the leaderboard confirmed that it has everything.
    pub(crate) checked_ms: i64,
    pub(crate) touched_ms: i64,
}

struct Kept {
    at_ms: i64,
    change: LeaderboardChange,
}

/// Highest positions of an ordering key's comments.
#[derive(Clone, Copy, Default)]
struct Mark {
    forgotten: u64,
    applied: u64,
}

/// The next run to apply.
pub(crate) struct Next {
    pub(crate) session: Option<Snowflake>,
    pub(crate) checks: Vec<SeenCheck>,
    pub(crate) changes: Vec<LeaderboardChange>,
    /// What `applied` becomes once this run is applied.
    upto: u64,
    /// Nothing of this session was forgotten here.
    pub(crate) whole: bool,
}

impl UnackedChanges {
    /// Records a change. Ignores one of an earlier session; the first of a later session drops the earlier one's.
    pub(crate) fn note(&mut self, session: Option<Snowflake>, change: LeaderboardChange, now_ms: i64) {
        if session.is_some() && session < self.session {
            return;
        }
        self.begin(session);
        self.kept.push_back(Kept { at_ms: now_ms, change });
        if self.kept.len() > KEPT_MAX {
            self.forget_oldest();
        }
    }

    /// Starts a session. Changes of an earlier one are dropped.
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
        self.keys.clear();
    }

    fn forget_oldest(&mut self) {
        let Some(Kept { change, .. }) = self.kept.pop_front() else { return };
        self.gone += 1;
        if let LeaderboardEvent::Commented(_) = change.event {
            let mark = self.keys.entry(change.key).or_default();
            mark.forgotten = mark.forgotten.max(change.position);
        }
    }

    pub(crate) fn next(&self) -> Next {
        let fresh = self.applied.saturating_sub(self.gone) as usize;
        let changes: Vec<_> = self.kept.iter().skip(fresh).take(RUN_MAX).map(|kept| kept.change.clone()).collect();
        let mut keys: Vec<_> =
            changes.iter().filter(|it| matches!(it.event, LeaderboardEvent::Commented(_))).map(|it| it.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let checks = keys.into_iter().filter_map(|key| self.check(key)).collect();
        let whole = self.keys.values().all(|mark| mark.forgotten == 0);
        let upto = self.gone + (fresh + changes.len()) as u64;
        Next { session: self.session, checks, changes, upto, whole }
    }

    fn check(&self, key: OrderingKey) -> Option<SeenCheck> {
        let Mark { forgotten, applied } = *self.keys.get(&key)?;
        Some(SeenCheck { key, forgotten, applied })
    }

    pub(crate) fn session(&self) -> Option<Snowflake> {
        self.session
    }

    /// What the leaderboard must have seen, by ordering key.
    pub(crate) fn checks(&self) -> Vec<SeenCheck> {
        self.keys.keys().filter_map(|key| self.check(*key)).collect()
    }

    /// The leaderboard has all of `next`. Returns whether more remains to be applied.
    pub(crate) fn confirm(&mut self, next: &Next) -> bool {
        if next.session != self.session {
            return true;
        }
        self.applied = self.applied.max(next.upto);
        for change in next.changes.iter().filter(|change| matches!(change.event, LeaderboardEvent::Commented(_))) {
            let mark = self.keys.entry(change.key).or_default();
            mark.applied = mark.applied.max(change.position);
        }
        self.applied < self.gone + self.kept.len() as u64
    }

    /// Marks all kept changes as unapplied.
    pub(crate) fn reset(&mut self) {
        self.applied = self.gone;
        self.keys.values_mut().for_each(|mark| mark.applied = 0);
    }

    /// The leaderboard is about to be filled from the store, which has what was forgotten here.
    pub(crate) fn forget_gaps(&mut self) {
        self.keys.values_mut().for_each(|mark| mark.forgotten = 0);
    }

    /// The leaderboard has everything: drops changes that were applied more than [`KEEP_MS`] ago.
    pub(crate) fn checked(&mut self, now_ms: i64) {
        self.checked_ms = now_ms;
        while self.gone < self.applied && self.kept.front().is_some_and(|kept| now_ms - kept.at_ms >= KEEP_MS) {
            self.forget_oldest();
        }
    }

    /// Whether nothing is kept and the last attempt succeeded.
    pub(crate) fn is_idle(&self) -> bool {
        self.kept.is_empty() && !self.failing
    }

    pub(crate) fn kept(&self) -> impl Iterator<Item = (Option<Snowflake>, &LeaderboardChange)> {
        self.kept.iter().map(|kept| (self.session, &kept.change))
    }
}

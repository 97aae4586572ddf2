//! Whether a room is being raided: many newcomers at once, or many people who say nearly the same.
//!
//! Owns what one room's alarm remembers: the last seconds, and how many newcomers are usual. Called by `ingest`, off the
//! way of comments. It proposes; it never refuses anything. Bounded.

use std::collections::VecDeque;

use model::UserId;

use crate::recent::Shingles;

/// How far back an alarm looks, in milliseconds.
pub const WINDOW_MS: i64 = 10_000;
/// Comments of that time that are looked at; the oldest is forgotten first.
const WINDOW_MAX: usize = 256;
/// People who are new in the room, from which on they are a raid.
pub const NEWCOMERS_MIN: usize = 10;
/// People who say nearly the same.
pub const COPIERS_MIN: usize = 8;
/// From when on two texts are nearly the same.
const SIMILAR: f64 = 0.8;
/// Newcomers are a raid when there are so many times as many as usual.
const TIMES_USUAL: usize = 4;
/// Periods of [`WINDOW_MS`] that tell what is usual.
const PERIODS_MAX: usize = 30;
/// After an alarm there is no other of its kind for this long, in milliseconds.
pub const PAUSE_MS: i64 = 60_000;

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaidKind {
    /// Many people who never spoke here, or whose accounts are young.
    Newcomers,
    /// Many people who say nearly the same.
    Copies,
}

impl RaidKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newcomers => "newcomers",
            Self::Copies => "copies",
        }
    }
}

/// Something that looks like a raid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// What.
    pub kind: RaidKind,
    /// Comments of the last seconds that belong to it.
    pub comments: usize,
    /// People who wrote them.
    pub users: usize,
}

struct Seen {
    at_ms: i64,
    user: UserId,
    is_newcomer: bool,
    text: Option<Shingles>,
}

/// What one room's alarm remembers.
#[derive(Default)]
pub struct RaidWatch {
    window: VecDeque<Seen>,
    /// Newcomers of the period that runs, and of those before it.
    newcomers: usize,
    usual: VecDeque<usize>,
    period_began_ms: i64,
    newcomers_alarmed_ms: Option<i64>,
    copies_alarmed_ms: Option<i64>,
}

impl RaidWatch {
    /// When somebody last spoke, Unix milliseconds.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        self.window.back().map_or(0, |seen| seen.at_ms)
    }

    /// What is known of somebody who spoke in the last seconds: whether that is a newcomer.
    #[must_use]
    pub fn known(&self, user: &UserId) -> Option<bool> {
        self.window.iter().rev().find(|seen| seen.user == *user).map(|seen| seen.is_newcomer)
    }

    /// Takes a comment. Returns an alarm when it looks like a raid now.
    pub fn said(&mut self, at_ms: i64, user: UserId, is_newcomer: bool, content: &str) -> Option<Alarm> {
        self.advance(at_ms);
        if is_newcomer && self.known(&user).is_none() {
            self.newcomers += 1;
        }
        if self.window.len() >= WINDOW_MAX {
            self.window.pop_front();
        }
        self.window.push_back(Seen { at_ms, user, is_newcomer, text: Shingles::of(content) });
        if may_alarm(self.copies_alarmed_ms, at_ms)
            && let Some(alarm) = self.copies()
        {
            self.copies_alarmed_ms = Some(at_ms);
            return Some(alarm);
        }
        let alarm = self.many_newcomers().filter(|_| may_alarm(self.newcomers_alarmed_ms, at_ms))?;
        self.newcomers_alarmed_ms = Some(at_ms);
        Some(alarm)
    }

    fn advance(&mut self, at_ms: i64) {
        // Both ways: a clock may step back.
        while self.window.front().is_some_and(|seen| (at_ms - seen.at_ms).abs() > WINDOW_MS) {
            self.window.pop_front();
        }
        if self.period_began_ms == 0 || at_ms < self.period_began_ms {
            self.period_began_ms = at_ms;
        }
        let periods = (at_ms - self.period_began_ms) / WINDOW_MS;
        for n in 0..periods.min(PERIODS_MAX as i64) {
            self.usual.push_back(if n == 0 { std::mem::take(&mut self.newcomers) } else { 0 });
        }
        self.usual.drain(..self.usual.len().saturating_sub(PERIODS_MAX));
        self.period_began_ms += periods * WINDOW_MS;
    }

    /// The last comment's copies, if enough people say it.
    fn copies(&self) -> Option<Alarm> {
        let text = self.window.back()?.text.as_ref()?;
        let alike = |seen: &&Seen| seen.text.as_ref().is_some_and(|other| text.is_similar(other, SIMILAR));
        let alike: Vec<_> = self.window.iter().filter(alike).collect();
        let users = distinct(alike.iter().map(|seen| &seen.user));
        (users >= COPIERS_MIN).then_some(Alarm { kind: RaidKind::Copies, comments: alike.len(), users })
    }

    /// The newcomers, if they are many, at least half of those who speak, and many more than usual.
    fn many_newcomers(&self) -> Option<Alarm> {
        let new: Vec<_> = self.window.iter().filter(|seen| seen.is_newcomer).collect();
        if new.len() < NEWCOMERS_MIN {
            return None;
        }
        let (users, all) = (distinct(new.iter().map(|seen| &seen.user)), distinct(self.window.iter().map(|s| &s.user)));
        let usual = self.usual.iter().sum::<usize>() as f64 / self.usual.len().max(1) as f64;
        let many = users >= NEWCOMERS_MIN && users * 2 >= all && users as f64 >= usual * TIMES_USUAL as f64;
        many.then_some(Alarm { kind: RaidKind::Newcomers, comments: new.len(), users })
    }
}

/// Comments of one moment come in any order.
fn may_alarm(last_ms: Option<i64>, now_ms: i64) -> bool {
    last_ms.is_none_or(|last_ms| (now_ms - last_ms).abs() >= PAUSE_MS)
}

fn distinct<'a>(users: impl Iterator<Item = &'a UserId>) -> usize {
    users.collect::<std::collections::HashSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: usize) -> UserId {
        UserId::new(&format!("u{n}")).expect("an id")
    }

    /// Texts that are like no other.
    fn text(n: usize) -> String {
        ["what a goal that was", "the referee is blind", "first time here", "greetings from afar", "nice weather"]
            [n % 5]
            .chars()
            .rev()
            .chain(format!(" {}", n * 7_919).chars())
            .collect()
    }

    #[test]
    fn many_newcomers_at_once_are_a_raid_and_a_few_are_none() {
        let mut watch = RaidWatch::default();
        for n in 0..NEWCOMERS_MIN - 1 {
            assert_eq!(watch.said(1_000 + n as i64, user(n), true, &text(n)), None, "{n}");
            assert_eq!(watch.said(1_000 + n as i64, user(n), true, &text(n + 50)), None, "one person counts once");
        }
        let alarm = watch.said(2_000, user(99), true, &text(99)).expect("an alarm");
        assert_eq!((alarm.kind, alarm.users), (RaidKind::Newcomers, NEWCOMERS_MIN));
        assert_eq!(watch.said(2_001, user(98), true, &text(98)), None, "once a minute");
        assert_eq!(watch.said(1_990, user(97), true, &text(97)), None, "also for one that comes late");
        let mut later = None;
        for n in 100..100 + 4 * NEWCOMERS_MIN {
            later = later.or(watch.said(2_000 + PAUSE_MS, user(n), true, &text(n)));
        }
        assert!(later.is_some(), "it goes on");
    }

    #[test]
    fn newcomers_among_many_regulars_or_as_many_as_usual_are_none() {
        let mut watch = RaidWatch::default();
        for n in 0..100 {
            assert_eq!(watch.said(1_000 + n as i64, user(n), n % 3 == 0, &text(n)), None, "{n}");
        }
        let (mut popular, mut at_ms, mut alarms) = (RaidWatch::default(), 1_000, 0);
        for n in 0..300 {
            // Eight newcomers in every period, then fifteen in two.
            at_ms += WINDOW_MS / if n < 270 { 8 } else { 15 };
            alarms += usize::from(popular.said(at_ms, user(n), true, &text(n)).is_some());
        }
        assert_eq!(alarms, 0);
        // A clock that steps back leaves nothing of later moments in the window.
        for n in 300..309 {
            alarms += usize::from(popular.said(1_000 + n as i64, user(n), true, &text(n)).is_some());
        }
        assert_eq!(alarms, 0);
    }

    #[test]
    fn people_who_say_nearly_the_same_are_a_raid_and_applause_is_none() {
        let mut watch = RaidWatch::default();
        for n in 0..20 {
            assert_eq!(watch.said(1_000, user(n), false, "666"), None);
        }
        for n in 0..COPIERS_MIN - 1 {
            assert_eq!(watch.said(1_000, user(n), false, &format!("come to the other stream {n}!")), None);
        }
        let alarm = watch.said(1_000, user(50), false, "Come to the other stream!!").expect("an alarm");
        assert_eq!((alarm.kind, alarm.users), (RaidKind::Copies, COPIERS_MIN));
        let mut old = RaidWatch::default();
        for n in 0..20 {
            let at_ms = 1_000 + n as i64 * WINDOW_MS;
            assert_eq!(old.said(at_ms, user(n), false, "come to the other stream"), None, "not within the window");
        }
    }
}

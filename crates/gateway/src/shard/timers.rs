//! A timer wheel with ticks of one second: one entry of eight bytes per connection, however many deadlines it has.
//!
//! Owned by a shard, which schedules a connection for the earliest of its deadlines and checks again when the entry fires.
//! Moving a deadline back (any sign of life) costs nothing: the entry fires too early and is scheduled again. Knows no clock
//! and no connection.

use crate::conn::ConnToken;

/// Slots of the wheel. A deadline further away fires early, at the last slot, and is scheduled again.
const SLOTS: u32 = 128;

pub(crate) struct TimerWheel {
    slots: Vec<Vec<ConnToken>>,
    /// The last tick that fired.
    now: u32,
}

impl TimerWheel {
    pub fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), now: 0 }
    }

    /// Schedules a connection for tick `at`, or for the nearest possible one. Returns that tick.
    pub fn schedule(&mut self, at: u32, token: ConnToken) -> u32 {
        let at = at.clamp(self.now + 1, self.now + SLOTS - 1);
        if let Some(slot) = self.slots.get_mut((at % SLOTS) as usize) {
            slot.push(token);
        }
        at
    }

    /// Fires every tick up to `now`: appends each entry with its tick to `fired`, in the order of ticks.
    pub fn advance(&mut self, now: u32, fired: &mut Vec<(u32, ConnToken)>) {
        // After a long sleep of the machine one turn of the wheel empties it.
        let from = self.now.max(now.saturating_sub(SLOTS));
        for tick in from + 1..=now {
            if let Some(slot) = self.slots.get_mut((tick % SLOTS) as usize) {
                fired.extend(std::mem::take(slot).into_iter().map(|token| (tick, token)));
            }
        }
        self.now = self.now.max(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(index: u32) -> ConnToken {
        ConnToken { index, generation: index }
    }

    proptest! {
        /// Whatever the order of scheduling and waiting, an entry fires once, at the tick promised.
        #[test]
        fn every_entry_fires_once_and_on_time(steps in prop::collection::vec((0u32..300, 0u32..5), 1..200)) {
            let mut wheel = TimerWheel::new();
            let (mut now, mut promised, mut fired) = (0, Vec::new(), Vec::new());
            for (i, (ahead, wait)) in (0u32..).zip(steps) {
                promised.push((wheel.schedule(now + ahead, token(i)), token(i)));
                now += wait;
                wheel.advance(now, &mut fired);
                prop_assert!(fired.iter().all(|(tick, _)| *tick <= now));
                prop_assert!(promised.iter().filter(|(tick, _)| *tick <= now).count() == fired.len());
            }
            wheel.advance(now + SLOTS, &mut fired);
            promised.sort();
            fired.sort();
            prop_assert_eq!(promised, fired);
        }
    }

    #[test]
    fn a_jump_of_hours_fires_everything_once() {
        let (mut wheel, mut fired) = (TimerWheel::new(), Vec::new());
        wheel.schedule(5, token(1));
        wheel.schedule(100, token(2));
        wheel.advance(10_000, &mut fired);
        assert_eq!(fired.iter().map(|(_, token)| token.index).collect::<Vec<_>>().len(), 2);
        wheel.schedule(10_003, token(3));
        wheel.advance(10_003, &mut fired);
        assert_eq!(fired.last(), Some(&(10_003, token(3))));
    }
}

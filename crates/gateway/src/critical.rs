//! Critical events whose receipt is owed: repeated after 2, 4, 8, 16 and 32 s, then given up.
//!
//! Owned by a shard; one entry and one timer per event, whatever the number of viewers, who are a set
//! of seats. Time is passed in. Never writes: the shard sends what [`Critical::due`] returns.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::{HashMap, HashSet};
use model::Snowflake;
use room::batch::EventFrame;

use crate::timers::Seat;

/// How long after each sending the next follows, in milliseconds. After the last wait it is given up.
const WAITS_MS: [u64; 6] = [2_000, 4_000, 8_000, 16_000, 32_000, 32_000];

struct Pending {
    frame: Arc<EventFrame>,
    /// The store waits for the receipt too (an event for certain users).
    stored: bool,
    owing: HashSet<Seat>,
    repeats: usize,
    due_ms: u64,
}

/// An event to be sent again.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub frame: Arc<EventFrame>,
    pub seats: Vec<Seat>,
}

/// What [`Critical::due`] found.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub repeats: Vec<Repeat>,
    /// Receipts that will not be waited for any longer.
    pub given_up: u64,
}

#[derive(Default)]
pub(crate) struct Critical {
    pending: HashMap<Snowflake, Pending>,
    due: BTreeSet<(u64, Snowflake)>,
}

impl Critical {
    /// Remembers that `seats` were sent the event just now. Whoever is sent an event that is waited
    /// for already starts its repeats anew.
    pub fn sent(&mut self, frame: &Arc<EventFrame>, stored: bool, seats: impl Iterator<Item = Seat>, now_ms: u64) {
        let id = frame.event.id;
        let mut seats = seats.peekable();
        if seats.peek().is_none() {
            return;
        }
        let due_ms = now_ms + WAITS_MS[0];
        let pending = self.pending.entry(id).or_insert_with(|| Pending {
            frame: frame.clone(),
            stored,
            owing: HashSet::default(),
            repeats: 0,
            due_ms,
        });
        self.due.remove(&(pending.due_ms, id));
        (pending.repeats, pending.due_ms) = (0, due_ms);
        pending.owing.extend(seats);
        self.due.insert((due_ms, id));
    }

    /// A receipt from some seats. False when the event is one only the seat owed it for; true when the
    /// store may be waiting for it as well: it is stored, or not known here any more.
    pub fn acknowledge(&mut self, id: Snowflake, seats: impl Iterator<Item = Seat>) -> bool {
        let Some(pending) = self.pending.get_mut(&id) else { return true };
        for seat in seats {
            pending.owing.remove(&seat);
        }
        let stored = pending.stored;
        if pending.owing.is_empty() {
            self.due.remove(&(pending.due_ms, id));
            self.pending.remove(&id);
        }
        stored
    }

    /// When something is next to be sent again.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// What is to be sent again by now. Seats that are not `alive` any more owe nothing.
    pub fn due(&mut self, now_ms: u64, alive: impl Fn(Seat) -> bool) -> Due {
        let mut found = Due::default();
        while let Some(&(due_ms, id)) = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms) {
            self.due.remove(&(due_ms, id));
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.owing.retain(|seat| alive(*seat));
            pending.repeats += 1;
            match WAITS_MS.get(pending.repeats) {
                Some(wait_ms) if !pending.owing.is_empty() => {
                    pending.due_ms = now_ms + wait_ms;
                    self.due.insert((pending.due_ms, id));
                    let seats = pending.owing.iter().copied().collect();
                    found.repeats.push(Repeat { frame: pending.frame.clone(), seats });
                }
                _ => {
                    found.given_up += pending.owing.len() as u64;
                    self.pending.remove(&id);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use model::{Audience, Event, EventBody, RoomId};

    use super::*;

    const EVENT: Snowflake = Snowflake(7);

    fn seat(index: u32) -> Seat {
        Seat { index, generation: 1 }
    }

    fn frame() -> Arc<EventFrame> {
        Arc::new(EventFrame::new(Arc::new(Event {
            id: EVENT,
            room_id: RoomId::new("r").expect("an id"),
            audience: Audience::Everyone,
            critical_for: Audience::Everyone,
            at_ms: 0,
            body: EventBody::Announcement { content: "hear".into() },
        })))
    }

    fn sent(seats: &[u32]) -> Critical {
        let mut critical = Critical::default();
        critical.sent(&frame(), false, seats.iter().map(|i| seat(*i)), 0);
        critical
    }

    /// Seconds at which the event is repeated to anybody, and how many receipts are given up.
    fn play(critical: &mut Critical, until_s: u64) -> (Vec<u64>, u64) {
        let (mut times, mut given_up) = (Vec::new(), 0);
        for second in 0..=until_s {
            let due = critical.due(second * 1_000, |_| true);
            times.extend(due.repeats.iter().map(|_| second));
            given_up += due.given_up;
        }
        (times, given_up)
    }

    #[test]
    fn an_unacknowledged_event_is_repeated_five_times_then_given_up() {
        assert_eq!(play(&mut sent(&[1, 2]), 200), (vec![2, 6, 14, 30, 62], 2));
    }

    #[test]
    fn a_receipt_ends_the_repeats_for_its_sender_only() {
        let mut critical = sent(&[1, 2]);
        assert!(!critical.acknowledge(EVENT, std::iter::once(seat(1))));
        let due = critical.due(2_000, |_| true);
        assert_eq!(due.repeats[0].seats, [seat(2)]);
        critical.acknowledge(EVENT, std::iter::once(seat(2)));
        assert_eq!(play(&mut critical, 200), (vec![], 0));
        assert_eq!(critical.next_due_ms(), None);
    }

    #[test]
    fn whoever_left_owes_nothing() {
        let mut critical = sent(&[1, 2]);
        let due = critical.due(2_000, |s| s == seat(2));
        assert_eq!(due.repeats[0].seats, [seat(2)]);
        let due = critical.due(6_000, |_| false);
        assert_eq!((due.repeats.len(), due.given_up), (0, 0));
        assert_eq!(critical.next_due_ms(), None);
    }

    #[test]
    fn a_receipt_for_something_unknown_is_for_the_store() {
        assert!(Critical::default().acknowledge(EVENT, std::iter::once(seat(1))));
    }
}

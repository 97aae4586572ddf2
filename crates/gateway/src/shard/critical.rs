//! CriticalEvents events that wait for receipts: repeated after 2, 4, 8, 16 and 32 s, then given up.
//!
//! Owned by a shard. One entry and one timer per event, whatever the number of viewers, which are a set of connections. Time
//! is passed in. Never writes: the shard sends what [`CriticalEvents::due`] returns.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::{HashMap, HashSet};
use hub::batch::SharedEvent;
use model::Snowflake;

use crate::conn::ConnToken;
use crate::handover::{ParkedEvent, ParkedReceipt};

/// The wait after each sending, in milliseconds. After the last wait the event is given up.
const WAITS_MS: [u64; 6] = [2_000, 4_000, 8_000, 16_000, 32_000, 32_000];

struct Pending {
    event: Arc<SharedEvent>,
    /// The store waits for the receipt too (an event for certain users).
    stored: bool,
    unacknowledged: HashSet<ConnToken>,
    repeats: usize,
    due_ms: u64,
}

/// An event to send again.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub event: Arc<SharedEvent>,
    pub tokens: Vec<ConnToken>,
}

/// The result of [`CriticalEvents::due`].
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub repeats: Vec<Repeat>,
    /// The number of receipts given up.
    pub given_up: u64,
}

#[derive(Default)]
pub(crate) struct CriticalEvents {
    pending: HashMap<Snowflake, Pending>,
    due: BTreeSet<(u64, Snowflake)>,
}

impl CriticalEvents {
    /// Remembers that the event was sent to these connections just now. Sending an event that waits already restarts its
    /// repeats.
    pub fn sent(&mut self, event: &Arc<SharedEvent>, stored: bool, to: impl Iterator<Item = ConnToken>, now_ms: u64) {
        let id = event.event.id;
        let mut to = to.peekable();
        if to.peek().is_none() {
            return;
        }
        let due_ms = now_ms + WAITS_MS[0];
        let pending = self.pending.entry(id).or_insert_with(|| Pending {
            event: event.clone(),
            stored,
            unacknowledged: HashSet::default(),
            repeats: 0,
            due_ms,
        });
        self.due.remove(&(pending.due_ms, id));
        (pending.repeats, pending.due_ms) = (0, due_ms);
        pending.unacknowledged.extend(to);
        self.due.insert((due_ms, id));
    }

    /// The events that wait, and what each connection has not acknowledged.
    pub fn park(&mut self, now_ms: u64) -> (Vec<ParkedEvent>, HashMap<ConnToken, Vec<ParkedReceipt>>) {
        let mut receipts: HashMap<_, Vec<_>> = HashMap::default();
        let pending = std::mem::take(&mut self.pending).into_values();
        let events = pending.map(|Pending { event, stored, unacknowledged, repeats, due_ms }| {
            let receipt = ParkedReceipt { event: event.event.id, repeats, due_in_ms: due_ms.saturating_sub(now_ms) };
            for token in unacknowledged {
                receipts.entry(token).or_default().push(receipt);
            }
            ParkedEvent { event: event.event.clone(), stored }
        });
        (events.collect(), receipts)
    }

    /// Waits for a receipt that another process waited for.
    pub fn unpark(
        &mut self,
        event: &Arc<SharedEvent>,
        stored: bool,
        from: ConnToken,
        receipt: ParkedReceipt,
        now_ms: u64,
    ) {
        let ParkedReceipt { repeats, due_in_ms, .. } = receipt;
        let pending = self.pending.entry(receipt.event).or_insert_with(|| Pending {
            event: event.clone(),
            stored,
            unacknowledged: HashSet::default(),
            repeats,
            due_ms: now_ms + due_in_ms,
        });
        pending.unacknowledged.insert(from);
        self.due.insert((pending.due_ms, receipt.event));
    }

    /// Notes a receipt from some connections. False when only these connections had to acknowledge it. True when the store
    /// may wait for it as well: it is stored, or not known here any more.
    pub fn acknowledge(&mut self, id: Snowflake, from: impl Iterator<Item = ConnToken>) -> bool {
        let Some(pending) = self.pending.get_mut(&id) else { return true };
        for token in from {
            pending.unacknowledged.remove(&token);
        }
        let stored = pending.stored;
        if pending.unacknowledged.is_empty() {
            self.due.remove(&(pending.due_ms, id));
            self.pending.remove(&id);
        }
        stored
    }

    /// When the next repeat is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// The repeats that are due. Connections that are not `alive` any more need not acknowledge.
    pub fn due(&mut self, now_ms: u64, alive: impl Fn(ConnToken) -> bool) -> Due {
        let mut found = Due::default();
        while let Some(&(due_ms, id)) = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms) {
            self.due.remove(&(due_ms, id));
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.unacknowledged.retain(|token| alive(*token));
            pending.repeats += 1;
            match WAITS_MS.get(pending.repeats) {
                Some(wait_ms) if !pending.unacknowledged.is_empty() => {
                    pending.due_ms = now_ms + wait_ms;
                    self.due.insert((pending.due_ms, id));
                    let tokens = pending.unacknowledged.iter().copied().collect();
                    found.repeats.push(Repeat { event: pending.event.clone(), tokens });
                }
                _ => {
                    found.given_up += pending.unacknowledged.len() as u64;
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

    fn token(index: u32) -> ConnToken {
        ConnToken { index, generation: 1 }
    }

    fn event() -> Arc<SharedEvent> {
        Arc::new(SharedEvent::new(Arc::new(Event {
            id: EVENT,
            room_id: RoomId::new("r").expect("an id"),
            audience: Audience::Everyone,
            critical_for: Audience::Everyone,
            at_ms: 0,
            body: EventBody::Announcement { content: "hear".into() },
        })))
    }

    fn sent(indices: &[u32]) -> CriticalEvents {
        let mut critical = CriticalEvents::default();
        critical.sent(&event(), false, indices.iter().map(|i| token(*i)), 0);
        critical
    }

    /// Seconds at which the event is repeated, and how many receipts are given up.
    fn play(critical: &mut CriticalEvents, until_s: u64) -> (Vec<u64>, u64) {
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
        assert!(!critical.acknowledge(EVENT, std::iter::once(token(1))));
        let due = critical.due(2_000, |_| true);
        assert_eq!(due.repeats[0].tokens, [token(2)]);
        critical.acknowledge(EVENT, std::iter::once(token(2)));
        assert_eq!(play(&mut critical, 200), (vec![], 0));
        assert_eq!(critical.next_due_ms(), None);
    }

    #[test]
    fn who_left_need_not_acknowledge() {
        let mut critical = sent(&[1, 2]);
        let due = critical.due(2_000, |s| s == token(2));
        assert_eq!(due.repeats[0].tokens, [token(2)]);
        let due = critical.due(6_000, |_| false);
        assert_eq!((due.repeats.len(), due.given_up), (0, 0));
        assert_eq!(critical.next_due_ms(), None);
    }

    #[test]
    fn a_receipt_for_something_unknown_is_for_the_store() {
        assert!(CriticalEvents::default().acknowledge(EVENT, std::iter::once(token(1))));
    }
}

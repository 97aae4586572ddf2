//! Who reads what in one shard: the members of each room's streams, as lists of seats.
//!
//! Owned by a shard. Adding and removing cost O(1): a member knows its place in its list, and the
//! last of the list takes the place of whoever leaves. Never touches a socket.

use std::sync::Arc;

use ahash::HashMap;
use protocol::handshake::Form;
use room::HubRoom;
use room::hub::StreamId;

/// Which list: viewers of one stream who read in one form are written the same bytes.
pub(crate) type ListKey = (StreamId, Form);

/// The lists of one room.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    lists: HashMap<ListKey, Vec<u32>>,
}

impl Roster {
    /// Adds a seat; returns its place in the list.
    pub fn add(&mut self, key: ListKey, seat: u32) -> u32 {
        let list = self.lists.entry(key).or_default();
        list.push(seat);
        (list.len() - 1) as u32 // Seats are u32 themselves.
    }

    /// Removes the seat at `place`; returns the seat that has this place now, if any.
    pub fn remove(&mut self, key: ListKey, place: u32) -> Option<u32> {
        let list = self.lists.get_mut(&key)?;
        let place = place as usize;
        if place < list.len() {
            list.swap_remove(place);
        }
        let moved = list.get(place).copied();
        if list.is_empty() {
            self.lists.remove(&key);
        }
        moved
    }

    /// Every list with its seats.
    pub fn lists(&self) -> impl Iterator<Item = (ListKey, &[u32])> {
        self.lists.iter().map(|(key, list)| (*key, list.as_slice()))
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}

/// A room with members in this shard.
#[derive(Debug)]
pub(crate) struct ShardRoom {
    pub room: Arc<HubRoom>,
    pub roster: Roster,
    /// Comments the stream will tell as omitted though this seat has had them, or never was owed them.
    pub credits: HashMap<u32, u64>,
}

impl ShardRoom {
    pub fn new(room: Arc<HubRoom>) -> Self {
        Self { room, roster: Roster::default(), credits: HashMap::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::handshake::SubProtocol;

    use super::*;

    const JSON: Form = Form::plain(SubProtocol::Json);
    const KEYS: [ListKey; 3] =
        [(StreamId(1), JSON), (StreamId(1), Form { deflated: true, ..JSON }), (StreamId(2), JSON)];

    proptest! {
        /// Against a plain map: after any joins and leaves the lists hold the same seats, and every
        /// seat's remembered place is right.
        #[test]
        fn places_stay_true(steps in prop::collection::vec((0u32..20, 0usize..3), 1..300)) {
            let mut roster = Roster::default();
            let mut places: std::collections::BTreeMap<u32, (usize, u32)> = Default::default();
            for (seat, key) in steps {
                if let Some((key, place)) = places.remove(&seat) {
                    if let Some(moved) = roster.remove(KEYS[key], place) {
                        places.get_mut(&moved).expect("a member").1 = place;
                    }
                } else {
                    places.insert(seat, (key, roster.add(KEYS[key], seat)));
                }
                let listed: usize = roster.lists().map(|(_, seats)| seats.len()).sum();
                prop_assert_eq!(listed, places.len());
                for (seat, (key, place)) in &places {
                    let list = roster.lists().find(|(k, _)| *k == KEYS[*key]).expect("a list").1;
                    prop_assert_eq!(list[*place as usize], *seat);
                }
            }
            prop_assert_eq!(roster.is_empty(), places.is_empty());
        }
    }
}

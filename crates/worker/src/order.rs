//! In which order a worker pushes what it has: important rooms first, each room in its own order.
//!
//! Called by the worker with all the runs that wait for it. Holds nothing.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map;

use log::Entry;
use model::RoomId;

/// The entries of each room: of rooms with the highest priority first, of equal ones those that came first.
#[must_use]
pub fn by_room<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    priority: impl Fn(&RoomId) -> i32,
) -> Vec<(RoomId, Vec<Entry>)> {
    let mut rooms: Vec<(RoomId, Vec<Entry>)> = Vec::new();
    let mut places: HashMap<RoomId, usize> = HashMap::new();
    for entry in entries {
        match places.entry(entry.room_id.clone()) {
            hash_map::Entry::Occupied(place) => rooms[*place.get()].1.push(entry.clone()),
            hash_map::Entry::Vacant(place) => {
                rooms.push((place.key().clone(), vec![entry.clone()]));
                place.insert(rooms.len() - 1);
            }
        }
    }
    rooms.sort_by_cached_key(|(room, _)| Reverse(priority(room)));
    rooms
}

#[cfg(test)]
mod tests {
    use log::{Position, Record};
    use proptest::prelude::*;

    use super::*;

    fn room(n: usize) -> RoomId {
        RoomId::new(&format!("room-{n}")).expect("an id")
    }

    proptest! {
        #[test]
        fn important_rooms_come_first_and_each_keeps_its_order(
            rooms in prop::collection::vec(0..8usize, 0..200),
            priorities in prop::collection::vec(-100..=100i32, 8),
        ) {
            let entry = |(offset, n): (usize, &usize)| Entry {
                room_id: room(*n),
                position: Position { epoch: 1, offset: offset as u64 },
                record: Record::Changed(log::Change::Room),
            };
            let entries: Vec<_> = rooms.iter().enumerate().map(entry).collect();
            let priority = |id: &RoomId| (0..8).find(|n| room(*n) == *id).map_or(0, |n| priorities[n]);
            let ordered = by_room(&entries, priority);

            let offsets = |entries: &[Entry]| entries.iter().map(|entry| entry.position.offset).collect::<Vec<_>>();
            for (id, own) in &ordered {
                let given = entries.iter().filter(|entry| entry.room_id == *id).cloned().collect::<Vec<_>>();
                prop_assert_eq!(offsets(own), offsets(&given));
            }
            prop_assert_eq!(ordered.iter().map(|(_, own)| own.len()).sum::<usize>(), entries.len());
            for pair in ordered.windows(2) {
                let (before, after) = (priority(&pair[0].0), priority(&pair[1].0));
                let first = |own: &[Entry]| own.first().map(|entry| entry.position.offset);
                prop_assert!(before > after || (before == after && first(&pair[0].1) < first(&pair[1].1)));
            }
        }
    }
}

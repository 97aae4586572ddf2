//! The members of each room's streams in one shard, as lists of slots.
//!
//! Owned by a shard. Adding and removing cost O(1): a member knows its index in its list, and the last of the list moves to
//! the index of a member that leaves. Never touches a socket.

use std::sync::Arc;

use ahash::HashMap;
use hub::batch::Credit;
use hub::{Room, StreamId};
use protocol::handshake::Form;

/// The key of a list: members of one stream that read in one form are sent the same bytes.
pub(crate) type ListKey = (StreamId, Form);

/// The member lists of one room.
#[derive(Debug, Default)]
pub(crate) struct Members {
    lists: HashMap<ListKey, Vec<u32>>,
}

impl Members {
    /// Adds a slot; returns its index in the list.
    pub fn add(&mut self, key: ListKey, slot: u32) -> u32 {
        let list = self.lists.entry(key).or_default();
        list.push(slot);
        (list.len() - 1) as u32 // Slots are u32 themselves.
    }

    /// Removes the slot at `list_index`; returns the slot that has this index now, if any.
    pub fn remove(&mut self, key: ListKey, list_index: u32) -> Option<u32> {
        let list = self.lists.get_mut(&key)?;
        let list_index = list_index as usize;
        if list_index < list.len() {
            list.swap_remove(list_index);
        }
        let moved = list.get(list_index).copied();
        if list.is_empty() {
            self.lists.remove(&key);
        }
        moved
    }

    /// Every list with its slots.
    pub fn lists(&self) -> impl Iterator<Item = (ListKey, &[u32])> {
        self.lists.iter().map(|(key, list)| (*key, list.as_slice()))
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}

/// A room with members in this shard.
#[derive(Debug)]
pub(crate) struct ShardRoom {
    pub room: Arc<Room>,
    pub members: Members,
    /// What of the next batches some slots are not given, because they have joined since the last one.
    pub credits: HashMap<u32, Credit>,
}

impl ShardRoom {
    pub fn new(room: Arc<Room>) -> Self {
        Self { room, members: Members::default(), credits: HashMap::default() }
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
        /// Against a plain map: after any joins and leaves the lists hold the same slots, and every slot's remembered index
        /// is right.
        #[test]
        fn indices_stay_true(steps in prop::collection::vec((0u32..20, 0usize..3), 1..300)) {
            let mut members = Members::default();
            let mut indices: std::collections::BTreeMap<u32, (usize, u32)> = Default::default();
            for (slot, key) in steps {
                if let Some((key, index)) = indices.remove(&slot) {
                    if let Some(moved) = members.remove(KEYS[key], index) {
                        indices.get_mut(&moved).expect("a member").1 = index;
                    }
                } else {
                    indices.insert(slot, (key, members.add(KEYS[key], slot)));
                }
                let listed: usize = members.lists().map(|(_, slots)| slots.len()).sum();
                prop_assert_eq!(listed, indices.len());
                for (slot, (key, index)) in &indices {
                    let list = members.lists().find(|(k, _)| *k == KEYS[*key]).expect("a list").1;
                    prop_assert_eq!(list[*index as usize], *slot);
                }
            }
            prop_assert_eq!(members.is_empty(), indices.is_empty());
        }
    }
}

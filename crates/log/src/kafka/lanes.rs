//! Records on their way to the brokers, lane by lane.
//!
//! A lane is a partition. Its records go in batches, one at a time: what comes while a batch is under way is the next one, so
//! batches grow with the load and an idle lane delays nothing. Pure; used by [`super::KafkaLog`] alone.

use std::collections::VecDeque;

use super::append::Owed;

/// Records of one batch.
pub(super) const BATCH_MAX: usize = 2_048;
/// Bytes of one batch, unless a single record has more: brokers take messages of a megabyte by default.
pub(super) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A record that has its position and its bytes.
pub(super) struct Ready {
    /// The room, or `room#shard`.
    pub(super) key: String,
    pub(super) bytes: Vec<u8>,
    pub(super) owed: Owed,
}

/// What waits, by partition.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Lanes with records and no batch under way.
    ready: VecDeque<u32>,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Ready>,
    is_busy: bool,
}

impl Lanes {
    /// Adds a record to the lane of its key. The topic has so many partitions; more than before move rooms.
    pub(super) fn add(&mut self, record: Ready, partitions: u32) {
        let at = partition_of(record.key.as_bytes(), partitions);
        if self.lanes.len() <= at as usize {
            self.lanes.resize_with(at as usize + 1, Lane::default);
        }
        let Some(lane) = self.lanes.get_mut(at as usize) else { return };
        if lane.waiting.is_empty() && !lane.is_busy {
            self.ready.push_back(at);
        }
        lane.waiting.push_back(record);
    }

    /// The next batch that may go, with its partition; its lane is busy from now on.
    pub(super) fn next(&mut self) -> Option<(u32, Vec<Ready>)> {
        let at = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(at as usize)?;
        lane.is_busy = true;
        let (mut count, mut bytes) = (0, 0);
        for record in lane.waiting.iter().take(BATCH_MAX) {
            bytes += record.bytes.len();
            if count > 0 && bytes > BATCH_BYTES_MAX {
                break;
            }
            count += 1;
        }
        Some((at, lane.waiting.drain(..count).collect()))
    }

    /// A lane's batch was answered. Returns what waited there if it is not to be sent: the batch found no broker, and each
    /// further one would wait as long.
    pub(super) fn free(&mut self, at: u32, found_no_broker: bool) -> VecDeque<Ready> {
        let Some(lane) = self.lanes.get_mut(at as usize) else { return VecDeque::new() };
        lane.is_busy = false;
        if found_no_broker {
            return std::mem::take(&mut lane.waiting);
        }
        if !lane.waiting.is_empty() {
            self.ready.push_back(at);
        }
        VecDeque::new()
    }
}

/// The partition of a key, as Kafka's own clients choose it, so that others who write by key meet the same partitions.
pub(super) fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// MurmurHash2 (Austin Appleby) with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::port::Position;

    fn ready(key: &str, n: u64, bytes: usize) -> Ready {
        let owed =
            Owed { done: Box::new(|_| None), position: Position { epoch: 1, offset: n }, started: Instant::now() };
        Ready { key: key.into(), bytes: vec![0; bytes], owed }
    }

    #[test]
    fn keys_hash_as_kafka_s_own_clients_do() {
        // From the tests of Kafka's Java client.
        let known: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add { room: usize, bytes: usize },
        Send,
        Answer { found_no_broker: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let add = (0..9usize, prop_oneof![9 => 1..200usize, 1 => Just(BATCH_BYTES_MAX)]);
        let answer = prop::bool::weighted(0.1).prop_map(|found_no_broker| Step::Answer { found_no_broker });
        let add = add.prop_map(|(room, bytes)| Step::Add { room, bytes });
        prop::collection::vec(prop_oneof![4 => add, 2 => Just(Step::Send), 2 => answer], 1..300)
    }

    proptest! {
        #[test]
        fn each_room_keeps_its_order_each_lane_has_one_batch_and_nothing_is_left(steps in steps()) {
            let (mut lanes, mut under_way) = (Lanes::default(), VecDeque::new());
            let (mut added, mut gone) = (0, HashMap::<String, Vec<u64>>::new());
            let note = |gone: &mut HashMap<String, Vec<u64>>, record: Ready| {
                gone.entry(record.key).or_default().push(record.owed.position.offset);
            };
            let send = |lanes: &mut Lanes, under_way: &mut VecDeque<u32>, gone: &mut _| -> Result<bool, TestCaseError> {
                let Some((at, batch)) = lanes.next() else { return Ok(false) };
                prop_assert!(!under_way.contains(&at), "one batch in a lane");
                let bytes: usize = batch.iter().map(|record| record.bytes.len()).sum();
                prop_assert!(!batch.is_empty() && (bytes <= BATCH_BYTES_MAX || batch.len() == 1));
                under_way.push_back(at);
                batch.into_iter().for_each(|record| note(gone, record));
                Ok(true)
            };
            for step in steps {
                match step {
                    Step::Add { room, bytes } => {
                        lanes.add(ready(&format!("room-{room}"), added, bytes), 4);
                        added += 1;
                    }
                    Step::Send => drop(send(&mut lanes, &mut under_way, &mut gone)?),
                    Step::Answer { found_no_broker } => {
                        let Some(at) = under_way.pop_front() else { continue };
                        lanes.free(at, found_no_broker).into_iter().for_each(|record| note(&mut gone, record));
                    }
                }
            }
            while send(&mut lanes, &mut under_way, &mut gone)? || !under_way.is_empty() {
                under_way.pop_front().map(|at| lanes.free(at, false));
            }
            prop_assert_eq!(gone.values().map(Vec::len).sum::<usize>() as u64, added);
            prop_assert!(gone.values().all(|numbers| numbers.is_sorted()));
        }
    }
}

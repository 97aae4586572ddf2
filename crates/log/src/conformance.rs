//! What every backend of the [`Log`] keeps, as one suite that each of them passes unchanged.
//!
//! Called by the backends' tests with a log that nobody else writes to and its only consumer.

use std::collections::HashMap;
use std::sync::Arc;

use model::{RoomId, UserId};

use crate::port::{Consumer, Entry, Log, Position, Record};

const WRITERS: usize = 4;
const EACH: usize = 50;
const ROOMS: [&str; 3] = ["hall", "attic", "cellar"];

/// Runs the suite. Panics, as tests do, where the log breaks its word.
pub async fn log(log: Arc<dyn Log>, mut consumer: Box<dyn Consumer>) {
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(log.clone(), writer))).collect();
    let entries = read(&mut *consumer, WRITERS * EACH).await;
    let mut answered = HashMap::new();
    for writer in writers {
        answered.extend(writer.await.expect("a writer ends"));
    }
    every_record_is_delivered_once_at_the_place_it_was_promised(&entries, &answered);
    places_rise_within_a_room(&entries);
    what_one_writer_says_keeps_its_order(&entries);
}

/// Each record says who wrote it and which of the writer's it is.
async fn write(log: Arc<dyn Log>, writer: usize) -> Vec<(String, Position)> {
    let mut places = Vec::with_capacity(EACH);
    for n in 0..EACH {
        let mark = format!("{writer}/{n}");
        let place = log.append(room(n), marked(&mark)).await.expect("a log that is there takes a record");
        places.push((mark, place));
    }
    places
}

async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(count);
    while entries.len() < count {
        let delivery = consumer.next().await.expect("an open log goes on");
        entries.extend_from_slice(delivery.entries());
        delivery.commit();
    }
    entries
}

fn every_record_is_delivered_once_at_the_place_it_was_promised(
    entries: &[Entry],
    answered: &HashMap<String, Position>,
) {
    let delivered: HashMap<_, _> = entries.iter().map(|entry| (mark(entry).to_owned(), entry.position)).collect();
    assert_eq!(delivered.len(), entries.len(), "a record came twice");
    assert_eq!(&delivered, answered);
}

fn places_rise_within_a_room(entries: &[Entry]) {
    let mut last: HashMap<&RoomId, Position> = HashMap::new();
    for entry in entries {
        let before = last.insert(&entry.room_id, entry.position);
        assert!(before.is_none_or(|before| before < entry.position), "{entry:?} after {before:?}");
    }
}

fn what_one_writer_says_keeps_its_order(entries: &[Entry]) {
    let mut last: HashMap<(String, &RoomId), usize> = HashMap::new();
    for entry in entries {
        let (writer, n) = mark(entry).split_once('/').expect("a mark of ours");
        let n: usize = n.parse().expect("a number of ours");
        let before = last.insert((writer.to_owned(), &entry.room_id), n);
        assert!(before.is_none_or(|before| before < n), "writer {writer}: {n} after {before:?}");
    }
}

fn room(n: usize) -> RoomId {
    RoomId::new(ROOMS[n % ROOMS.len()]).expect("an id")
}

/// A record that carries a mark.
/// A record that the caller can tell from others by its mark.
pub fn marked(mark: &str) -> Record {
    let user_id = UserId::new("somebody").expect("an id");
    Record::Banned { user_id, room_id: None, until_ms: 0, reason: Some(mark.to_owned()) }
}

fn mark(entry: &Entry) -> &str {
    match &entry.record {
        Record::Banned { reason: Some(mark), .. } => mark,
        other => panic!("not a record of this suite: {other:?}"),
    }
}

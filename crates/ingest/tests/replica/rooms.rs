//! Rooms and sessions that several nodes work on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ingest::Refusal;
use log::Record;
use model::clock::{Clock, ManualClock, SystemClock};
use model::room::RoomPatch;
use model::{RoomState, Speakers};
use prometheus_client::registry::Registry;
use state::{HeatRules, HotRooms};
use store::{CommentStore, ReplayQuery, RoomStore};

use super::world::{Deployment, Node, room, somebody};
use super::{KEY, deployment};

fn ended(record: &Record) -> bool {
    matches!(record, Record::SessionEnded(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_configuring_and_closing_hold_on_every_node() {
    let Some(deployment) = deployment().await else { return };
    let (a, b) = deployment.two().await;
    let (hall, ann) = (room("hall"), somebody("ann"));
    assert_eq!(b.session(&hall).await, None, "b knows the room");
    let session = a.ingest.open_room(&KEY, &hall).await.expect("opened");
    testkit::eventually("b to be live", async || (b.session(&hall).await == Some(session.id)).then_some(())).await;
    let again = b.ingest.open_room(&KEY, &hall).await.expect("open already");
    assert_eq!(again.id, session.id, "one broadcast, whoever opens it");

    let patch = RoomPatch { speakers: Some(Speakers::Moderators), ..RoomPatch::default() };
    a.ingest.configure_room(&KEY, &hall, patch).await.expect("configured");
    testkit::eventually("b to let nobody speak", async || b.say(&ann, &hall, "hm").await.err()).await;
    let patch = RoomPatch { speakers: Some(Speakers::Everyone), ..RoomPatch::default() };
    b.ingest.configure_room(&KEY, &hall, patch).await.expect("configured");
    b.say(&ann, &hall, "hello").await.expect("everybody may");

    a.ingest.close_room(&KEY, &hall).await.expect("closed");
    testkit::eventually("b to refuse", async || {
        (b.say(&ann, &hall, "late").await == Err(Refusal::RoomClosed)).then_some(())
    })
    .await;
    assert_eq!(b.ingest.rooms.info(&hall).await.expect("known").state(), RoomState::Idle);

    b.ingest.open_room(&KEY, &hall).await.expect("opened");
    testkit::eventually("a to be live", async || a.say(&ann, &hall, "again").await.ok()).await;
}

/// Speaks on a node until told to stop, and gives back what was accepted.
async fn chatter(node: &Node, name: &str, stop: &AtomicBool) -> Vec<model::Snowflake> {
    let (who, hall) = (somebody(name), room("hall"));
    let mut accepted = Vec::new();
    for n in 0.. {
        match node.say(&who, &hall, &format!("{name} says {n}")).await {
            Ok(admitted) => accepted.push(admitted.id),
            Err(Refusal::RoomClosed) if stop.load(Ordering::Relaxed) => break,
            Err(Refusal::RoomClosed) => tokio::task::yield_now().await,
            Err(other) => panic!("{other:?}"),
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_while_another_node_closes_is_in_the_session_or_refused() {
    let Some(deployment) = deployment().await else { return };
    let (a, b) = deployment.two().await;
    let hall = room("hall");
    let session = a.ingest.open_room(&KEY, &hall).await.expect("opened");
    testkit::eventually("b to be live", async || (b.session(&hall).await == Some(session.id)).then_some(())).await;
    let stop = AtomicBool::new(false);
    let close = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        a.ingest.close_room(&KEY, &hall).await.expect("closed");
        stop.store(true, Ordering::Relaxed);
    };
    let (of_a, of_b, ()) = tokio::join!(chatter(&a, "ann", &stop), chatter(&b, "bo", &stop), close);
    assert!(!of_a.is_empty() && !of_b.is_empty(), "both spoke");

    let query = ReplayQuery {
        room_id: hall.clone(),
        session_id: Some(session.id),
        from_ms: 0,
        to_ms: i64::MAX,
        by_user: None,
        after: None,
        limit: 100_000,
    };
    let replay = a.store.replay(query).await.expect("read");
    let kept: HashSet<_> = replay.iter().map(|comment| comment.id).collect();
    let accepted: HashSet<_> = of_a.into_iter().chain(of_b).collect();
    assert_eq!(kept, accepted, "each accepted comment is in the session that was on");
    assert_eq!(a.store.sessions(&hall, 9).await.expect("read").len(), 1, "nobody began another in a closed room");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_spoken_to_at_once_start_one_session() {
    let Some(deployment) = deployment().await else { return };
    let (a, b) = deployment.two().await;
    for n in 0..20 {
        let hall = room(&format!("hall-{n}"));
        let (ann, bo) = (somebody("ann"), somebody("bo"));
        let (of_a, of_b) = tokio::join!(a.say(&ann, &hall, "first"), b.say(&bo, &hall, "first"));
        of_a.and(of_b).expect("accepted");
        assert_eq!(a.session(&hall).await, b.session(&hall).await);
        let sessions = a.store.sessions(&hall, 9).await.expect("read");
        assert_eq!((sessions.len(), sessions[0].comment_count), (1, 2));
    }
}

/// Nodes that never hear each other of their own accord, so that only the store can tell them.
async fn two_by(clock: &Arc<ManualClock>) -> Option<(Node, Node)> {
    let deployment = Deployment::new(clock.clone()).await?;
    Some(deployment.two().await)
}

const MINUTE_MS: i64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_no_node_is_spoken_to() {
    let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
    let Some((a, b)) = two_by(&clock).await else { return };
    let (hall, ann) = (room("hall"), somebody("ann"));
    b.say(&ann, &hall, "hello").await.expect("accepted");
    let session = a.session(&hall).await.expect("a knows it too");
    for n in 0..4 {
        clock.advance(20 * MINUTE_MS);
        a.say(&ann, &hall, &format!("still here {n}")).await.expect("accepted");
        b.ingest.rooms.sweep().await;
        a.ingest.rooms.sweep().await;
        assert_eq!(b.session(&hall).await, Some(session), "b heard nothing for long, but somebody did");
    }
    clock.advance(31 * MINUTE_MS);
    tokio::join!(a.ingest.rooms.sweep(), b.ingest.rooms.sweep());
    assert_eq!((a.session(&hall).await, b.session(&hall).await), (None, None));
    for node in [&a, &b] {
        testkit::eventually("its end to be told", async || (node.gateway.count(&hall, ended) > 0).then_some(())).await;
        assert_eq!(node.gateway.count(&hall, ended), 1, "once, by one of them");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_ends_neither_a_broadcast_nor_another_nodes_next_session() {
    let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
    let Some((a, mut b)) = two_by(&clock).await else { return };
    let (hall, ann) = (room("hall"), somebody("ann"));
    b.say(&ann, &hall, "hello").await.expect("accepted");
    b.cut_off();
    clock.advance(31 * MINUTE_MS);
    let opened = a.ingest.open_room(&KEY, &hall).await.expect("opened");
    b.ingest.rooms.sweep().await;
    assert_eq!(a.store.room(&hall).await.expect("read").and_then(|row| row.session), Some((*opened).clone()));
    a.ingest.close_room(&KEY, &hall).await.expect("closed");
    clock.advance(31 * MINUTE_MS);
    b.ingest.rooms.sweep().await;
    assert!(a.store.room(&hall).await.expect("read").is_some_and(|row| row.closed), "nor does it open a closed room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_node_learns_of_rooms_from_the_store() {
    let Some(deployment) = deployment().await else { return };
    let (a, mut b) = deployment.two().await;
    let (hall, ann) = (room("hall"), somebody("ann"));
    b.say(&ann, &hall, "hello").await.expect("accepted");
    b.deafen();
    a.ingest.close_room(&KEY, &hall).await.expect("closed");
    testkit::eventually("b to refuse", async || {
        (b.say(&ann, &hall, "late").await == Err(Refusal::RoomClosed)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_learns_the_priority_of_rooms_that_are_used_elsewhere() {
    let Some(deployment) = deployment().await else { return };
    let (a, b) = deployment.two().await;
    let metrics = Arc::new(model::Metrics::register(&mut Registry::default()));
    let heat = Arc::new(HotRooms::alone(HeatRules { hot_per_s: 1_000, shards: 8 }, metrics));
    let (weigh, gala) = (ingest::hot_rooms::priority(heat, &b.ingest), room("gala"));
    for priority in [7, -3] {
        let patch = RoomPatch { priority: Some(priority), ..RoomPatch::default() };
        a.ingest.rooms.configure(&gala, patch).await.expect("it is stored");
        testkit::eventually("the other node to know it", async || (weigh(&gala).priority == priority).then_some(()))
            .await;
    }
}

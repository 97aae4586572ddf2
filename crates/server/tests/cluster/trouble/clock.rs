//! Clocks that are wrong, and that step.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use testkit::{Server, WrongClock, eventually, within};

use super::LONG;
use crate::cluster;
use crate::crowd::{By, Crowd, Ids, id, keeps};

const HOUR_S: i64 = 3_600;

/// Somebody who polls now here, now there, by the last id they were given.
struct Poller {
    read: Vec<Value>,
    since: String,
}

impl Poller {
    async fn poll(&mut self, node: &Server) {
        let path = format!("rooms/hall/comments?limit=500&since_id={}", self.since);
        let page = node.user("poller").get(&path).await.expect(200);
        let fresh = |comment: &&Value| !self.read.iter().any(|known| known["id"] == comment["id"]);
        let fresh: Vec<Value> = page["comments"].as_array().unwrap().iter().filter(fresh).cloned().collect();
        self.read.extend(fresh);
        page["latest_id"].as_str().unwrap().clone_into(&mut self.since);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_clocks_are_an_hour_off_skip_nothing_and_keep_the_order() {
    let (Some(fast), Some(slow)) = (WrongClock::off_by(0), WrongClock::off_by(-HOUR_S)) else { return };
    let Some(mut nodes) = cluster(1).await else { return };
    nodes.join_as(|node| fast.rules(node)).await;
    nodes.join_as(|node| slow.rules(node)).await;
    let mut crowd = Crowd::new(&nodes, false);
    for node in 0..3 {
        crowd.watches(node);
        crowd.talks(node, By::Http);
        crowd.talks(node, By::Socket);
    }
    let mut poller = Poller { read: Vec::new(), since: "0".into() };
    let begun = Timestamp::now();
    // It goes forward by an hour, back by two, and is right again.
    for (turn, hours) in [0, 1, -1, 0].into_iter().enumerate() {
        fast.step_to(hours * HOUR_S);
        within(LONG, "the step to be noticed", async || {
            let off_ms = nodes[1].http().metric("barrage_clock_off_ms").await as i64;
            ((off_ms - hours * 3_600_000).abs() < 60_000).then_some(())
        })
        .await;
        crowd.goes_on(12).await;
        poller.poll(&nodes[turn % 3]).await;
    }
    assert!(nodes[2].log().contains("clock is wrong"), "it is told");
    let said = crowd.leaves().await;
    keeps(&nodes[1], &said).await;
    let mut turn = 0;
    eventually("the poller to have read all", async || {
        turn += 1;
        poller.poll(&nodes[turn % 3]).await;
        (poller.read.len() >= said.len()).then_some(())
    })
    .await;
    assert_eq!(poller.read.iter().map(id).collect::<Ids>(), said, "skipped by a poller");

    // Times are true, and each sender's comments are in the order in which they were said.
    let replay = nodes[2].user("reader").get("rooms/hall/replay?limit=1000").await.expect(200);
    let mut last = HashMap::new();
    for comment in replay["comments"].as_array().unwrap() {
        let at: Timestamp = comment["created_at"].as_str().unwrap().parse().unwrap();
        assert!((at.as_second() - begun.as_second()).abs() < 120, "{comment}");
        let (user, number) = (&comment["user_id"], comment["content"].as_str().unwrap().rsplit(' ').next().unwrap());
        let number: u64 = number.parse().unwrap();
        let before = last.insert(user.clone(), number);
        assert!(before.is_none_or(|before| before < number), "{comment}");
    }
}

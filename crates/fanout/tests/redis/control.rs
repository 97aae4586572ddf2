//! What concerns every node reaches every node, and none misses it without knowing.

use fanout::ControlMessage;
use log::{Change, Record};
use model::{RoomId, UserId};

use testkit::OwnServer;

use super::{Node, namespace, rooms};

impl Node {
    /// The offsets of what was told on the control channel.
    fn told(&self) -> Vec<u64> {
        let news = self.news.lock().expect("no panic");
        let told =
            news.iter().filter_map(|new| if let ControlMessage::Changed(entries) = new { Some(entries) } else { None });
        told.flatten().map(|entry| entry.position.offset).collect()
    }

    fn count(&self, which: impl Fn(&ControlMessage) -> bool) -> usize {
        self.news.lock().expect("no panic").iter().filter(|new| which(new)).count()
    }

    /// How often it was told that it may have missed something.
    fn gaps(&self) -> usize {
        self.count(|new| matches!(new, ControlMessage::GapDetected))
    }

    fn change(&self, room: &RoomId, offset: u64) {
        let user = UserId::new("somebody").expect("an id");
        let change = if offset.is_multiple_of(2) { Change::Words } else { Change::Bans(user) };
        self.push_record(room, offset, Record::Changed(change));
    }
}

/// Each hears the other, and nothing more is to be told of holes.
async fn until_settled(ann: &Node, bo: &Node, hall: &RoomId) {
    testkit::eventually("both to hear", async || {
        let gaps = ann.gaps() + bo.gaps();
        ann.change(hall, 0);
        bo.change(hall, 0);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let heard = [ann, bo].iter().all(|node| node.told().len() > 1 && !node.gateway.heard(hall).is_empty());
        (heard && ann.gaps() + bo.gaps() == gaps && gaps >= 2).then_some(())
    })
    .await;
}

async fn every_node_hears_what_concerns_it(service: &str) {
    let Some(address) = testkit::service(service) else { return };
    let namespace = namespace();
    let (ann, bo) = (Node::start(&address, &namespace, "ann").await, Node::start(&address, &namespace, "bo").await);
    let hall = &rooms(1)[0];
    until_settled(&ann, &bo, hall).await;

    let gaps = bo.gaps();
    for offset in 1..=200 {
        ann.change(hall, offset);
        ann.push(hall, offset + 1_000);
    }
    let numbered = |offsets: Vec<u64>| offsets.into_iter().filter(|offset| *offset > 0).collect::<Vec<_>>();
    let all: Vec<u64> = (1..=200).collect();
    testkit::eventually("the last", async || (bo.told().last() == Some(&200)).then_some(())).await;
    assert_eq!(numbered(bo.told()), all, "each once, in order, though nobody here holds the room");
    assert_eq!(
        numbered(bo.gateway.heard(hall)),
        all,
        "and so does its gateway; what is for the room alone does not come"
    );
    testkit::eventually("its own", async || (ann.told().last() == Some(&200)).then_some(())).await;
    assert_eq!(numbered(ann.told()), all, "a node hears what it told itself");
    assert_eq!(numbered(ann.gateway.heard(hall)).len(), 400, "its own gateway has had it already");
    assert_eq!(bo.gaps(), gaps, "nothing was missed");
}

#[tokio::test]
async fn every_node_hears_what_concerns_it_over_a_single_server() {
    every_node_hears_what_concerns_it("BARRAGE_TEST_REDIS").await;
}

#[tokio::test]
async fn every_node_hears_what_concerns_it_over_a_cluster() {
    every_node_hears_what_concerns_it("BARRAGE_TEST_REDIS_CLUSTER").await;
}

#[tokio::test]
async fn a_node_that_comes_later_is_told_that_it_missed_something() {
    let Some(address) = testkit::service("BARRAGE_TEST_REDIS") else { return };
    let namespace = namespace();
    let ann = Node::start(&address, &namespace, "ann").await;
    let hall = &rooms(1)[0];
    testkit::eventually("ann to be there", async || (ann.gaps() == 1).then_some(())).await;
    ann.change(hall, 1);
    testkit::eventually("its own", async || (ann.told() == [1]).then_some(())).await;
    let bo = Node::start(&address, &namespace, "bo").await;
    // Once because it subscribed, once because ann's beat says that there was something.
    testkit::eventually("to know of both", async || (bo.gaps() >= 2).then_some(())).await;
    assert_eq!(bo.told(), [] as [u64; 0]);
}

#[tokio::test]
async fn when_redis_was_away_nodes_know_that_they_were_deaf_and_what_they_missed() {
    let Some(server) = OwnServer::start("redis") else { return };
    let (address, namespace) = (server.address(), namespace());
    let (ann, bo) = (Node::start(&address, &namespace, "ann").await, Node::start(&address, &namespace, "bo").await);
    let hall = &rooms(1)[0];
    until_settled(&ann, &bo, hall).await;

    server.kill();
    ann.change(hall, 1);
    testkit::eventually("both to be deaf", async || {
        let deaf = |node: &Node| node.count(|new| matches!(new, ControlMessage::Disconnected(true))) == 1;
        (deaf(&ann) && deaf(&bo)).then_some(())
    })
    .await;
    let gaps = bo.gaps();
    server.restart();
    testkit::eventually("both to hear again", async || {
        let hears = |node: &Node| node.count(|new| matches!(new, ControlMessage::Disconnected(false))) == 1;
        (hears(&ann) && hears(&bo)).then_some(())
    })
    .await;
    assert!(bo.gaps() > gaps, "what was told meanwhile is to be read from the store");
    ann.change(hall, 2);
    testkit::eventually("what comes now", async || bo.told().contains(&2).then_some(())).await;
    assert!(!bo.told().contains(&1), "at most once");
}

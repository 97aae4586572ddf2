//! What one node changes is in force on the other: two nodes on real MySQL and Redis.

mod rooms;
mod world;

use std::sync::Arc;

use fanout::ControlMessage;
use ingest::moderation::NewBan;
use ingest::tokens::{Claims, TokenError, sign};
use ingest::{Moderator, Refusal};
use model::clock::{Clock, SystemClock};
use model::{Gift, UserId};
use store::{BanKind, WordList};
use words::Lists;

use world::{Deployment, Node, SECRET, room, somebody, user};

const KEY: Moderator = Moderator::Key;

async fn deployment() -> Option<Deployment> {
    Deployment::new(Arc::new(SystemClock)).await
}

fn ban(user_id: UserId, kind: BanKind) -> NewBan {
    NewBan { user_id, room_id: None, duration_s: 60, reason: None, kind, purge: false }
}

fn gift_of(giver: &str) -> Gift {
    let (gift, username) = ("rocket".into(), giver.into());
    Gift { gift, user_id: user(giver), username, count: 1, value: 5, play_at: None, counted: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_in_force_on_every_node() {
    let Some(deployment) = deployment().await else { return };
    let (a, b) = deployment.two().await;
    let (hall, ann) = (room("hall"), somebody("ann"));
    let lists = Lists { block: vec!["forbidden".into()], ..Lists::default() };
    a.ingest.set_words(&KEY, lists).await.expect("set");
    testkit::eventually("b to block it", async || {
        (b.say(&ann, &hall, "a forbidden word").await == Err(Refusal::Blocked)).then_some(())
    })
    .await;
    // Both at once: neither undoes what the other did.
    let (of_a, of_b) = tokio::join!(
        a.ingest.add_word(&KEY, WordList::Block, "of-a"),
        b.ingest.add_word(&KEY, WordList::Block, "of-b"),
    );
    of_a.and(of_b).expect("added");
    for node in [&a, &b] {
        testkit::eventually("all three words", async || (node.ingest.filter.lists().block.len() == 3).then_some(()))
            .await;
    }
    b.ingest.remove_word(&KEY, WordList::Block, "forbidden").await.expect("removed");
    testkit::eventually("a to let it pass", async || a.say(&ann, &hall, "a forbidden word").await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bans_and_mutes_hold_on_every_node_until_they_are_lifted_on_any() {
    let Some(deployment) = deployment().await else { return };
    let (a, b) = deployment.two().await;
    let hall = room("hall");
    for (name, kind) in [("ann", BanKind::Ban), ("bo", BanKind::Mute)] {
        let who = somebody(name);
        b.say(&who, &hall, "while I may").await.expect("nothing against it");
        let imposed = a.ingest.ban(&KEY, ban(who.user_id.clone(), kind)).await.expect("banned");
        testkit::eventually("b to refuse", async || b.say(&who, &hall, "hm").await.err()).await;
        b.ingest.lift_ban(&KEY, imposed.id).await.expect("lifted");
        testkit::eventually("a to let them speak", async || a.say(&who, &hall, "thanks").await.ok()).await;
        assert!(a.ingest.lift_ban(&KEY, imposed.id).await.is_err(), "there is nothing left to lift");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_is_lifted_by_a_node_that_has_not_heard_of_it() {
    let Some(deployment) = deployment().await else { return };
    let (a, mut b) = deployment.two().await;
    b.cut_off();
    let imposed = a.ingest.ban(&KEY, ban(user("ann"), BanKind::Mute)).await.expect("muted");
    b.ingest.lift_ban(&KEY, imposed.id).await.expect("lifted");
    testkit::eventually("a to hear of it", async || a.say(&somebody("ann"), &room("hall"), "hi").await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_tokens_and_kept_events_are_known_everywhere() {
    let Some(deployment) = deployment().await else { return };
    let (a, b) = deployment.two().await;
    let token = token_of("ann");
    b.tokens.verify(&token, SystemClock.now_ms()).expect("good so far");
    assert!(!b.ingest.pending_event_users.may_hold(&user("bo")));
    a.ingest.revoke_tokens(&KEY, &user("ann")).await.expect("revoked");
    a.ingest.publish_gift(&KEY, &room("hall"), gift_of("bo"), false, None).await.expect("given");
    testkit::eventually("b to refuse the token", async || {
        (b.tokens.verify(&token, SystemClock.now_ms()) == Err(TokenError::Revoked)).then_some(())
    })
    .await;
    testkit::eventually("b to look when bo connects", async || {
        b.ingest.pending_event_users.may_hold(&user("bo")).then_some(())
    })
    .await;
    assert!(b.ingest.unacknowledged(&user("bo")).await.expect("read").len() == 1);
}

fn token_of(name: &str) -> String {
    let now_s = SystemClock.now_ms() / 1_000;
    let claims = Claims { sub: name.into(), exp: now_s + 600, iat: now_s - 10, ..Claims::default() };
    sign(SECRET, &claims).expect("signed")
}

/// A node that was cut off, and learns only that it was.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_missed_something_reads_everything_again() {
    let Some(deployment) = deployment().await else { return };
    let (a, mut b) = deployment.two().await;
    let hall = room("hall");
    b.say(&somebody("cy"), &hall, "hello").await.expect("nothing against it");
    let lifted = a.ingest.ban(&KEY, ban(user("di"), BanKind::Mute)).await.expect("muted");
    testkit::eventually("b to know it", async || b.say(&somebody("di"), &hall, "hm").await.err()).await;
    b.cut_off();

    a.ingest.add_word(&KEY, WordList::Block, "forbidden").await.expect("added");
    a.ingest.ban(&KEY, ban(user("ann"), BanKind::Mute)).await.expect("muted");
    a.ingest.lift_ban(&KEY, lifted.id).await.expect("lifted");
    a.ingest.revoke_tokens(&KEY, &user("bo")).await.expect("revoked");
    a.ingest.publish_gift(&KEY, &hall, gift_of("bo"), false, None).await.expect("given");
    a.ingest.close_room(&KEY, &room("attic")).await.expect("closed");
    everything_is_as_before(&b).await;

    b.refresher.submit(ControlMessage::GapDetected);
    testkit::eventually("everything to be in force", async || {
        b.ingest.pending_event_users.may_hold(&user("bo")).then_some(())
    })
    .await;
    let ask = async |name: &str, text: &str| b.say(&somebody(name), &hall, text).await;
    assert!(matches!(ask("ann", "hi").await, Err(Refusal::Muted { .. })));
    assert_eq!(ask("cy", "forbidden").await, Err(Refusal::Blocked));
    ask("di", "at last").await.expect("no longer muted");
    assert_eq!(b.say(&somebody("cy"), &room("attic"), "anybody here?").await, Err(Refusal::RoomClosed));
    assert_eq!(b.tokens.verify(&token_of("bo"), SystemClock.now_ms()), Err(TokenError::Revoked));
}

async fn everything_is_as_before(b: &Node) {
    b.say(&somebody("ann"), &room("hall"), "forbidden").await.expect("b knows nothing");
    b.say(&somebody("di"), &room("hall"), "hm").await.expect_err("b thinks so");
    assert!(!b.ingest.pending_event_users.may_hold(&user("bo")));
}

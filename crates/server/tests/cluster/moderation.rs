//! What is decided on one node holds on all.

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::eventually;

use crate::cluster;

#[tokio::test(flavor = "multi_thread")]
async fn words_are_in_force_on_every_node() {
    let Some(nodes) = cluster(2).await else { return };
    nodes[0].admin().put("admin/words", json!({ "mask": ["plum"], "review": [], "block": ["pear"] })).await.is(200);
    eventually("the list on the other node", async || {
        let reply = nodes[1].user("ann").post("rooms/hall/comments", json!({ "content": "a pear" })).await;
        (reply.status == 422).then_some(())
    })
    .await;
    let mut bo = nodes[0].viewer("bo", "hall").await;
    nodes[1].user("cy").post("rooms/hall/comments", json!({ "content": "a plum" })).await.is(201);
    bo.sees("a ****").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_closes_sockets_on_every_node_and_its_end_is_known_everywhere() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = nodes[1].viewer("ann", "hall").await;
    let ban = json!({ "user_id": "ann", "duration_s": 600, "kind": "ban", "reason": "spam" });
    let made = nodes[0].admin().post("admin/bans", ban).await.expect(201);
    assert_eq!(ann.wait_close().await.0, 4003);
    // The node reads the ban from the store a moment after it has closed the socket: whoever is back by then goes again.
    let mut again = nodes[1].device("ann", "again").await;
    assert_eq!(again.wait_close().await.0, 4003);
    let refused = eventually("the ban on the other node", async || {
        let reply = nodes[1].user("ann").post("rooms/hall/comments", json!({ "content": "hello?" })).await;
        (reply.status == 403).then_some(reply)
    });
    refused.await.fails(403, "banned");
    let id = made["id"].as_str().unwrap();
    nodes[1].admin().delete(&format!("admin/bans/{id}")).await.is(204);
    eventually("the end of the ban on the first node", async || {
        let reply = nodes[0].user("ann").post("rooms/hall/comments", json!({ "content": "thank you" })).await;
        (reply.status == 201).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_nodes_change_about_a_room_at_once_is_all_kept() {
    let Some(nodes) = cluster(2).await else { return };
    let changes = [
        json!({ "name": "The hall" }),
        json!({ "owner_id": "olga" }),
        json!({ "priority": 3 }),
        json!({ "slow_mode_s": 7 }),
        json!({ "private": true }),
        json!({ "window_ms_max": 60 }),
        json!({ "reader_groups": 2 }),
        json!({ "retention_days": 9 }),
    ];
    let admins = [nodes[0].admin(), nodes[1].admin()];
    let puts = changes.iter().zip(admins.iter().cycle());
    let puts = puts.map(|(change, admin)| admin.put("admin/rooms/hall", change.clone()));
    for reply in join_all(puts).await {
        reply.is(200);
    }
    let hall = admins[0].put("admin/rooms/hall", json!({})).await.expect(200);
    for (field, value) in changes.iter().flat_map(|change| change.as_object().expect("one")) {
        assert_eq!(hall[field], *value, "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_closed_here_is_closed_there() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = nodes[1].viewer("ann", "hall").await;
    nodes[0].admin().put("admin/rooms/hall", json!({ "name": "The hall" })).await.is(200);
    nodes[0].admin().post("admin/rooms/hall/open", Value::Null).await.is(200);
    eventually("the open room elsewhere", async || {
        (nodes[1].user("ann").get("rooms/hall").await.expect(200)["state"] == "live").then_some(())
    })
    .await;
    assert_eq!(nodes[1].user("ann").get("rooms/hall").await.expect(200)["name"], "The hall");
    nodes[1].user("ann").post("rooms/hall/comments", json!({ "content": "in time" })).await.is(201);
    nodes[0].admin().post("admin/rooms/hall/close", Value::Null).await.is(200);
    eventually("the closed room elsewhere", async || {
        let reply = nodes[1].user("bo").post("rooms/hall/comments", json!({ "content": "too late" })).await;
        (reply.body["error"]["code"] == "room_closed").then_some(())
    })
    .await;
    ann.event("room_state").await;
    let sessions = nodes[1].user("ann").get("rooms/hall/sessions").await.expect(200);
    assert_eq!(
        (sessions["sessions"].as_array().unwrap().len(), &sessions["sessions"][0]["comment_count"]),
        (1, &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_comment_leaves_every_screen_and_an_announcement_reaches_it() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = nodes[0].viewer("ann", "hall").await;
    let mut bo = nodes[1].viewer("bo", "hall").await;
    let said = ann.ask(json!({ "type": "comment", "room_id": "hall", "content": "regrettable" })).await;
    let id = said["id"].as_str().unwrap();
    bo.sees("regrettable").await;
    nodes[1].admin().delete(&format!("admin/comments/{id}")).await.is(204);
    for viewer in [&mut ann, &mut bo] {
        assert_eq!(viewer.event("comment_deleted").await["comment_ids"], json!([id]));
    }
    nodes[0].admin().post("admin/rooms/hall/announcements", json!({ "content": "be kind" })).await.is(201);
    for viewer in [&mut ann, &mut bo] {
        viewer.event("announcement").await;
    }
    assert_eq!(nodes[0].user("ann").get("rooms/hall/comments").await.expect(200)["comments"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_is_told_on_the_node_where_its_user_is() {
    let Some(nodes) = cluster(2).await else { return };
    let mut ann = nodes[1].viewer("ann", "hall").await;
    let mute = json!({ "user_id": "ann", "room_id": "hall", "duration_s": 60, "kind": "mute" });
    nodes[0].admin().post("admin/bans", mute).await.is(201);
    assert_eq!(ann.event("user_muted").await["user_id"], "ann");
    // The node reads the mute from the store a moment after it has told of it.
    eventually("the mute on the other node", async || {
        let answer = ann.ask(json!({ "type": "comment", "room_id": "hall", "content": "hm" })).await;
        (answer["code"] == "muted").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_and_an_erasure_reach_what_another_node_shows_and_nobody_keeps() {
    let Some(nodes) = cluster(2).await else { return };
    nodes[0].admin().put("admin/rooms/hall", json!({ "store": false })).await.is(200);
    let mut bo = nodes[1].viewer("bo", "hall").await;
    let purged = nodes[0].user("mallory").say("hall", "unkept").await;
    bo.sees("unkept").await;
    let ban = json!({ "user_id": "mallory", "room_id": "attic", "kind": "mute", "duration_s": 60, "purge": true });
    nodes[0].admin().post("admin/bans", ban).await.is(201);
    let everywhere = json!({ "user_id": "mallory", "kind": "mute", "duration_s": 1, "purge": true });
    nodes[0].admin().post("admin/bans", everywhere).await.is(201);
    assert_eq!(bo.event("comment_deleted").await["comment_ids"], json!([purged]));

    let claims = json!({ "sub": "eve", "level": "owner", "exp": testkit::now_s() + 3_600 });
    let eve = nodes[0].bearing(&testkit::token(&claims));
    let erased = eve.say("hall", "unkept, too").await;
    bo.sees("unkept, too").await;
    let kept = eve.say("lobby", "kept").await;
    let begun = nodes[0].admin().delete("admin/users/eve/data").await.expect(202);
    assert_eq!(bo.event("comment_deleted").await["comment_ids"], json!([erased]));
    // Another node knows how far it is.
    let path = format!("admin/erasures/{}", begun["erasure_id"].as_str().unwrap());
    let receipt = eventually("the end of the erasure", async || {
        let receipt = nodes[1].admin().get(&path).await.expect(200);
        (receipt["status"] == "done").then_some(receipt)
    });
    assert_eq!(receipt.await["counts"]["comments"], 1);
    let page = nodes[1].user("bo").get("rooms/hall/comments?since_id=0").await.expect(200);
    assert_eq!(page["comments"], json!([]));
    nodes[1].user("bo").post(&format!("comments/{kept}/like"), Value::Null).await.fails(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_whom_another_node_has_seen_is_protected_here() {
    let Some(nodes) = cluster(2).await else { return };
    let bearer = |node: usize, user: &str| {
        let claims = json!({ "sub": user, "level": "moderator", "rooms": ["hall"], "exp": testkit::now_s() + 3_600 });
        nodes[node].bearing(&testkit::token(&claims))
    };
    bearer(0, "mel").get("rooms/hall").await.is(200);
    let ban = |user: &str| json!({ "user_id": user, "room_id": "hall", "kind": "ban", "duration_s": 1 });
    // The node that has seen mel stores it a moment later.
    eventually("the other node to know", async || {
        let reply = bearer(1, "mo").post("admin/bans", ban("mel")).await;
        (reply.status == 403).then_some(())
    })
    .await;
    bearer(1, "mo").post("admin/bans", ban("ann")).await.is(201);
    nodes[1].admin().post("admin/bans", ban("mel")).await.is(201);
}

//! Word lists: in force at once, without a restart, and after one.

use serde_json::json;

use crate::{fast_server, server};

#[tokio::test]
async fn a_masked_word_is_starred_from_the_next_comment_on() {
    let server = fast_server().await;
    let mut bob = server.viewer("bob", "lobby").await;
    let alice = server.user("alice");
    alice.say("lobby", "what a badword").await;
    server.admin().put("admin/words", json!({ "mask": ["badword", "坏蛋"] })).await.is(200);
    alice.say("lobby", "this badword too").await;
    alice.say("lobby", "你是坏蛋吗").await;
    bob.sees("你是**吗").await;
    assert_eq!(bob.contents(), ["what a badword", "this ******* too", "你是**吗"]);
    let page = alice.get("rooms/lobby/comments?since_id=0").await.expect(200);
    assert_eq!(page["comments"][1]["content"], "this ******* too", "it is kept as it is shown");
}

#[tokio::test]
async fn disguises_do_not_help() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "block": ["badword", "台湾"] })).await.is(200);
    for disguise in [
        "BadWord",
        "ｂａｄｗｏｒｄ",
        "b a d w o r d",
        "b\u{200b}a\u{200d}dword",
        "b.a.d-w_o*r*d",
        "臺灣",
        "say badword!",
    ] {
        let reply = server.user("alice").comment("lobby", disguise).await;
        assert_eq!((reply.status, reply.body["error"]["code"].as_str()), (422, Some("content_blocked")), "{disguise}");
    }
    server.user("alice").say("lobby", "a bad word is two words and no more").await;
}

#[tokio::test]
async fn of_words_that_overlap_every_character_is_covered() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "mask": ["甲乙丙丁", "丙丁戊己", "乙丙"] })).await.is(200);
    server.user("alice").say("lobby", "天甲乙丙丁戊己地").await;
    server.viewer("bob", "lobby").await.sees("天******地").await;
}

#[tokio::test]
async fn words_come_and_go_one_by_one() {
    let server = fast_server().await;
    let (admin, alice) = (server.admin(), server.user("alice"));
    admin.post("admin/words/block/spam", json!(null)).await.is(201);
    alice.comment("lobby", "spam").await.fails(422, "content_blocked");
    assert_eq!(admin.get("admin/words").await.expect(200), json!({ "mask": [], "review": [], "block": ["spam"] }));
    admin.delete("admin/words/block/spam").await.is(204);
    alice.say("lobby", "spam").await;
    admin.delete("admin/words/block/spam").await.fails(404, "not_found");
    admin.post("admin/words/%E9%81%AE%E7%BD%A9/x", json!(null)).await.fails(400, "invalid_request");
    admin.post("admin/words/mask/%E5%9D%8F%20%2F%E8%9B%8B", json!(null)).await.is(201);
    assert_eq!(admin.get("admin/words").await.expect(200)["mask"], json!(["坏 /蛋"]));
}

#[tokio::test]
async fn replacing_the_lists_replaces_all_three_and_outlives_a_restart() {
    let mut server = fast_server().await;
    server.admin().put("admin/words", json!({ "mask": ["one"], "block": ["two"] })).await.is(200);
    server.admin().put("admin/words", json!({ "block": ["three"] })).await.is(200);
    let lists = json!({ "mask": [], "review": [], "block": ["three"] });
    assert_eq!(server.admin().get("admin/words").await.expect(200), lists);
    server.restart().await;
    assert_eq!(server.admin().get("admin/words").await.expect(200), lists);
    server.user("alice").comment("lobby", "three").await.fails(422, "content_blocked");
    server.user("alice").say("lobby", "one two").await;
}

#[tokio::test]
async fn the_strictest_list_decides() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "mask": ["aa"], "review": ["bb"], "block": ["cc"] })).await.is(200);
    let alice = server.user("alice");
    alice.comment("lobby", "aa bb cc").await.fails(422, "content_blocked");
    assert_eq!(alice.comment("lobby", "aa bb").await.expect(201)["status"], "pending_review");
    assert_eq!(alice.comment("lobby", "aa").await.expect(201)["status"], "accepted");
}

#[tokio::test]
async fn a_dry_run_says_what_share_of_a_room_a_list_would_have_hit_and_changes_nothing() {
    let server = fast_server().await;
    let alice = server.user("alice");
    for content in ["one cat", "a CAT!", "a dog", "a bird"] {
        alice.say("lobby", content).await;
    }
    let asked = json!({ "room_id": "lobby", "lists": { "mask": ["cat"], "block": ["dog"] } });
    let trial = server.admin().post("admin/words/dry-run", asked).await.expect(200);
    assert_eq!((&trial["checked"], &trial["mask_hits"], &trial["block_hits"]), (&json!(4), &json!(2), &json!(1)));
    assert_eq!(trial["share"], 0.75);
    alice.say("lobby", "another dog").await;
}

#[tokio::test]
async fn a_hundred_thousand_words_are_taken_in_while_comments_flow() {
    let server = crate::configured(&format!("{}body_bytes_max = 8388608\n", crate::NO_LIMITS)).await;
    let mut alice = server.viewer("alice", "lobby").await;
    let words: Vec<String> = (0..100_000).map(|n| format!("forbidden{n}word")).collect();
    let admin = server.admin();
    let replaced = tokio::spawn(async move { admin.put("admin/words", json!({ "block": words })).await.is(200) });
    let (mut longest, all) = (std::time::Duration::ZERO, std::time::Instant::now());
    let mut n = 0;
    while !replaced.is_finished() {
        let begun = std::time::Instant::now();
        alice.say(&format!("meanwhile {n}")).await;
        (longest, n) = (longest.max(begun.elapsed()), n + 1);
    }
    replaced.await.unwrap();
    // Whoever had to wait for the words would have waited for nearly all of that time.
    let most = (all.elapsed() / 2).max(std::time::Duration::from_secs(1));
    assert!(n > 0 && longest < most, "{n} comments, the slowest took {longest:?} of {:?}", all.elapsed());
    alice
        .refused(json!({ "type": "comment", "room_id": "lobby", "content": "forbidden99999word" }), "content_blocked")
        .await;
}

#[tokio::test]
async fn a_word_of_nothing_is_refused_and_changes_nothing() {
    let server = server().await;
    server.admin().put("admin/words", json!({ "mask": ["fine"] })).await.is(200);
    server.admin().put("admin/words", json!({ "mask": ["", "x"] })).await.fails(400, "invalid_request");
    server.admin().put("admin/words", json!({ "mask": "no list" })).await.fails(400, "invalid_request");
    assert_eq!(server.admin().get("admin/words").await.expect(200)["mask"], json!(["fine"]));
}

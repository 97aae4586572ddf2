//! What every backend of erasures must do; called as [`super::suite`] is.

use model::chat::{ChangeKind, ConversationId, MsgStatus, MsgType, Recipient};

use super::*;
use crate::audit::Chain;
use crate::chat::{NewMessage, React, Sighting, SyncQuery};
use crate::erasure::{Erasure, ErasureCounts, ErasureStatus};
use crate::notes::Note;
use crate::uploads::{DayQuota, Upload};
use crate::{AuditEntry, AuditQuery, Ban, BanKind, Document, ReviewStatus, ReviewsOf, RoomScope, Store};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: Store>(fresh: impl Fn() -> S) -> Case {
    one_node_works_on_an_erasure(&fresh()).await?;
    comments_go_in_batches_and_are_counted_once(&fresh()).await?;
    what_arrives_late_is_stored_without_its_text(&fresh()).await?;
    likes_are_taken_back(&fresh()).await?;
    messages_are_gone_for_both(&fresh()).await?;
    the_audit_trail_stays_a_chain(&fresh()).await?;
    nothing_is_left_of_a_profile(&fresh()).await
}

const RECEIPT: Snowflake = Snowflake(77);

async fn counts(store: &impl Store) -> crate::Result<ErasureCounts> {
    Ok(store.erasure(RECEIPT).await?.expect("asked for").counts)
}

async fn one_node_works_on_an_erasure(store: &impl Store) -> Case {
    assert_eq!(store.erasure(RECEIPT).await?, None);
    assert_eq!(store.claim_erasure(10, 20).await?, None);
    store.request_erasure(RECEIPT, &user("u"), 5).await?;
    store.request_erasure(Snowflake(78), &user("u"), 6).await?;
    let erasure = |id, at_ms, attempts| Some(Erasure { id, user_id: user("u"), at_ms, attempts });
    assert_eq!(store.claim_erasure(10, 20).await?, erasure(RECEIPT, 5, 0));
    assert_eq!(store.claim_erasure(10, 20).await?, erasure(Snowflake(78), 6, 0), "each has its receipt");
    assert_eq!(store.claim_erasure(19, 29).await?, None, "both are worked on");
    store.renew_erasure(Snowflake(78), 40).await?;
    assert_eq!(store.claim_erasure(20, 30).await?, erasure(RECEIPT, 5, 1), "its node is gone");
    store.end_erasure(RECEIPT, ErasureStatus::Done).await?;
    store.end_erasure(Snowflake(78), ErasureStatus::Failed).await?;
    assert_eq!(store.claim_erasure(100, 200).await?, None);
    let receipt = store.erasure(RECEIPT).await?.expect("kept");
    assert_eq!((receipt.status, receipt.at_ms, receipt.counts), (ErasureStatus::Done, 5, ErasureCounts::default()));
    assert_eq!(store.erasure(Snowflake(78)).await?.expect("kept").status, ErasureStatus::Failed);
    assert_eq!(store.high_water().await?.1, Some(Snowflake(78)), "a receipt's id is given once");
    Ok(())
}

async fn comments_go_in_batches_and_are_counted_once(store: &impl Store) -> Case {
    let session = store.start_session(&session(900, "r", true)).await?.expect("on");
    let said = |n: u64| {
        let by = if n.is_multiple_of(2) { "u" } else { "v" };
        let shadow = n == 2;
        let session_id = Some(session.id);
        positioned(Comment { session_id, shadow, ..comment(Snowflake(n), "r", by) }, n)
    };
    store.append_comments((1..=20).map(said).collect()).await?;
    store.append_comments(vec![positioned(comment(Snowflake(30), "s", "u"), 30)]).await?;
    store.hide_comments(&[Snowflake(4)], true).await?;
    store.add_gift(session.id, &user("u"), "U", 9).await?;
    for n in [40, 41] {
        store.hold(&crate::Review::pending(Arc::new(comment(Snowflake(n), "r", "u")), true), None).await?;
    }
    store.decide(Snowflake(41), ReviewStatus::Rejected, "mo", 1).await?;

    let ranking = Document { kind: crate::RANKING, id: "900".into(), room_id: Some(room("r")), ..Document::default() };
    store.add_document(&Document { body: "[]".into(), ..ranking }).await?;
    store.request_erasure(RECEIPT, &user("u"), 1).await?;
    let held = store.erase_reviews(ReviewsOf::User(&user("u"), None), "erasure", 2, Some(RECEIPT)).await?;
    assert_eq!(held.iter().map(|review| review.comment.id.0).collect::<Vec<_>>(), [40]);
    let (mut calls, mut gone) = (0, 0);
    loop {
        let purged = store.purge_user(&user("u"), None, 4, Some(RECEIPT)).await?;
        (calls, gone) = (calls + 1, gone + purged.comments.len());
        if !purged.more {
            break;
        }
    }
    assert_eq!(gone, 11);
    assert!(calls >= 3, "{calls} batches of 4");
    assert_eq!(counts(store).await?.comments, 13, "11 comments, and two that were held");
    assert_eq!(store.document(crate::RANKING, "900").await?, None, "what was counted before names the user");
    store.purge_user(&user("u"), None, 4, Some(RECEIPT)).await?;
    store.erase_reviews(ReviewsOf::User(&user("u"), None), "erasure", 2, Some(RECEIPT)).await?;
    assert_eq!(counts(store).await?.comments, 13, "none twice");
    assert_eq!(ids(&store.replay(whole("r", 100)).await?), (1..=20).filter(|n| n % 2 == 1).collect::<Vec<_>>());
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 10);
    assert_eq!(store.scores(session.id).await?.users.iter().filter(|score| score.user_id == user("u")).count(), 0);
    let mut rooms = store.purged_rooms(RECEIPT, 10).await?;
    rooms.sort();
    assert_eq!(rooms, [room("r"), room("s")]);
    store.purged_room_told(RECEIPT, &room("r")).await?;
    assert_eq!(store.purged_rooms(RECEIPT, 10).await?, [room("s")]);
    Ok(())
}

async fn what_arrives_late_is_stored_without_its_text(store: &impl Store) -> Case {
    let at = |ms: u64, in_room: &str, by: &str| comment(id_at(ms, 1), in_room, by);
    let ms = |ms: i64| START_MS + ms;
    store.note_purge(&user("u"), None, ms(100)).await?;
    store.note_purge(&user("v"), Some(&room("r")), ms(100)).await?;
    store.note_purge(&user("u"), None, ms(50)).await?;
    let late = vec![
        positioned(at(90, "r", "u"), 1),
        positioned(Comment { id: id_at(91, 2), ..at(91, "r", "v") }, 2),
        positioned(Comment { id: id_at(92, 3), ..at(92, "s", "v") }, 3),
        positioned(Comment { id: id_at(93, 4), ..at(93, "r", "w") }, 4),
        positioned(Comment { id: id_at(100, 5), ..at(100, "r", "u") }, 5),
    ];
    store.append_comments(late.clone()).await?;
    store.append_comments(late).await?;
    assert_eq!(after(store, "r", 0, 9).await?.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(after(store, "s", 0, 9).await?.len(), 1, "the purge was of another room");
    assert_eq!(store.position_of(id_at(90, 1)).await?, Some((room("r"), 1)), "cursors go on");
    assert_eq!(store.comment(id_at(90, 1)).await?, None);
    Ok(())
}

async fn likes_are_taken_back(store: &impl Store) -> Case {
    let said = |n, in_room| positioned(comment(Snowflake(n), in_room, "v"), n);
    store.append_comments(vec![said(1, "r"), said(2, "r"), said(3, "s")]).await?;
    for n in 1..=3 {
        store.like(Snowflake(n), &user("u"), 1).await?;
        store.like(Snowflake(n), &user("w"), 1).await?;
    }
    assert_eq!(store.erase_likes(&user("u"), Some(&room("s")), 9, None).await?, [Snowflake(3)]);
    store.request_erasure(RECEIPT, &user("u"), 1).await?;
    let mut gone = Vec::new();
    for _ in 0..3 {
        gone.extend(store.erase_likes(&user("u"), None, 1, Some(RECEIPT)).await?);
    }
    gone.sort();
    assert_eq!(gone, [Snowflake(1), Snowflake(2)]);
    assert_eq!(counts(store).await?.likes, 2);
    for n in 1..=3 {
        assert_eq!(store.comment(Snowflake(n)).await?.expect("kept").like_count, 1);
        assert_eq!(store.like(Snowflake(n), &user("w"), 1).await?, None, "others' likes stay");
    }
    Ok(())
}

fn message(n: u64, from: &str, to: &str, content: &str) -> NewMessage {
    NewMessage {
        id: id_at(n, 0),
        conversation_id: ConversationId(id_at(n, 1)),
        client_msg_id: format!("c{n}").into(),
        from_user: user(from),
        from_name: format!("name of {from}").into(),
        to: Recipient::User(user(to)),
        content: content.into(),
        msg_type: MsgType::Text,
        created_at_ms: START_MS + n.cast_signed(),
        outbox: true,
        reply_to: None,
        uploads: Vec::new(),
    }
}

async fn messages_are_gone_for_both(store: &impl Store) -> Case {
    let sent = (1..=7).map(|n| message(n, if n == 4 { "v" } else { "u" }, if n == 4 { "u" } else { "v" }, "secret"));
    store.append_messages(sent.collect()).await?;
    // Recalled by its sender, while a setting kept the content.
    store.recall(&user("u"), id_at(2, 0), START_MS + 9, 0, true).await?;
    let sync = async |name: &str, since_change| {
        let not_before_ms = START_MS - DAY_MS;
        store.sync(SyncQuery { user: user(name), since: None, since_change, not_before_ms, limit: 100 }).await
    };
    let before = sync("v", Some(0)).await?.latest_change;
    store.request_erasure(RECEIPT, &user("u"), 1).await?;
    let (mut after, mut erased) = (None, Vec::new());
    loop {
        let batch = store.erase_messages(&user("u"), after.as_deref(), START_MS + 20, 4, RECEIPT).await?;
        erased.extend(batch.messages);
        match batch.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(erased.len(), 6);
    assert!(erased.iter().all(|message| message.content.is_empty() && message.from_name.is_empty()));
    assert_eq!(counts(store).await?.messages, 6);
    let again = store.erase_messages(&user("u"), None, START_MS + 30, 100, RECEIPT).await?;
    assert_eq!((again.messages.len(), counts(store).await?.messages), (0, 6), "none twice");
    for name in ["u", "v"] {
        let page = sync(name, Some(before)).await?;
        for seen in &page.messages {
            let is_others = seen.message.from_user == user("v");
            assert_eq!(&*seen.message.content, if is_others { "secret" } else { "" });
            assert_eq!(seen.status == MsgStatus::Recalled, !is_others);
        }
        assert_eq!(page.changes.iter().filter(|change| change.kind == ChangeKind::Recalled).count(), 5, "{name}");
    }
    let due = store.outbox_due(START_MS + 1_000, 1, 10).await?;
    assert_eq!(due.iter().map(|call| call.message.from_user.clone()).collect::<Vec<_>>(), [user("v")]);
    let upload = Upload {
        id: Snowflake(5),
        owner: user("u"),
        msg_type: MsgType::Image,
        content_type: "image/png".into(),
        size_bytes: 3,
        name: Some("me.png".into()),
        complete: false,
    };
    store.announce_upload(&upload, 1, DayQuota { day: 1, bytes_max: 100 }).await?;
    assert!(store.complete_upload(Snowflake(5), 3).await?);
    assert_eq!(store.uploads_of(&user("u"), 9).await?, [Snowflake(5)]);
    store.erase_upload(Snowflake(5), RECEIPT).await?;
    store.erase_upload(Snowflake(5), RECEIPT).await?;
    assert_eq!((store.uploads_of(&user("u"), 9).await?, counts(store).await?.uploads), (vec![], 1));
    assert!(!store.complete_upload(Snowflake(5), 3).await?, "its bytes may go");
    Ok(())
}

async fn the_audit_trail_stays_a_chain(store: &impl Store) -> Case {
    let entry = |actor: &str, action: &str, target: &str, detail: Option<&str>| AuditEntry {
        at_ms: 1,
        actor: actor.into(),
        action: action.into(),
        room_id: Some(room("r")),
        target: target.into(),
        detail: detail.map(str::to_owned),
    };
    let entries = [
        entry("u", "ban", "v", None),
        entry("mo", "mute", "u", Some("he was rude")),
        entry("mo", "nuke", "17", Some(r#"{"user_id":"u"}"#)),
        entry("mo", "nuke", "18", Some(r#"{"user_id":"uu"}"#)),
        entry("mo", "mute", "v", Some("she, too")),
    ];
    store.audit(entries.to_vec()).await?;
    store.request_erasure(RECEIPT, &user("u"), 1).await?;
    let (mut erased, mut batches) = (0, 0);
    loop {
        match store.erase_audit(&user("u"), 9, 2, RECEIPT).await? {
            0 => break,
            some => (erased, batches) = (erased + some, batches + 1),
        }
    }
    assert_eq!((erased, batches, counts(store).await?.log_entries), (3, 2, 3));
    let (lines, mut chain) = (store.audit_lines(0, 100).await?, Chain::default());
    for line in &lines {
        assert_eq!(chain.check(line), Ok(()));
    }
    let whole = chain.finish(store.audit_head().await?.as_ref()).expect("a chain");
    assert_eq!((whole.lines, whole.erased), (5 + 2, 3));
    let left: Vec<_> = lines.iter().map(|line| (&*line.entry.actor, &*line.entry.target)).take(5).collect();
    assert_eq!(left, [("", "v"), ("mo", ""), ("mo", "17"), ("mo", "18"), ("mo", "v")]);
    let details: Vec<_> = lines.iter().map(|line| line.entry.detail.as_deref()).take(5).collect();
    assert_eq!(details, [None, None, None, Some(r#"{"user_id":"uu"}"#), Some("she, too")]);
    let of_actor = AuditQuery { actor: Some("u".into()), limit: 9, ..AuditQuery::default() };
    assert_eq!(store.audit_trail(&of_actor).await?, []);
    Ok(())
}

async fn nothing_is_left_of_a_profile(store: &impl Store) -> Case {
    let names = ["u", "v"];
    let seen = names.map(|name| Sighting { user_id: user(name), username: format!("N{name}").into(), at_ms: 1 });
    store.sight(seen.to_vec()).await?;
    store.append_messages(vec![message(1, "v", "u", "hi")]).await?;
    for name in names {
        let emoji = "👍".parse().expect("an emoji");
        store.react(React { user: user(name), message: id_at(1, 0), emoji, on: true, at_ms: START_MS }).await?;
    }
    for (name, other) in [("u", "v"), ("v", "u")] {
        store.block(&user(name), &user(other), 1, 9).await?;
        let until_ms = i64::MAX;
        let reason = Some(format!("{name} was rude"));
        let id = Snowflake(if name == "u" { 1 } else { 2 });
        let (kind, room_id, by) = (BanKind::Mute, None, "mo".into());
        store.add_ban(&Ban { id, user_id: user(name), room_id, kind, until_ms, reason, by, at_ms: 1 }).await?;
        let document = Document {
            kind: "appeal",
            id: name.into(),
            user_id: Some(user(name)),
            body: "{}".into(),
            ..Document::default()
        };
        store.add_document(&document).await?;
        store.mark_document("appeal", name, &user("w"), 1).await?;
        store.mark_document("appeal", "v", &user(name), 1).await?;
        let id = if name == "u" { 20 } else { 30 };
        store.add_note(&super::notes::note(id, name, Some("r")), 9).await?;
        store.add_note(&Note { by: name.into(), ..super::notes::note(id + 1, "w", None) }, 9).await?;
        let keyed = NewComment {
            client_msg_id: Some("mine".into()),
            ..positioned(comment(Snowflake(if name == "u" { 11 } else { 12 }), "r", name), 1)
        };
        store.append_comments(vec![keyed]).await?;
    }
    let mut calls = 0;
    while store.erase_profile(&user("u"), START_MS + 5, 1).await? > 0 {
        calls += 1;
        assert!(calls < 30, "it comes to an end");
    }
    // A node that saw both before the erasure, and stores that only now.
    store.note_purge(&user("u"), None, 50).await?;
    store
        .sight(
            names.map(|name| Sighting { user_id: user(name), username: format!("N{name}").into(), at_ms: 2 }).to_vec(),
        )
        .await?;
    let profiles = store.profiles(&user("w"), &names.map(user)).await?;
    let found: Vec<_> = profiles.iter().map(|profile| profile.username.as_deref()).collect();
    assert_eq!(found, [None, Some("Nv")]);
    assert_eq!((store.blocks(&user("u"), 9).await?.len(), store.blocks(&user("v"), 9).await?.len()), (0, 1));
    let reasons = async |name: &str| -> crate::Result<_> {
        Ok(store.bans_of(&user(name), 1).await?.into_iter().next().expect("in force").reason)
    };
    assert_eq!((reasons("u").await?, reasons("v").await?), (None, Some("v was rude".into())));
    assert_eq!(store.document("appeal", "u").await?, None);
    assert!(store.document("appeal", "v").await?.is_some());
    assert_eq!(store.document_marks("appeal", "u").await?, []);
    assert_eq!(store.document_marks("appeal", "v").await?, [(1, 2)], "of v and w");
    let about = async |name: &str| -> crate::Result<Vec<(u64, String)>> {
        let found = store.notes(&user(name), &RoomScope::All, None, 9).await?;
        Ok(found.into_iter().map(|note| (note.id.0, note.by)).collect())
    };
    assert_eq!((about("u").await?, about("v").await?), (vec![], vec![(30, "mo".into())]));
    assert_eq!(about("w").await?, [(31, "v".into()), (21, String::new())], "without the name of who wrote it");
    assert_eq!(store.first_answer(&user("u"), "mine").await?, None);
    assert!(store.first_answer(&user("v"), "mine").await?.is_some());
    let left = store.message(&user("v"), id_at(1, 0)).await?.expect("v's own").message;
    assert_eq!(left.reactions.iter().map(|one| one.count).collect::<Vec<_>>(), [1]);
    Ok(())
}

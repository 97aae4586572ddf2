//! Reviews, words, bans, revocations and the audit trail.

use super::*;

pub(super) fn review(id: u64, in_room: &str, by: &str) -> Review {
    Review {
        comment: Arc::new(comment(Snowflake(id), in_room, by)),
        keep: true,
        word: Some("词".into()),
        status: ReviewStatus::Pending,
        decided_by: None,
        decided_at_ms: None,
    }
}

pub(super) async fn one_moderator_decides(store: &dyn Store) -> Case {
    let held = Review { keep: false, ..review(1, "r", "u") };
    store.hold(&held, None).await?;
    let found = store.review(Snowflake(1)).await?.expect("held");
    assert_eq!((&found.comment, found.keep, &found.word), (&held.comment, false, &held.word));
    assert_eq!(store.comment(Snowflake(1)).await?, None, "a held comment is not published");

    let decided = store.decide(Snowflake(1), ReviewStatus::Approved, "mod", 9).await?.expect("pending");
    assert_eq!((decided.status, decided.decided_by.as_deref()), (ReviewStatus::Approved, Some("mod")));
    assert_eq!((decided.decided_at_ms, &*decided.comment), (Some(9), &*held.comment));
    assert!(store.decide(Snowflake(1), ReviewStatus::Rejected, "late", 10).await?.is_none());
    assert!(store.decide(Snowflake(2), ReviewStatus::Rejected, "mod", 10).await?.is_none());

    store.undecide(Snowflake(1)).await?;
    let again = store.review(Snowflake(1)).await?.expect("held");
    assert_eq!((again.status, again.decided_by, again.decided_at_ms), (ReviewStatus::Pending, None, None));
    let rejected = store.decide(Snowflake(1), ReviewStatus::Rejected, "late", 11).await?.expect("pending again");
    assert_eq!(rejected.status, ReviewStatus::Rejected);
    store.undecide(Snowflake(1)).await?;
    assert_eq!(store.review(Snowflake(1)).await?.map(|review| review.status), Some(ReviewStatus::Rejected));
    Ok(())
}

pub(super) async fn reviews_are_listed(store: &dyn Store) -> Case {
    for (id, in_room) in [(3, "r"), (1, "r"), (2, "s"), (4, "r")] {
        store.hold(&review(id, in_room, "u"), None).await?;
    }
    store.decide(Snowflake(3), ReviewStatus::Approved, "mod", 9).await?;
    let list = |status, in_room: Option<&'static str>, limit| async move {
        let in_room = in_room.map(room);
        let found = store.reviews(status, in_room.as_ref(), limit).await?;
        crate::Result::Ok(found.iter().map(|review| review.comment.id.0).collect::<Vec<_>>())
    };
    assert_eq!(list(None, None, 10).await?, [1, 2, 3, 4], "oldest first");
    assert_eq!(list(Some(ReviewStatus::Pending), None, 2).await?, [1, 2]);
    assert_eq!(list(Some(ReviewStatus::Pending), Some("r"), 10).await?, [1, 4]);
    assert_eq!(list(Some(ReviewStatus::Approved), Some("r"), 10).await?, [3]);
    assert_eq!(list(None, Some("s"), 10).await?, [2]);

    store.append_comments(vec![placed(comment(Snowflake(3), "r", "u"), 1)]).await?;
    store.delete_comments(&[Snowflake(3)]).await?;
    let erased = store.review(Snowflake(3)).await?.expect("the decision stays");
    assert_eq!(&*erased.comment.content, "", "a deleted comment's text is nowhere");
    Ok(())
}

pub(super) async fn words_are_sets(store: &dyn Store) -> Case {
    let (mask, block) = (WordList::Mask, WordList::Block);
    assert_eq!(store.words().await?, []);
    store.set_words(vec![(mask, "a".into()), (block, "a".into()), (mask, "a".into()), (mask, "词".into())]).await?;
    store.add_word(block, "b").await?;
    store.add_word(block, "b").await?;
    let mut words = store.words().await?;
    words.sort_by(|a, b| (a.0 as u8, &a.1).cmp(&(b.0 as u8, &b.1)));
    let expected = [(mask, "a".into()), (mask, "词".into()), (block, "a".into()), (block, "b".into())];
    assert_eq!(words, expected);
    assert!(store.remove_word(mask, "a").await?);
    assert!(!store.remove_word(mask, "a").await?);
    assert!(!store.remove_word(WordList::Review, "b").await?);
    store.set_words(vec![(WordList::Review, "only".into())]).await?;
    assert_eq!(store.words().await?, [(WordList::Review, "only".into())]);
    Ok(())
}

pub(super) fn ban(id: u64, whom: &str, in_room: Option<&str>, until_ms: i64) -> Ban {
    let (kind, reason, by) = (BanKind::Mute, Some("spam".into()), "mod".into());
    let room_id = in_room.map(room);
    Ban { id: Snowflake(id), user_id: user(whom), room_id, kind, until_ms, reason, by, at_ms: START_MS }
}

pub(super) async fn bans_end(store: &dyn Store) -> Case {
    let bans = [
        ban(1, "u", None, 100),
        Ban { kind: BanKind::Ban, reason: None, ..ban(2, "u", Some("r"), 200) },
        ban(3, "v", Some("s"), 300),
    ];
    for ban in &bans {
        store.add_ban(ban).await?;
    }
    let [everywhere, in_r, in_s] = &bans;
    let in_force = |now_ms, limit| async move { store.bans(now_ms, None, limit).await };
    assert_eq!(in_force(99, 10).await?, [in_s.clone(), in_r.clone(), everywhere.clone()], "newest first");
    assert_eq!(in_force(100, 10).await?, [in_s.clone(), in_r.clone()], "it ends at its end");
    assert_eq!(in_force(0, 1).await?.first(), Some(in_s));
    assert_eq!(store.bans(0, Some(&room("r")), 10).await?, std::slice::from_ref(in_r), "a room's own");
    let mut of_u = store.bans_of(&user("u"), 99).await?;
    of_u.sort_by_key(|ban| ban.id);
    assert_eq!(of_u, [everywhere.clone(), in_r.clone()]);
    assert_eq!(store.bans_of(&user("u"), 100).await?, std::slice::from_ref(in_r), "one user's in force");
    assert_eq!(store.bans_of(&user("w"), 0).await?, []);
    assert_eq!(store.ban(Snowflake(1)).await?.as_ref(), Some(everywhere));
    assert_eq!(store.ban(Snowflake(9)).await?, None);
    assert_eq!(store.remove_ban(Snowflake(2)).await?.as_ref(), Some(in_r));
    assert_eq!(store.remove_ban(Snowflake(2)).await?, None);
    assert_eq!(in_force(0, 10).await?.len(), 2);
    Ok(())
}

pub(super) async fn revocations_only_move_forward(store: &dyn Store) -> Case {
    store.revoke_tokens(&user("u"), 50).await?;
    store.revoke_tokens(&user("v"), 10).await?;
    store.revoke_tokens(&user("u"), 40).await?;
    let mut revocations = store.revocations().await?;
    revocations.sort();
    assert_eq!(revocations, [(user("u"), 50), (user("v"), 10)]);
    Ok(())
}

pub(super) async fn the_audit_trail_is_newest_first(store: &dyn Store) -> Case {
    let line = |n: i64, in_room: Option<&str>| AuditEntry {
        at_ms: 100 - n, // The order is that of writing, whatever a clock said.
        actor: "mod".into(),
        action: "review.approve".into(),
        room_id: in_room.map(room),
        target: n.to_string(),
        detail: (n == 1).then(|| "why".into()),
    };
    let lines = [line(1, Some("r")), line(2, None), line(3, Some("r"))];
    for line in &lines {
        store.audit(line.clone()).await?;
    }
    let [first, second, third] = lines;
    assert_eq!(store.audit_trail(None, 10).await?, [third.clone(), second, first.clone()]);
    assert_eq!(store.audit_trail(Some(&room("r")), 10).await?, [third.clone(), first]);
    assert_eq!(store.audit_trail(None, 1).await?, [third]);
    Ok(())
}

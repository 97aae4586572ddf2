//! Reviews, words, bans, revocations and the audit trail.

use super::*;
use crate::audit::Chain;
use crate::{
    AuditEntry, AuditQuery, Ban, BanKind, CLAIM_MS_MAX, CommentStore, LabelScore, ModerationStore, Review,
    ReviewStatus, ReviewsOf, RoomScope, RoomStore, WordList,
};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: ModerationStore + CommentStore + RoomStore>(fresh: impl Fn() -> S) -> Case {
    one_moderator_decides(&fresh()).await?;
    reviews_are_listed(&fresh()).await?;
    lists_are_cut_after_they_are_filtered(&fresh()).await?;
    reviews_are_erased(&fresh()).await?;
    approval_does_not_change_the_first_answer(&fresh()).await?;
    a_repeat_is_not_held(&fresh()).await?;
    words_are_sets(&fresh()).await?;
    bans_end(&fresh()).await?;
    revocations_only_move_forward(&fresh()).await?;
    a_claim_keeps_others_out_until_it_ends(&fresh()).await?;
    delayed_comments_come_due_in_order(&fresh()).await?;
    the_audit_trail_is_newest_first(&fresh()).await
}

pub(super) fn review(id: u64, in_room: &str, by: &str) -> Review {
    Review { word: Some("词".into()), ..Review::pending(Arc::new(comment(Snowflake(id), in_room, by)), true) }
}

async fn one_moderator_decides(store: &(impl ModerationStore + CommentStore)) -> Case {
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

async fn reviews_are_listed(store: &(impl ModerationStore + CommentStore)) -> Case {
    for (id, in_room) in [(3, "r"), (1, "r"), (2, "s"), (4, "r")] {
        store.hold(&review(id, in_room, "u"), None).await?;
    }
    store.decide(Snowflake(3), ReviewStatus::Approved, "mod", 9).await?;
    let list = |status, in_room: Option<&'static str>, limit| async move {
        let scope = in_room.map_or(RoomScope::All, |name| RoomScope::Listed(vec![room(name)]));
        let found = store.reviews(status, &scope, None, limit).await?;
        crate::Result::Ok(found.iter().map(|review| review.comment.id.0).collect::<Vec<_>>())
    };
    assert_eq!(list(None, None, 10).await?, [1, 2, 3, 4], "oldest first");
    assert_eq!(list(Some(ReviewStatus::Pending), None, 2).await?, [1, 2]);
    assert_eq!(list(Some(ReviewStatus::Pending), Some("r"), 10).await?, [1, 4]);
    assert_eq!(list(Some(ReviewStatus::Approved), Some("r"), 10).await?, [3]);
    assert_eq!(list(None, Some("s"), 10).await?, [2]);

    store.append_comments(vec![positioned(comment(Snowflake(3), "r", "u"), 1)]).await?;
    store.delete_comments(&[Snowflake(3)]).await?;
    let erased = store.review(Snowflake(3)).await?.expect("the decision stays");
    assert_eq!(&*erased.comment.content, "", "a deleted comment's text is nowhere");
    Ok(())
}

async fn lists_are_cut_after_they_are_filtered(store: &(impl ModerationStore + CommentStore + RoomStore)) -> Case {
    let owned = |by: &str| RoomSettings { owner_id: Some(user(by)), ..RoomSettings::default() };
    for (in_room, by) in [("r", "o"), ("s", "o"), ("t", "p")] {
        store.put_room(&room(in_room), &RoomSettings::default(), &owned(by)).await?;
    }
    for (id, in_room) in [(1, "t"), (2, "t"), (3, "r"), (4, "t"), (5, "s"), (6, "r")] {
        store.hold(&review(id, in_room, "u"), None).await?;
        store.add_ban(&ban(id, "u", Some(in_room), 100)).await?;
    }
    store.add_ban(&ban(7, "u", None, 100)).await?;
    let of_o = RoomScope::OwnedBy { owner: user("o"), within: None };
    let of_o_in_r = RoomScope::OwnedBy { owner: user("o"), within: Some(vec![room("r"), room("t")]) };
    let listed = RoomScope::Listed(vec![room("t"), room("s"), room("nowhere")]);
    let none = RoomScope::Listed(Vec::new());
    for (scope, ids) in [(&of_o, vec![3, 5, 6]), (&of_o_in_r, vec![3, 6]), (&listed, vec![1, 2, 4, 5]), (&none, vec![])]
    {
        for page in [1, 2, 10] {
            let (mut reviews, mut bans) = (Vec::new(), Vec::new());
            while let some = store.reviews(Some(ReviewStatus::Pending), scope, reviews.last().copied(), page).await?
                && !some.is_empty()
            {
                reviews.extend(some.iter().map(|review| review.comment.id));
            }
            while let some = store.bans(0, scope, bans.last().copied(), page).await?
                && !some.is_empty()
            {
                bans.extend(some.iter().map(|ban| ban.id));
            }
            bans.reverse();
            let ids: Vec<_> = ids.iter().map(|id| Snowflake(*id)).collect();
            assert_eq!((&reviews, &bans), (&ids, &ids), "{scope:?} in pages of {page}");
        }
    }
    Ok(())
}

async fn reviews_are_erased(store: &(impl ModerationStore + CommentStore)) -> Case {
    for (id, in_room, by) in [(1, "r", "u"), (2, "s", "u"), (3, "r", "v"), (4, "r", "u")] {
        store.hold(&review(id, in_room, by), None).await?;
    }
    store.decide(Snowflake(4), ReviewStatus::Rejected, "mod", 9).await?;
    let here = room("r");
    let erased = store.erase_reviews(ReviewsOf::User(&user("u"), Some(&here)), "boss", 10, None).await?;
    assert_eq!(erased.iter().map(|review| review.comment.id.0).collect::<Vec<_>>(), [1], "what was pending");
    for (id, by) in [(1, "boss"), (4, "mod")] {
        let review = store.review(Snowflake(id)).await?.expect("the decision stays");
        assert_eq!((&*review.comment.content, &*review.comment.username), ("", ""));
        assert_eq!((review.status, review.decided_by.as_deref()), (ReviewStatus::Rejected, Some(by)));
    }
    assert!(store.decide(Snowflake(1), ReviewStatus::Approved, "late", 11).await?.is_none());
    assert_eq!(store.erase_reviews(ReviewsOf::Comment(Snowflake(3)), "boss", 12, None).await?.len(), 1);
    assert_eq!(store.erase_reviews(ReviewsOf::Comment(Snowflake(3)), "boss", 12, None).await?.len(), 0, "once");
    let left = store.reviews(Some(ReviewStatus::Pending), &RoomScope::All, None, 10).await?;
    assert_eq!(left.iter().map(|review| review.comment.id.0).collect::<Vec<_>>(), [2]);
    Ok(())
}

async fn words_are_sets(store: &(impl ModerationStore + CommentStore)) -> Case {
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

async fn bans_end(store: &(impl ModerationStore + CommentStore)) -> Case {
    let bans = [
        ban(1, "u", None, 100),
        Ban { kind: BanKind::Ban, reason: None, ..ban(2, "u", Some("r"), 200) },
        ban(3, "v", Some("s"), 300),
    ];
    for ban in &bans {
        store.add_ban(ban).await?;
    }
    let [everywhere, in_r, in_s] = &bans;
    let in_force = |now_ms, limit| async move { store.bans(now_ms, &RoomScope::All, None, limit).await };
    assert_eq!(in_force(99, 10).await?, [in_s.clone(), in_r.clone(), everywhere.clone()], "newest first");
    assert_eq!(in_force(100, 10).await?, [in_s.clone(), in_r.clone()], "it ends at its end");
    assert_eq!(in_force(0, 1).await?.first(), Some(in_s));
    let of_r = RoomScope::Listed(vec![room("r")]);
    assert_eq!(store.bans(0, &of_r, None, 10).await?, std::slice::from_ref(in_r), "a room's own");
    assert_eq!(
        store.bans(0, &RoomScope::All, Some(Snowflake(3)), 1).await?,
        std::slice::from_ref(in_r),
        "the next page"
    );
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

async fn revocations_only_move_forward(store: &(impl ModerationStore + CommentStore)) -> Case {
    store.revoke_tokens(&user("u"), 50).await?;
    store.revoke_tokens(&user("v"), 10).await?;
    store.revoke_tokens(&user("u"), 40).await?;
    let mut revocations = store.revocations().await?;
    revocations.sort();
    assert_eq!(revocations, [(user("u"), 50), (user("v"), 10)]);
    Ok(())
}

async fn the_audit_trail_is_newest_first(store: &(impl ModerationStore + RoomStore)) -> Case {
    let line = |n: i64, in_room: Option<&str>| AuditEntry {
        at_ms: 100 - n, // The order is that of writing, not of the clock.
        actor: "mod".into(),
        action: "review.approve".into(),
        room_id: in_room.map(room),
        target: n.to_string(),
        detail: (n == 1).then(|| "why".into()),
    };
    let lines = [line(1, Some("r")), line(2, None), line(3, Some("r"))];
    for line in &lines {
        store.audit(vec![line.clone()]).await?;
    }
    let [first, second, third] = lines;
    let trail = async |query: &AuditQuery| {
        let found = store.audit_trail(query).await?;
        Ok::<Vec<AuditEntry>, StoreError>(found.into_iter().map(|(_, entry)| entry).collect())
    };
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    assert_eq!(trail(&all).await?, [third.clone(), second.clone(), first.clone()]);
    let of_rooms = |rooms: &[&str]| AuditQuery {
        of: RoomScope::Listed(rooms.iter().map(|name| room(name)).collect()),
        ..all.clone()
    };
    assert_eq!(trail(&of_rooms(&["r"])).await?, [third.clone(), first.clone()]);
    assert_eq!(trail(&of_rooms(&[])).await?, []);
    assert_eq!(trail(&of_rooms(&["nowhere", "r"])).await?.len(), 2);
    let owned = RoomScope::OwnedBy { owner: user("olga"), within: None };
    assert_eq!(trail(&AuditQuery { of: owned.clone(), ..all.clone() }).await?, []);
    put(store, "r", &RoomSettings { owner_id: Some(user("olga")), ..RoomSettings::default() }).await?;
    assert_eq!(trail(&AuditQuery { of: owned.clone(), ..all.clone() }).await?, [third.clone(), first.clone()]);
    assert_eq!(trail(&AuditQuery { limit: 1, ..all.clone() }).await?, std::slice::from_ref(&third));
    let newest = store.audit_trail(&AuditQuery { limit: 1, ..all.clone() }).await?[0].0;
    assert_eq!(trail(&AuditQuery { before: Some(newest), ..all.clone() }).await?, [second.clone(), first.clone()]);
    let when = AuditQuery { since_ms: Some(98), until_ms: Some(99), ..all.clone() };
    assert_eq!(trail(&when).await?, std::slice::from_ref(&second));
    assert_eq!(trail(&AuditQuery { actor: Some("mod".into()), ..all.clone() }).await?.len(), 3);
    assert_eq!(trail(&AuditQuery { action: Some("ban".into()), ..all.clone() }).await?, []);
    let of_target = |target: &str| AuditQuery { target: Some(target.into()), ..all.clone() };
    assert_eq!(trail(&of_target("2")).await?, std::slice::from_ref(&second));
    assert_eq!(trail(&of_target("4")).await?, []);
    assert_eq!(trail(&AuditQuery { of: of_rooms(&["r"]).of, ..of_target("2") }).await?, [], "of no room");
    assert_eq!(trail(&AuditQuery { of: of_rooms(&["r"]).of, ..of_target("3") }).await?, std::slice::from_ref(&third));
    assert_eq!(trail(&AuditQuery { of: owned, ..of_target("1") }).await?, std::slice::from_ref(&first));
    assert_eq!(trail(&AuditQuery { actor: Some("ann".into()), ..of_target("3") }).await?, []);
    let again = AuditEntry { action: "ban".into(), ..third.clone() };
    store.audit(vec![again.clone()]).await?;
    assert_eq!(trail(&of_target("3")).await?, [again.clone(), third.clone()]);
    let newest = store.audit_trail(&AuditQuery { limit: 1, ..of_target("3") }).await?[0].0;
    assert_eq!(trail(&AuditQuery { before: Some(newest), ..of_target("3") }).await?, [third], "the next page");

    let (lines, head, mut chain) = (store.audit_lines(0, 10).await?, store.audit_head().await?, Chain::default());
    assert_eq!(lines.iter().map(|line| &line.entry).collect::<Vec<_>>()[..2], [&first, &lines[1].entry]);
    for line in &lines {
        assert_eq!(chain.check(line), Ok(()));
    }
    assert_eq!(chain.finish(head.as_ref()).map(|whole| (whole.lines, whole.erased)), Ok((4, 0)));
    assert_eq!(store.audit_lines(lines[1].line, 10).await?.len(), 2);
    Ok(())
}

async fn a_claim_keeps_others_out_until_it_ends(store: &(impl ModerationStore + CommentStore)) -> Case {
    store.hold(&review(1, "r", "u"), None).await?;
    assert_eq!((store.held_of(&user("u"), 9).await?, store.held_of(&user("v"), 9).await?), (1, 0));
    let claimed = store.claim(Snowflake(1), "ann", 100, 160).await?.expect("pending");
    assert_eq!((claimed.claimed_at(159), claimed.claimed_at(160)), (Some("ann"), None));
    assert!(store.claim(Snowflake(1), "ben", 159, 219).await?.is_none());
    assert!(store.decide(Snowflake(1), ReviewStatus::Approved, "ben", 159).await?.is_none());
    assert!(store.claim(Snowflake(1), "ann", 159, 219).await?.is_some(), "a claim can be prolonged");
    assert!(store.claim(Snowflake(1), "ben", 219, 300).await?.is_some(), "a claim ends");
    assert!(store.decide(Snowflake(1), ReviewStatus::Approved, "ann", 220).await?.is_none());
    assert!(store.decide(Snowflake(1), ReviewStatus::Approved, "ben", 220).await?.is_some());
    assert!(store.claim(Snowflake(1), "ann", 400, 500).await?.is_none(), "nothing is left to decide");
    assert_eq!(store.held_of(&user("u"), 9).await?, 0, "a decided one waits no more");

    // The clock steps back by two hours: nobody is kept out that long.
    let now_ms = 3 * CLAIM_MS_MAX;
    for id in [2, 3] {
        store.hold(&review(id, "r", "u"), None).await?;
        store.claim(Snowflake(id), "ann", now_ms, now_ms + 60).await?.expect("pending");
    }
    let back_ms = CLAIM_MS_MAX;
    let claimed = store.review(Snowflake(2)).await?.expect("held");
    assert_eq!((claimed.claimed_at(now_ms), claimed.claimed_at(back_ms)), (Some("ann"), None));
    assert!(store.claim(Snowflake(2), "ben", back_ms, back_ms + 60).await?.is_some());
    assert!(store.decide(Snowflake(3), ReviewStatus::Rejected, "ben", back_ms).await?.is_some());
    Ok(())
}

async fn delayed_comments_come_due_in_order(store: &(impl ModerationStore + CommentStore)) -> Case {
    for (id, due_ms) in [(1, 30), (2, 10), (3, 20)] {
        let (status, due_ms) = (ReviewStatus::Delayed, Some(due_ms));
        let labels = vec![LabelScore { name: "spam".into(), score: 0.5 }];
        store.hold(&Review { status, due_ms, labels, ..review(id, "r", "u") }, Some(&id.to_string())).await?;
    }
    assert_eq!(store.first_answer(&user("u"), "1").await?.map(|first| first.pending_review), Some(false));
    let due = store.due_reviews(20, 10).await?;
    assert_eq!(due.iter().map(|review| review.comment.id.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((due[0].labels[0].name.as_str(), due[0].due_ms), ("spam", Some(10)));
    assert!(store.decide(Snowflake(3), ReviewStatus::Rejected, "mod", 15).await?.is_some());
    store.forget_reviews(&[Snowflake(2), Snowflake(3)]).await?;
    assert!(store.review(Snowflake(2)).await?.is_none(), "it was published");
    assert!(store.review(Snowflake(3)).await?.is_some(), "a decision stays");
    assert_eq!(store.due_reviews(100, 10).await?.len(), 1);
    Ok(())
}

/// Held twice under one `client_msg_id`, or held after it was published: the queue has it once.
async fn a_repeat_is_not_held(store: &(impl ModerationStore + CommentStore)) -> Case {
    let published = NewComment { client_msg_id: Some("m0".into()), ..positioned(comment(Snowflake(1), "r", "u"), 1) };
    store.append_comments(vec![published]).await?;
    let answer = |n, pending_review| FirstAnswer { id: Snowflake(n), pending_review, created_at_ms: START_MS };
    assert_eq!(store.hold(&review(2, "r", "u"), Some("m0")).await?, Some(answer(1, false)));
    assert_eq!(store.hold(&review(3, "r", "u"), Some("m1")).await?, None);
    assert_eq!(store.hold(&review(4, "r", "u"), Some("m1")).await?, Some(answer(3, true)));
    assert_eq!(store.hold(&review(3, "r", "u"), Some("m1")).await?, None, "the same one again");
    let queue = store.reviews(Some(ReviewStatus::Pending), &RoomScope::All, None, 10).await?;
    assert_eq!(queue.iter().map(|review| review.comment.id.0).collect::<Vec<_>>(), [3]);
    Ok(())
}

async fn approval_does_not_change_the_first_answer(store: &(impl ModerationStore + CommentStore)) -> Case {
    let held = review(9, "r", "u");
    store.hold(&held, Some("m2")).await?;
    store
        .append_comments(vec![NewComment {
            comment: held.comment.clone(),
            position: 10,
            client_msg_id: Some("m2".into()),
        }])
        .await?;
    let first = store.first_answer(&user("u"), "m2").await?.expect("remembered");
    assert_eq!((first.id, first.pending_review), (Snowflake(9), true), "approval does not change the answer");
    Ok(())
}

//! Comments: what is kept, in which order it is read, how it goes.

use model::{Mode, Repeat, Size};

use super::*;
use crate::{CommentStore, Positioned, Purged, ReplayQuery};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: CommentStore>(fresh: impl Fn() -> S) -> Case {
    comments_come_back_as_they_were(&fresh()).await?;
    a_batch_may_be_repeated(&fresh()).await?;
    the_first_answer_stays(&fresh()).await?;
    of_two_with_one_client_msg_id_the_first_is_stored(&fresh()).await?;
    cursors_follow_positions(&fresh()).await?;
    replay_pages_meet_every_comment_once(&fresh()).await?;
    replay_narrows(&fresh()).await?;
    deleting_erases_and_keeps_the_position(&fresh()).await?;
    purging_takes_one_user_only(&fresh()).await?;
    imports_have_no_position_in_the_live_order(&fresh()).await?;
    shadowed_comments_are_of_their_sender(&fresh()).await?;
    hidden_comments_come_back(&fresh()).await
}

async fn comments_come_back_as_they_were(store: &impl CommentStore) -> Case {
    let full = Comment {
        session_id: Some(Snowflake(77)),
        username: "弹幕 🎉 \u{202e}x".into(),
        level: Level::Moderator,
        content: "第一行\n\"'; DROP TABLE comments; -- \u{0} 🀄".into(),
        style: Style { mode: Mode::Bottom, color: 0x12_34_56, size: Size::Large },
        kind: Kind::Imported,
        mentions: Box::new([user("a@b"), user("c")]),
        offset_ms: 12_345,
        ..comment(Snowflake(i64::MAX as u64), "r", "u")
    };
    let plain = comment(Snowflake(1), "r", "u");
    store.append_comments(vec![positioned(full.clone(), 1), positioned(plain.clone(), 2)]).await?;
    assert_eq!(store.comment(full.id).await?.as_deref(), Some(&full), "every field is kept");
    assert_eq!(store.comment(plain.id).await?.as_deref(), Some(&plain));
    assert_eq!(store.comment(Snowflake(2)).await?, None, "an unknown id");
    Ok(())
}

async fn a_batch_may_be_repeated(store: &impl CommentStore) -> Case {
    let said = |n: u64, text: &str| Comment { content: text.into(), ..comment(Snowflake(n), "r", "u") };
    store.append_comments(vec![positioned(said(10, "first"), 1)]).await?;
    store.append_comments(vec![positioned(said(10, "second"), 9), positioned(said(11, "new"), 2)]).await?;
    assert_eq!(after(store, "r", 0, 10).await?, [(1, 10), (2, 11)], "a kept comment keeps its place");
    let kept = store.comment(Snowflake(10)).await?.expect("kept");
    assert_eq!(&*kept.content, "first");
    store.append_comments(Vec::new()).await.map(drop)
}

async fn the_first_answer_stays(store: &impl CommentStore) -> Case {
    let said = |n: u64, by: &str| NewComment {
        client_msg_id: Some("m1".into()),
        ..positioned(comment(Snowflake(n), "r", by), n)
    };
    assert_eq!(store.first_answer(&user("u"), "m1").await?, None);
    store.append_comments(vec![said(1, "u"), said(2, "v")]).await?;
    store.append_comments(vec![said(3, "u")]).await?;
    let answer = |n| FirstAnswer { id: Snowflake(n), pending_review: false, created_at_ms: START_MS };
    assert_eq!(store.first_answer(&user("u"), "m1").await?, Some(answer(1)));
    assert_eq!(store.first_answer(&user("v"), "m1").await?, Some(answer(2)), "each user has its own");
    assert_eq!(store.first_answer(&user("u"), "M1").await?, None, "case matters");
    Ok(())
}

/// Whoever brings the later one, in the same batch, in another or much later: it is not stored, and its answer is the first.
async fn of_two_with_one_client_msg_id_the_first_is_stored(store: &impl CommentStore) -> Case {
    let said = |n: u64, by: &str, key: &str| NewComment {
        client_msg_id: Some(key.into()),
        ..positioned(comment(Snowflake(n), "r", by), n)
    };
    let first = |n| FirstAnswer { id: Snowflake(n), pending_review: false, created_at_ms: START_MS };
    let repeat = |id, of| Repeat { id: Snowflake(id), first: first(of) };
    let unnamed = positioned(comment(Snowflake(3), "r", "u"), 3);
    let run = vec![said(1, "u", "a"), said(2, "u", "a"), unnamed.clone(), said(4, "v", "a"), said(5, "u", "b")];
    assert_eq!(store.append_comments(run).await?, [repeat(2, 1)], "within a batch");
    let run = vec![said(6, "u", "c"), said(7, "v", "a"), said(5, "u", "b"), unnamed];
    assert_eq!(store.append_comments(run).await?, [repeat(7, 4)], "against another; its own repeat is none");
    assert_eq!(after(store, "r", 0, 10).await?, [(1, 1), (3, 3), (4, 4), (5, 5), (6, 6)]);
    assert_eq!(store.first_answer(&user("v"), "a").await?, Some(first(4)));

    let mut keys = store.client_msg_ids(&[1, 2, 3, 4, 5, 99].map(Snowflake)).await?;
    keys.sort_unstable_by_key(|(id, _)| *id);
    let keys: Vec<_> = keys.iter().map(|(id, key)| (id.0, &**key)).collect();
    assert_eq!(keys, [(1, "a"), (4, "a"), (5, "b")]);
    Ok(())
}

async fn cursors_follow_positions(store: &impl CommentStore) -> Case {
    // Ids fall while positions rise: what was published later may have been made earlier.
    let run =
        (1..=20).map(|n| positioned(comment(Snowflake(100 - n), if n % 2 == 0 { "even" } else { "odd" }, "u"), n));
    store.append_comments(run.collect()).await?;
    assert_eq!(after(store, "even", 0, 3).await?, [(2, 98), (4, 96), (6, 94)]);
    assert_eq!(after(store, "even", 6, 2).await?, [(8, 92), (10, 90)]);
    assert_eq!(after(store, "even", 20, 2).await?, []);
    assert_eq!(after(store, "nowhere", 0, 2).await?, []);
    assert_eq!((store.count_after(&room("even"), 6).await?, store.count_after(&room("odd"), 0).await?), (7, 10));
    let latest = store.latest_comments(&room("odd"), 3).await?;
    let latest: Vec<_> = latest.iter().map(|positioned| positioned.position).collect();
    assert_eq!(latest, [15, 17, 19], "the newest, oldest of them first");
    assert_eq!(store.position_of(Snowflake(94)).await?, Some((room("even"), 6)));
    assert_eq!(store.position_of(Snowflake(5)).await?, None);
    Ok(())
}

async fn replay_pages_meet_every_comment_once(store: &impl CommentStore) -> Case {
    // Seven comments at each of a few offsets, written in no order.
    let said =
        |n: u64| Comment { offset_ms: (n * 5 % 4 * 100) as i64, ..comment(Snowflake(n * 37 % 41 + 1), "r", "u") };
    let all: Vec<_> = (0..28).map(said).collect();
    let mut expected: Vec<_> = all.iter().map(|comment| (comment.offset_ms, comment.id)).collect();
    expected.sort_unstable();
    store.append_comments((1..).zip(all).map(|(position, comment)| positioned(comment, position)).collect()).await?;
    for limit in [1, 3, 7, 28, 100] {
        let (mut met, mut query) = (Vec::new(), whole("r", limit));
        loop {
            let page = store.replay(query.clone()).await?;
            assert!(page.len() <= limit);
            met.extend(page.iter().map(|comment| (comment.offset_ms, comment.id)));
            query.after = met.last().copied();
            if page.is_empty() {
                break;
            }
        }
        assert_eq!(met, expected, "pages of {limit}");
    }
    Ok(())
}

async fn replay_narrows(store: &impl CommentStore) -> Case {
    let said = |n: u64, session: u64, by: &str, in_room: &str| Comment {
        session_id: Some(Snowflake(session)),
        offset_ms: n as i64 * 100,
        ..comment(Snowflake(n), in_room, by)
    };
    let run =
        [said(1, 1, "u", "r"), said(2, 2, "u", "r"), said(3, 1, "v", "r"), said(4, 1, "u", "r"), said(5, 3, "u", "s")];
    store.append_comments((1..).zip(run).map(|(position, comment)| positioned(comment, position)).collect()).await?;
    let base = whole("r", 10);
    let session = ReplayQuery { session_id: Some(Snowflake(1)), ..base.clone() };
    let by_user = ReplayQuery { by_user: Some(user("u")), ..base.clone() };
    for (query, expected) in [
        (base.clone(), vec![1, 2, 3, 4]),
        (session.clone(), vec![1, 3, 4]),
        (by_user.clone(), vec![1, 2, 4]),
        (ReplayQuery { by_user: Some(user("u")), ..session.clone() }, vec![1, 4]),
        (ReplayQuery { session_id: Some(Snowflake(3)), ..base.clone() }, vec![]),
        (ReplayQuery { from_ms: 200, to_ms: 400, ..base.clone() }, vec![2, 3]),
        (ReplayQuery { from_ms: 400, to_ms: 401, ..by_user.clone() }, vec![4]),
        (ReplayQuery { from_ms: 300, after: Some((100, Snowflake(1))), ..base.clone() }, vec![3, 4]),
        (ReplayQuery { from_ms: 0, after: Some((300, Snowflake(3))), ..session.clone() }, vec![4]),
        (ReplayQuery { from_ms: 400, to_ms: 300, ..base }, vec![]),
    ] {
        assert_eq!(ids(&store.replay(query.clone()).await?), expected, "{query:?}");
    }
    Ok(())
}

async fn deleting_erases_and_keeps_the_position(store: &impl CommentStore) -> Case {
    let said = |n: u64, in_room: &str| comment(Snowflake(n), in_room, "u");
    store
        .append_comments(vec![positioned(said(11, "r"), 1), positioned(said(12, "r"), 2), positioned(said(13, "s"), 3)])
        .await?;
    let deleted = store.delete_comments(&[Snowflake(11), Snowflake(13), Snowflake(99), Snowflake(11)]).await?;
    assert_eq!(deleted, [(Snowflake(11), room("r")), (Snowflake(13), room("s"))]);
    assert_eq!(store.delete_comments(&[Snowflake(11)]).await?, [], "it is gone already");
    assert_eq!(store.comment(Snowflake(11)).await?, None);
    assert_eq!(after(store, "r", 0, 10).await?, [(2, 12)]);
    assert_eq!(store.latest_comments(&room("r"), 10).await?.len(), 1);
    assert_eq!(ids(&store.replay(whole("r", 10)).await?), [12]);
    assert_eq!(store.position_of(Snowflake(11)).await?, Some((room("r"), 1)), "cursors outlive deletions");
    assert_eq!(store.deleted_among(&[]).await?, []);
    assert_eq!(store.deleted_among(&[Snowflake(11), Snowflake(12), Snowflake(99)]).await?, [Snowflake(11)]);
    store.append_comments(vec![positioned(said(11, "r"), 1)]).await?;
    assert_eq!(store.comment(Snowflake(11)).await?, None, "a repeated run brings nothing back");
    Ok(())
}

async fn purging_takes_one_user_only(store: &impl CommentStore) -> Case {
    let said = [("r", "bad"), ("s", "bad"), ("r", "good"), ("r", "bad")];
    let run = (1..).zip(said).map(|(n, (in_room, by))| positioned(comment(Snowflake(n), in_room, by), n));
    store.append_comments(run.collect()).await?;
    let mut purged = store.purge_user(&user("bad"), Some(&room("r")), 100, None).await?.comments;
    purged.sort();
    assert_eq!(purged, [(Snowflake(1), room("r")), (Snowflake(4), room("r"))]);
    let rest = store.purge_user(&user("bad"), None, 100, None).await?;
    assert_eq!((rest.comments, rest.rooms), (vec![(Snowflake(2), room("s"))], vec![room("s")]));
    assert_eq!(store.purge_user(&user("bad"), Some(&room("nowhere")), 100, None).await?, Purged::default());
    assert_eq!(after(store, "r", 0, 9).await?, [(3, 3)]);
    Ok(())
}

async fn imports_have_no_position_in_the_live_order(store: &impl CommentStore) -> Case {
    let over = over();
    assert_eq!(store.import_comments(&over, vec![recorded(10), recorded(11)]).await?, 2);
    assert_eq!(store.import_comments(&over, vec![recorded(11), recorded(12)]).await?, 1, "only the new ones count");
    store.append_comments(vec![positioned(comment(Snowflake(20), "r", "u"), 1)]).await?;
    assert_eq!(after(store, "r", 0, 10).await?, [(1, 20)]);
    assert_eq!(store.latest_comments(&room("r"), 10).await?.len(), 1);
    assert_eq!(ids(&store.replay(whole("r", 10)).await?), [20, 10, 11, 12]);
    assert_eq!(store.position_of(Snowflake(10)).await?, Some((room("r"), 0)));
    Ok(())
}

async fn shadowed_comments_are_of_their_sender(store: &impl CommentStore) -> Case {
    let shadow = |id: u64, by: &str| NewComment {
        comment: Arc::new(Comment { shadow: true, ..comment(Snowflake(id), "r", by) }),
        position: id,
        client_msg_id: None,
    };
    let seen = NewComment { comment: Arc::new(comment(Snowflake(2), "r", "u")), position: 2, client_msg_id: None };
    store.append_comments(vec![shadow(1, "u"), seen, shadow(3, "v")]).await?;
    let ids =
        |found: Vec<Positioned>| found.iter().map(|one| (one.comment.id.0, one.comment.shadow)).collect::<Vec<_>>();
    assert_eq!(ids(store.latest_comments(&room("r"), 10).await?), [(2, false)]);
    assert_eq!(store.count_after(&room("r"), 0).await?, 1);
    assert_eq!(store.comment(Snowflake(1)).await?, None);
    assert_eq!(store.shadowed_comment(Snowflake(1)).await?.map(|found| found.shadow), Some(true));
    assert_eq!(store.shadowed_comment(Snowflake(2)).await?, None);
    assert_eq!(ids(store.shadowed_comments(&room("r"), None, 10).await?), [(1, true), (3, true)]);
    assert_eq!(ids(store.shadowed_comments(&room("r"), None, 1).await?), [(3, true)]);
    assert_eq!(ids(store.shadowed_comments(&room("r"), Some(&user("u")), 10).await?), [(1, true)]);
    assert_eq!(store.position_of(Snowflake(1)).await?, Some((room("r"), 1)), "a cursor may stand on it");
    assert_eq!(store.delete_comments(&[Snowflake(1)]).await?.len(), 1);
    assert_eq!(store.shadowed_comment(Snowflake(1)).await?, None);
    Ok(())
}

async fn hidden_comments_come_back(store: &impl CommentStore) -> Case {
    let new =
        |id: u64| NewComment { comment: Arc::new(comment(Snowflake(id), "r", "u")), position: id, client_msg_id: None };
    store.append_comments(vec![new(1), new(2)]).await?;
    let (one, ids) = ((Snowflake(1), room("r")), [Snowflake(1), Snowflake(9)]);
    assert_eq!(store.hide_comments(&ids, true).await?, std::slice::from_ref(&one));
    assert_eq!(store.hide_comments(&ids, true).await?, []);
    assert_eq!((store.comment(Snowflake(1)).await?, store.deleted_among(&ids).await?), (None, vec![Snowflake(1)]));
    assert!(store.comments_by_id(&ids).await?.is_empty());
    assert_eq!(store.hide_comments(&ids, false).await?, [one]);
    let back = store.comments_by_id(&ids).await?;
    assert_eq!(
        back.iter().map(|found| (found.position, &*found.comment.content)).collect::<Vec<_>>(),
        [(1, &*comment(Snowflake(1), "r", "u").content)]
    );
    Ok(())
}

//! Comments: what is kept, in which order it is read, how it goes.

use super::*;

pub(super) async fn comments_come_back_as_they_were(store: &dyn Store) -> Case {
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
    store.append_comments(vec![placed(full.clone(), 1), placed(plain.clone(), 2)]).await?;
    assert_eq!(store.comment(full.id).await?.as_deref(), Some(&full), "every field is kept");
    assert_eq!(store.comment(plain.id).await?.as_deref(), Some(&plain));
    assert_eq!(store.comment(Snowflake(2)).await?, None, "an unknown id");
    Ok(())
}

pub(super) async fn a_run_may_be_repeated(store: &dyn Store) -> Case {
    store.start_session(&session(1, "r", true)).await?;
    let said = |n: u64, text: &str| Comment {
        session_id: Some(Snowflake(1)),
        content: text.into(),
        ..comment(Snowflake(n), "r", "u")
    };
    store.append_comments(vec![placed(said(10, "first"), 1)]).await?;
    store.append_comments(vec![placed(said(10, "second"), 9), placed(said(11, "new"), 2)]).await?;
    assert_eq!(after(store, "r", 0, 10).await?, [(1, 10), (2, 11)], "a kept comment keeps its place");
    let kept = store.comment(Snowflake(10)).await?.expect("kept");
    assert_eq!(&*kept.content, "first");
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 2, "a repeat is not counted");
    assert_eq!(store.scores(Snowflake(1)).await?.users[0].score, 2, "a repeat does not score");
    store.append_comments(Vec::new()).await
}

pub(super) async fn the_first_answer_stays(store: &dyn Store) -> Case {
    let said =
        |n: u64, by: &str| NewComment { client_msg_id: Some("m1".into()), ..placed(comment(Snowflake(n), "r", by), n) };
    assert_eq!(store.first_answer(&user("u"), "m1").await?, None);
    store.append_comments(vec![said(1, "u"), said(2, "v")]).await?;
    store.append_comments(vec![said(3, "u")]).await?;
    let answer = |n| FirstAnswer { id: Snowflake(n), pending_review: false, created_at_ms: START_MS };
    assert_eq!(store.first_answer(&user("u"), "m1").await?, Some(answer(1)));
    assert_eq!(store.first_answer(&user("v"), "m1").await?, Some(answer(2)), "each user has its own");
    assert_eq!(store.first_answer(&user("u"), "M1").await?, None, "case matters");

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

pub(super) async fn cursors_follow_positions(store: &dyn Store) -> Case {
    // Ids fall while positions rise: what was published later may have been made earlier.
    let run = (1..=20).map(|n| placed(comment(Snowflake(100 - n), if n % 2 == 0 { "even" } else { "odd" }, "u"), n));
    store.append_comments(run.collect()).await?;
    assert_eq!(after(store, "even", 0, 3).await?, [(2, 98), (4, 96), (6, 94)]);
    assert_eq!(after(store, "even", 6, 2).await?, [(8, 92), (10, 90)]);
    assert_eq!(after(store, "even", 20, 2).await?, []);
    assert_eq!(after(store, "nowhere", 0, 2).await?, []);
    assert_eq!((store.count_after(&room("even"), 6).await?, store.count_after(&room("odd"), 0).await?), (7, 10));
    let latest = store.latest_comments(&room("odd"), 3).await?;
    let latest: Vec<_> = latest.iter().map(|placed| placed.position).collect();
    assert_eq!(latest, [15, 17, 19], "the newest, oldest of them first");
    assert_eq!(store.position_of(Snowflake(94)).await?, Some((room("even"), 6)));
    assert_eq!(store.position_of(Snowflake(5)).await?, None);
    Ok(())
}

pub(super) async fn replay_pages_meet_every_comment_once(store: &dyn Store) -> Case {
    // Seven comments at each of a few offsets, written in no order.
    let said =
        |n: u64| Comment { offset_ms: (n * 5 % 4 * 100) as i64, ..comment(Snowflake(n * 37 % 41 + 1), "r", "u") };
    let all: Vec<_> = (0..28).map(said).collect();
    let mut expected: Vec<_> = all.iter().map(|comment| (comment.offset_ms, comment.id)).collect();
    expected.sort_unstable();
    store.append_comments((1..).zip(all).map(|(position, comment)| placed(comment, position)).collect()).await?;
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

pub(super) async fn replay_narrows(store: &dyn Store) -> Case {
    let said = |n: u64, session: u64, by: &str, in_room: &str| Comment {
        session_id: Some(Snowflake(session)),
        offset_ms: n as i64 * 100,
        ..comment(Snowflake(n), in_room, by)
    };
    let run =
        [said(1, 1, "u", "r"), said(2, 2, "u", "r"), said(3, 1, "v", "r"), said(4, 1, "u", "r"), said(5, 3, "u", "s")];
    store.append_comments((1..).zip(run).map(|(position, comment)| placed(comment, position)).collect()).await?;
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

pub(super) async fn deleting_erases_and_keeps_the_place(store: &dyn Store) -> Case {
    store.start_session(&session(1, "r", true)).await?;
    let said =
        |n: u64, in_room: &str| Comment { session_id: Some(Snowflake(1)), ..comment(Snowflake(n), in_room, "u") };
    store.append_comments(vec![placed(said(11, "r"), 1), placed(said(12, "r"), 2), placed(said(13, "s"), 3)]).await?;
    store.like(Snowflake(11), &user("fan"), 5).await?;
    let deleted = store.delete_comments(&[Snowflake(11), Snowflake(13), Snowflake(99), Snowflake(11)]).await?;
    assert_eq!(deleted, [(Snowflake(11), room("r")), (Snowflake(13), room("s"))]);
    assert_eq!(store.delete_comments(&[Snowflake(11)]).await?, [], "it is gone already");
    assert_eq!(store.comment(Snowflake(11)).await?, None);
    assert_eq!(after(store, "r", 0, 10).await?, [(2, 12)]);
    assert_eq!(store.latest_comments(&room("r"), 10).await?.len(), 1);
    assert_eq!(ids(&store.replay(whole("r", 10)).await?), [12]);
    assert_eq!(ids(&store.most_liked(&room("r"), None, 10).await?), [] as [u64; 0]);
    assert_eq!(store.position_of(Snowflake(11)).await?, Some((room("r"), 1)), "cursors outlive deletions");
    assert_eq!(store.deleted_among(&[]).await?, []);
    assert_eq!(store.deleted_among(&[Snowflake(11), Snowflake(12), Snowflake(99)]).await?, [Snowflake(11)]);
    assert_eq!(store.like(Snowflake(11), &user("late"), 6).await?, None, "nobody likes what is gone");
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 1);
    store.append_comments(vec![placed(said(11, "r"), 1)]).await?;
    assert_eq!(store.comment(Snowflake(11)).await?, None, "a repeated run brings nothing back");
    Ok(())
}

pub(super) async fn purging_takes_one_user_only(store: &dyn Store) -> Case {
    let said = [("r", "bad"), ("s", "bad"), ("r", "good"), ("r", "bad")];
    let run = (1..).zip(said).map(|(n, (in_room, by))| placed(comment(Snowflake(n), in_room, by), n));
    store.append_comments(run.collect()).await?;
    let mut purged = store.purge_user(&user("bad"), Some(&room("r"))).await?;
    purged.sort();
    assert_eq!(purged, [(Snowflake(1), room("r")), (Snowflake(4), room("r"))]);
    assert_eq!(store.purge_user(&user("bad"), None).await?, [(Snowflake(2), room("s"))]);
    assert_eq!(store.purge_user(&user("bad"), Some(&room("nowhere"))).await?, []);
    assert_eq!(after(store, "r", 0, 9).await?, [(3, 3)]);
    Ok(())
}

pub(super) async fn imports_have_no_place_in_the_live_order(store: &dyn Store) -> Case {
    let over = Session { ended_at_ms: Some(START_MS + 9_000), ..session(1, "r", true) };
    let recorded = |n: u64| {
        let session_id = Some(Snowflake(1));
        Arc::new(Comment { kind: Kind::Imported, session_id, offset_ms: 7, ..comment(Snowflake(n), "r", "u") })
    };
    assert_eq!(store.import_comments(&over, vec![recorded(10), recorded(11)]).await?, 2);
    assert_eq!(store.import_comments(&over, vec![recorded(11), recorded(12)]).await?, 1, "only the new ones count");
    store.append_comments(vec![placed(comment(Snowflake(20), "r", "u"), 1)]).await?;
    assert_eq!(after(store, "r", 0, 10).await?, [(1, 20)]);
    assert_eq!(store.latest_comments(&room("r"), 10).await?.len(), 1);
    assert_eq!(ids(&store.replay(whole("r", 10)).await?), [20, 10, 11, 12]);
    assert_eq!(store.position_of(Snowflake(10)).await?, Some((room("r"), 0)));
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 3);
    assert_eq!(store.scores(Snowflake(1)).await?, Scores::default(), "a recording scores for nobody");
    assert_eq!(store.room(&room("r")).await?.map(|row| row.session), Some(None), "its session is over");
    Ok(())
}

pub(super) async fn high_water_counts_everything(store: &dyn Store) -> Case {
    assert_eq!(store.high_water().await?, (0, None));
    store
        .append_comments(vec![placed(comment(Snowflake(5), "r", "u"), 40), placed(comment(Snowflake(9), "s", "u"), 41)])
        .await?;
    assert_eq!(store.high_water().await?, (41, Some(Snowflake(9))));
    store.append_comments(vec![placed(comment(Snowflake(4), "r", "u"), 3)]).await?;
    assert_eq!(store.high_water().await?, (41, Some(Snowflake(9))), "it never falls");
    store.hold(&review(11, "r", "u"), None).await?;
    assert_eq!(store.high_water().await?.1, Some(Snowflake(11)));
    store.start_session(&session(13, "r", false)).await?;
    assert_eq!(store.high_water().await?.1, Some(Snowflake(13)));
    store.add_ban(&ban(17, "u", None, START_MS)).await?;
    assert_eq!(store.high_water().await?.1, Some(Snowflake(17)));
    Ok(())
}

pub(super) async fn expiry_follows_each_rooms_retention(store: &dyn Store) -> Case {
    let (short, long) = (Some(1), Some(30));
    assert!(put(store, "short", &RoomSettings { retention_days: short, ..RoomSettings::default() }).await?);
    assert!(put(store, "long", &RoomSettings { retention_days: long, ..RoomSettings::default() }).await?);
    let days = |n: u64| n * DAY_MS as u64;
    let mut run = Vec::new();
    for (n, name) in (0..).zip(["short", "long", "usual"]) {
        for day in 0..10 {
            run.push(placed(comment(id_at(days(day), n + 1), name, "u"), 1 + n * 10 + day));
        }
    }
    // Its dates are years old, but it was brought in on the last day.
    let recorded = Comment { created_at_ms: 0, ..comment(id_at(days(9), 50), "short", "u") };
    store.append_comments(run).await?;
    store
        .import_comments(
            &Session { ended_at_ms: Some(0), ..session(id_at(days(9), 51).0, "short", true) },
            vec![Arc::new(recorded)],
        )
        .await?;

    let now_ms = START_MS + 10 * DAY_MS;
    let mut removed = Vec::new();
    while removed.last() != Some(&0) && removed.len() < 20 {
        removed.push(store.expire(now_ms, 7, 7, 4).await?);
    }
    assert_eq!(removed, [4, 4, 4, 0], "nine of the short room and three of the usual, four at a time");
    let left = |name: &'static str| async move { store.latest_comments(&room(name), 100).await.map(|left| left.len()) };
    assert_eq!((left("short").await?, left("long").await?, left("usual").await?), (1, 10, 7));
    assert!(store.comment(id_at(days(9), 50)).await?.is_some());
    assert_eq!(store.position_of(id_at(0, 1)).await?, None, "even its place is gone");
    assert_eq!(store.high_water().await?.0, 30, "positions are never given twice");
    Ok(())
}

pub(super) async fn expiry_clears_what_hangs_on_comments(store: &dyn Store) -> Case {
    let said = |n: u64, session: u64| NewComment {
        client_msg_id: Some(format!("m{n}").into()),
        ..placed(Comment { session_id: Some(Snowflake(session)), ..comment(id_at(n, 0), "r", "u") }, n)
    };
    store.start_session(&session(1, "r", true)).await?;
    store.append_comments(vec![said(1, 1), said(2, 1)]).await?;
    store.like(id_at(1, 0), &user("fan"), 1).await?;
    store.delete_comments(&[id_at(2, 0)]).await?;
    store.hold(&review(id_at(3, 0).0, "r", "u"), None).await?;
    store.keep_event(&event(id_at(4, 0).0), &[user("u")]).await?;
    store.end_session(&room("r"), None, START_MS + 10, false).await?;
    store.add_ban(&ban(2, "u", None, START_MS + DAY_MS)).await?;
    let young = id_at(9 * DAY_MS as u64, 0);
    store.start_session(&Session { id: young, started_at_ms: START_MS + 9 * DAY_MS, ..session(1, "r", true) }).await?;
    store.append_comments(vec![said(9 * DAY_MS as u64, young.0)]).await?;

    let now_ms = START_MS + 10 * DAY_MS;
    for _ in 0..10 {
        store.expire(now_ms, 7, 7, 100).await?;
    }
    assert_eq!(store.sessions(&room("r"), 10).await?.len(), 1, "the empty session is gone");
    assert_eq!(store.session(Snowflake(1)).await?, None);
    assert_eq!(store.scores(Snowflake(1)).await?, Scores::default());
    assert_eq!(store.sessions(&room("r"), 10).await?[0].comment_count, 1);
    assert_eq!(store.first_answer(&user("u"), "m1").await?, None);
    assert!(store.first_answer(&user("u"), &format!("m{}", 9 * DAY_MS)).await?.is_some());
    assert_eq!(store.unlike(id_at(1, 0), &user("fan")).await?, (0, false));
    assert!(store.review(id_at(3, 0)).await?.is_none(), "held texts are kept as long as comments");
    assert!(store.unacknowledged(&user("u"), 10).await?.is_empty(), "events wait for a week");
    assert_eq!(store.remove_ban(Snowflake(2)).await?, None);
    Ok(())
}

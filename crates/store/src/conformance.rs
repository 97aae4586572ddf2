//! What every backend must do, in one suite. A backend's tests call [`suite`] with a function that
//! opens a fresh, empty store; a failed expectation panics and says what was expected.

use std::sync::Arc;

use model::snowflake::EPOCH_MS;
use model::{
    Audience, Comment, Event, EventBody, Kind, Level, Mode, RoomId, RoomSettings, Session, Size, Snowflake, Style,
    UserId,
};

use crate::{
    AuditEntry, Ban, BanKind, FirstAnswer, NewComment, ReplayQuery, Review, ReviewStatus, Store, StoreError, WordList,
};

/// 2024-01-01T00:00:00Z: ids below are made at small times after it.
const START_MS: i64 = EPOCH_MS;
const DAY_MS: i64 = 86_400_000;

type Case = std::result::Result<(), StoreError>;

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: Store>(fresh: impl Fn() -> S) -> Case {
    comments_come_back_as_they_were(&fresh()).await?;
    a_run_may_be_repeated(&fresh()).await?;
    the_first_answer_stays(&fresh()).await?;
    cursors_follow_positions(&fresh()).await?;
    replay_pages_meet_every_comment_once(&fresh()).await?;
    replay_narrows(&fresh()).await?;
    deleting_erases_and_keeps_the_place(&fresh()).await?;
    purging_takes_one_user_only(&fresh()).await?;
    imports_have_no_place_in_the_live_order(&fresh()).await?;
    high_water_counts_everything(&fresh()).await?;
    expiry_follows_each_rooms_retention(&fresh()).await?;
    expiry_clears_what_hangs_on_comments(&fresh()).await?;
    rooms_keep_their_settings(&fresh()).await?;
    a_room_has_one_session_on(&fresh()).await?;
    opening_takes_over_and_reopens(&fresh()).await?;
    sessions_count_what_is_kept(&fresh()).await?;
    scores_are_comments_and_gifts(&fresh()).await?;
    a_user_likes_a_comment_once(&fresh()).await?;
    the_most_liked_come_first(&fresh()).await?;
    concurrent_likes_are_all_counted(Arc::new(fresh())).await?;
    one_moderator_decides(&fresh()).await?;
    reviews_are_listed(&fresh()).await?;
    words_are_sets(&fresh()).await?;
    bans_end(&fresh()).await?;
    revocations_only_move_forward(&fresh()).await?;
    the_audit_trail_is_newest_first(&fresh()).await?;
    events_wait_for_their_acknowledgement(&fresh()).await
}

// Material ---------------------------------------------------------------------------------------

/// The `n`th id made at `ms` after [`START_MS`].
#[must_use]
pub fn id_at(ms: u64, n: u64) -> Snowflake {
    Snowflake((ms << 22) + n)
}

/// A room's id.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn room(name: &str) -> RoomId {
    RoomId::new(name).expect("a room id")
}

/// A user's id.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("a user id")
}

/// A plain comment of `by` in `in_room`, without a session, made at the time of its id.
#[must_use]
pub fn comment(id: Snowflake, in_room: &str, by: &str) -> Comment {
    Comment {
        id,
        room_id: room(in_room),
        session_id: None,
        user_id: user(by),
        username: format!("name of {by}").into(),
        level: Level::Normal,
        content: format!("comment {id}").into(),
        style: Style::default(),
        kind: Kind::Comment,
        mentions: Box::default(),
        created_at_ms: model::snowflake::made_at_ms(id),
        offset_ms: 0,
        like_count: 0,
    }
}

/// A comment with its place and no `client_msg_id`.
#[must_use]
pub fn placed(comment: Comment, position: u64) -> NewComment {
    NewComment { comment: Arc::new(comment), position, client_msg_id: None }
}

fn session(id: u64, in_room: &str, explicit: bool) -> Session {
    let started_at_ms = START_MS + 1;
    Session { id: Snowflake(id), room_id: room(in_room), started_at_ms, ended_at_ms: None, explicit }
}

/// All of a room's recording.
#[must_use]
pub fn whole(in_room: &str, limit: usize) -> ReplayQuery {
    ReplayQuery {
        room_id: room(in_room),
        session_id: None,
        from_ms: 0,
        to_ms: i64::MAX,
        by_user: None,
        after: None,
        limit,
    }
}

fn ids<'a>(comments: impl IntoIterator<Item = &'a Arc<Comment>>) -> Vec<u64> {
    comments.into_iter().map(|comment| comment.id.0).collect()
}

async fn after(store: &dyn Store, in_room: &str, position: u64, limit: usize) -> crate::Result<Vec<(u64, u64)>> {
    let found = store.comments_after(&room(in_room), position, limit).await?;
    Ok(found.iter().map(|placed| (placed.position, placed.comment.id.0)).collect())
}

// Comments ---------------------------------------------------------------------------------------

async fn comments_come_back_as_they_were(store: &dyn Store) -> Case {
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

async fn a_run_may_be_repeated(store: &dyn Store) -> Case {
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
    assert_eq!(store.scores(Snowflake(1)).await?[0].2, 2, "a repeat does not score");
    store.append_comments(Vec::new()).await
}

async fn the_first_answer_stays(store: &dyn Store) -> Case {
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

async fn cursors_follow_positions(store: &dyn Store) -> Case {
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

async fn replay_pages_meet_every_comment_once(store: &dyn Store) -> Case {
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

async fn replay_narrows(store: &dyn Store) -> Case {
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

async fn deleting_erases_and_keeps_the_place(store: &dyn Store) -> Case {
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
    assert_eq!(store.like(Snowflake(11), &user("late"), 6).await?, None, "nobody likes what is gone");
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 1);
    store.append_comments(vec![placed(said(11, "r"), 1)]).await?;
    assert_eq!(store.comment(Snowflake(11)).await?, None, "a repeated run brings nothing back");
    Ok(())
}

async fn purging_takes_one_user_only(store: &dyn Store) -> Case {
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

async fn imports_have_no_place_in_the_live_order(store: &dyn Store) -> Case {
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
    assert_eq!(store.scores(Snowflake(1)).await?, [], "a recording scores for nobody");
    assert_eq!(store.room(&room("r")).await?.map(|row| row.session), Some(None), "its session is over");
    Ok(())
}

async fn high_water_counts_everything(store: &dyn Store) -> Case {
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

async fn expiry_follows_each_rooms_retention(store: &dyn Store) -> Case {
    let (short, long) = (Some(1), Some(30));
    store.put_room(&room("short"), &RoomSettings { retention_days: short, ..RoomSettings::default() }).await?;
    store.put_room(&room("long"), &RoomSettings { retention_days: long, ..RoomSettings::default() }).await?;
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

async fn expiry_clears_what_hangs_on_comments(store: &dyn Store) -> Case {
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
    store.end_session(&room("r"), START_MS + 10, false).await?;
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
    assert_eq!(store.scores(Snowflake(1)).await?, []);
    assert_eq!(store.sessions(&room("r"), 10).await?[0].comment_count, 1);
    assert_eq!(store.first_answer(&user("u"), "m1").await?, None);
    assert!(store.first_answer(&user("u"), &format!("m{}", 9 * DAY_MS)).await?.is_some());
    assert_eq!(store.unlike(id_at(1, 0), &user("fan")).await?, (0, false));
    assert!(store.review(id_at(3, 0)).await?.is_none(), "held texts are kept as long as comments");
    assert!(store.unacknowledged(&user("u"), 10).await?.is_empty(), "events wait for a week");
    assert_eq!(store.remove_ban(Snowflake(2)).await?, None);
    Ok(())
}

// Rooms and sessions -----------------------------------------------------------------------------

async fn rooms_keep_their_settings(store: &dyn Store) -> Case {
    assert_eq!(store.room(&room("a")).await?, None);
    assert_eq!(store.rooms(10).await?, []);
    let settings = RoomSettings {
        name: "直播间".into(),
        owner_id: Some(user("o")),
        private: true,
        reader_groups: 3,
        store: false,
        retention_days: Some(3),
        ..RoomSettings::default()
    };
    store.put_room(&room("a"), &settings).await?;
    store.append_comments(vec![placed(comment(Snowflake(1), "b", "u"), 1)]).await?;
    store.put_room(&room("c"), &RoomSettings::default()).await?;
    let row = store.room(&room("a")).await?.expect("configured");
    assert_eq!((row.settings, row.closed, row.session), (settings, false, None));
    let spoken_in = store.room(&room("b")).await?.expect("spoken in");
    assert_eq!(spoken_in.settings, RoomSettings::default());

    let names = |rows: Vec<crate::RoomRow>| rows.into_iter().map(|row| row.room_id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(store.rooms(10).await?), ["c", "b", "a"], "newest activity first");
    store.start_session(&session(9, "a", false)).await?;
    assert_eq!(names(store.rooms(2).await?), ["a", "c"]);
    store.put_room(&room("b"), &RoomSettings::default()).await?;
    assert_eq!(names(store.rooms(10).await?), ["b", "a", "c"]);
    let rows = store.rooms(2).await?;
    assert_eq!(rows[1].session.as_ref().map(|on| on.id), Some(Snowflake(9)), "the list tells who is live");
    Ok(())
}

async fn a_room_has_one_session_on(store: &dyn Store) -> Case {
    let first = session(1, "r", false);
    assert_eq!(store.end_session(&room("r"), START_MS, false).await?, None);
    assert_eq!(store.start_session(&first).await?, first);
    assert_eq!(store.start_session(&session(2, "r", false)).await?, first, "the one that is on stays");
    let other = session(3, "s", true);
    assert_eq!(store.start_session(&other).await?, other, "another room's does not count");
    assert_eq!(store.room(&room("r")).await?.and_then(|row| row.session), Some(first.clone()));

    let ended = Session { ended_at_ms: Some(START_MS + 50), ..first };
    assert_eq!(store.end_session(&room("r"), START_MS + 50, false).await?, Some(ended.clone()));
    assert_eq!(store.end_session(&room("r"), START_MS + 60, false).await?, None);
    assert_eq!(store.session(Snowflake(1)).await?, Some(ended));
    let second = session(4, "r", false);
    assert_eq!(store.start_session(&second).await?, second);
    let listed = store.sessions(&room("r"), 10).await?;
    assert_eq!(listed.iter().map(|row| row.session.id.0).collect::<Vec<_>>(), [4, 1], "newest first");
    assert_eq!(store.sessions(&room("r"), 1).await?.len(), 1);
    Ok(())
}

async fn opening_takes_over_and_reopens(store: &dyn Store) -> Case {
    let closed = || async { store.room(&room("r")).await.map(|row| row.is_some_and(|row| row.closed)) };
    store.end_session(&room("r"), START_MS, true).await?;
    assert!(closed().await?);
    store.put_room(&room("r"), &RoomSettings::default()).await?;
    assert!(closed().await?, "settings do not open a room");
    store.start_session(&session(1, "r", false)).await?;
    assert!(closed().await?, "only an explicit start does");
    let taken_over = store.start_session(&session(2, "r", true)).await?;
    assert_eq!((taken_over.id, taken_over.explicit), (Snowflake(1), true), "the talk that was on is now the broadcast");
    assert!(!closed().await?);
    assert_eq!(store.session(Snowflake(1)).await?, Some(taken_over));
    Ok(())
}

async fn sessions_count_what_is_kept(store: &dyn Store) -> Case {
    store.start_session(&session(1, "r", true)).await?;
    let said = |n: u64, session: Option<u64>| {
        placed(Comment { session_id: session.map(Snowflake), ..comment(Snowflake(n), "r", "u") }, n)
    };
    store.append_comments((10..20).map(|n| said(n, Some(1))).collect()).await?;
    store.append_comments(vec![said(20, None), said(21, Some(99))]).await?;
    assert_eq!(store.sessions(&room("r"), 9).await?[0].comment_count, 10);
    store.purge_user(&user("u"), None).await?;
    assert_eq!(store.sessions(&room("r"), 9).await?[0].comment_count, 0);
    Ok(())
}

async fn scores_are_comments_and_gifts(store: &dyn Store) -> Case {
    let said = |n: u64, by: &str, name: &str| {
        let username = name.into();
        placed(Comment { session_id: Some(Snowflake(1)), username, ..comment(Snowflake(n), "r", by) }, n)
    };
    store.append_comments(vec![said(1, "u", "old"), said(2, "v", "V"), said(3, "u", "new")]).await?;
    store.delete_comments(&[Snowflake(1)]).await?;
    store.add_gift(Snowflake(1), &user("u"), "new", 500).await?;
    store.add_gift(Snowflake(1), &user("w"), "W", 7).await?;
    store.add_gift(Snowflake(2), &user("w"), "W", 1_000).await?;
    let mut scores = store.scores(Snowflake(1)).await?;
    scores.sort();
    let expected = [(user("u"), "new".into(), 502), (user("v"), "V".into(), 1), (user("w"), "W".into(), 7)];
    assert_eq!(scores, expected, "deleted comments count, for they were accepted");
    store.add_gift(Snowflake(1), &user("w"), "W", u64::MAX).await?;
    store.add_gift(Snowflake(1), &user("w"), "W", u64::MAX).await?;
    let richest = store.scores(Snowflake(1)).await?.into_iter().map(|(_, _, score)| score).max();
    assert!(richest >= Some(i64::MAX as u64), "a score stops at its end");
    Ok(())
}

// Likes ------------------------------------------------------------------------------------------

async fn a_user_likes_a_comment_once(store: &dyn Store) -> Case {
    let id = Snowflake(1);
    store.append_comments(vec![placed(comment(id, "r", "u"), 1)]).await?;
    assert_eq!(store.like(id, &user("a"), 1).await?, Some(1));
    assert_eq!(store.like(id, &user("a"), 2).await?, None);
    assert_eq!(store.like(id, &user("b"), 3).await?, Some(2));
    assert_eq!(store.comment(id).await?.expect("kept").like_count, 2);
    assert_eq!(store.unlike(id, &user("a")).await?, (1, true));
    assert_eq!(store.unlike(id, &user("a")).await?, (1, false));
    assert_eq!(store.like(id, &user("a"), 4).await?, Some(2), "it can be liked again");
    assert_eq!(store.like(Snowflake(9), &user("a"), 5).await?, None, "a comment that never was");
    assert_eq!(store.unlike(Snowflake(9), &user("a")).await?, (0, false));
    Ok(())
}

async fn the_most_liked_come_first(store: &dyn Store) -> Case {
    let said = |n: u64| Comment { session_id: Some(Snowflake(n % 2 + 1)), ..comment(Snowflake(n), "r", "u") };
    store.append_comments((1..=6).map(|n| placed(said(n), n)).collect()).await?;
    store.append_comments(vec![placed(comment(Snowflake(7), "s", "u"), 7)]).await?;
    for (id, likes) in [(2, 3), (3, 5), (4, 3), (5, 1), (7, 9)] {
        for fan in 0..likes {
            store.like(Snowflake(id), &user(&format!("fan{fan}")), 1).await?;
        }
    }
    assert_eq!(ids(&store.most_liked(&room("r"), None, 10).await?), [3, 2, 4, 5], "ties by older id");
    assert_eq!(ids(&store.most_liked(&room("r"), None, 2).await?), [3, 2]);
    assert_eq!(ids(&store.most_liked(&room("r"), Some(Snowflake(1)), 10).await?), [2, 4]);
    assert_eq!(ids(&store.most_liked(&room("s"), Some(Snowflake(1)), 10).await?), [] as [u64; 0]);
    assert_eq!(store.most_liked(&room("r"), None, 1).await?[0].like_count, 5);
    Ok(())
}

async fn concurrent_likes_are_all_counted(store: Arc<dyn Store>) -> Case {
    let id = Snowflake(1);
    store.append_comments(vec![placed(comment(id, "r", "u"), 1)]).await?;
    let fans: Vec<_> = (0..200)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.like(id, &user(&format!("fan{}", n % 100)), 1).await })
        })
        .collect();
    let mut counts = Vec::new();
    for fan in fans {
        counts.extend(fan.await.expect("no panic")?);
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>(), "each of 100 users counts once, each count is told once");
    Ok(())
}

// Moderation -------------------------------------------------------------------------------------

fn review(id: u64, in_room: &str, by: &str) -> Review {
    Review {
        comment: Arc::new(comment(Snowflake(id), in_room, by)),
        keep: true,
        word: Some("词".into()),
        status: ReviewStatus::Pending,
        decided_by: None,
        decided_at_ms: None,
    }
}

async fn one_moderator_decides(store: &dyn Store) -> Case {
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

async fn reviews_are_listed(store: &dyn Store) -> Case {
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

async fn words_are_sets(store: &dyn Store) -> Case {
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

fn ban(id: u64, whom: &str, in_room: Option<&str>, until_ms: i64) -> Ban {
    let (kind, reason, by) = (BanKind::Mute, Some("spam".into()), "mod".into());
    let room_id = in_room.map(room);
    Ban { id: Snowflake(id), user_id: user(whom), room_id, kind, until_ms, reason, by, at_ms: START_MS }
}

async fn bans_end(store: &dyn Store) -> Case {
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
    assert_eq!(store.remove_ban(Snowflake(2)).await?.as_ref(), Some(in_r));
    assert_eq!(store.remove_ban(Snowflake(2)).await?, None);
    assert_eq!(in_force(0, 10).await?.len(), 2);
    Ok(())
}

async fn revocations_only_move_forward(store: &dyn Store) -> Case {
    store.revoke_tokens(&user("u"), 50).await?;
    store.revoke_tokens(&user("v"), 10).await?;
    store.revoke_tokens(&user("u"), 40).await?;
    let mut revocations = store.revocations().await?;
    revocations.sort();
    assert_eq!(revocations, [(user("u"), 50), (user("v"), 10)]);
    Ok(())
}

async fn the_audit_trail_is_newest_first(store: &dyn Store) -> Case {
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

// Critical events --------------------------------------------------------------------------------

fn event(id: u64) -> Event {
    let (u, v) = (user("u"), user("v"));
    Event {
        id: Snowflake(id),
        room_id: room("r"),
        audience: Audience::Everyone,
        critical_for: Audience::Users(vec![u.clone(), v]),
        at_ms: START_MS,
        body: EventBody::UserMuted { user_id: u, until_ms: 5, reason: Some("原因".into()) },
    }
}

async fn events_wait_for_their_acknowledgement(store: &dyn Store) -> Case {
    let (u, v) = (user("u"), user("v"));
    store.keep_event(&event(2), &[u.clone(), v.clone()]).await?;
    store.keep_event(&event(1), std::slice::from_ref(&u)).await?;
    store.keep_event(&event(1), std::slice::from_ref(&u)).await?;
    assert_eq!(store.unacknowledged(&u, 10).await?, [event(1), event(2)], "oldest first, each once");
    assert_eq!(store.unacknowledged(&u, 1).await?, [event(1)]);
    store.acknowledge(&u, Snowflake(2)).await?;
    store.acknowledge(&u, Snowflake(99)).await?;
    assert_eq!(store.unacknowledged(&u, 10).await?, [event(1)]);
    assert_eq!(store.unacknowledged(&v, 10).await?, [event(2)], "each user acknowledges alone");
    Ok(())
}

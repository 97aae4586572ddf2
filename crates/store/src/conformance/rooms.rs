//! Rooms, sessions, scores.

use super::*;

pub(super) async fn rooms_keep_their_settings(store: &dyn Store) -> Case {
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
    assert!(put(store, "a", &settings).await?);
    store.append_comments(vec![placed(comment(Snowflake(1), "b", "u"), 1)]).await?;
    assert!(put(store, "c", &RoomSettings::default()).await?);
    let row = store.room(&room("a")).await?.expect("configured");
    assert_eq!((row.settings, row.closed, row.session), (settings, false, None));
    let spoken_in = store.room(&room("b")).await?.expect("spoken in");
    assert_eq!(spoken_in.settings, RoomSettings::default());

    let names = |rows: Vec<crate::RoomRow>| rows.into_iter().map(|row| row.room_id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(store.rooms(10).await?), ["c", "b", "a"], "newest activity first");
    store.start_session(&session(9, "a", false)).await?;
    assert_eq!(names(store.rooms(2).await?), ["a", "c"]);
    assert!(put(store, "b", &RoomSettings::default()).await?);
    assert_eq!(names(store.rooms(10).await?), ["b", "a", "c"]);
    let rows = store.rooms(2).await?;
    assert_eq!(rows[1].session.as_ref().map(|on| on.id), Some(Snowflake(9)), "the list tells who is live");
    Ok(())
}

pub(super) async fn settings_replace_those_they_were_made_from(store: &dyn Store) -> Case {
    let named = RoomSettings { name: "first".into(), ..RoomSettings::default() };
    let slow = RoomSettings { slow_mode_s: 5, ..RoomSettings::default() };
    assert!(put(store, "r", &named).await?);
    assert!(!put(store, "r", &slow).await?, "whoever made it did not know the name");
    assert_eq!(store.room(&room("r")).await?.expect("there").settings, named);
    let both = RoomSettings { slow_mode_s: 5, ..named.clone() };
    assert!(store.put_room(&room("r"), &named, &both).await?);
    assert!(store.put_room(&room("r"), &both, &both).await?, "the same again is fine");
    assert_eq!(store.room(&room("r")).await?.expect("there").settings, both);
    Ok(())
}

pub(super) async fn a_room_has_one_session_on(store: &dyn Store) -> Case {
    let first = session(1, "r", false);
    assert_eq!(store.end_session(&room("r"), None, START_MS, false).await?, None);
    assert_eq!(store.start_session(&first).await?.as_ref(), Some(&first));
    let again = store.start_session(&session(2, "r", false)).await?;
    assert_eq!(again.as_ref(), Some(&first), "the one that is on stays");
    let other = session(3, "s", true);
    assert_eq!(store.start_session(&other).await?, Some(other), "another room's does not count");
    assert_eq!(store.room(&room("r")).await?.and_then(|row| row.session), Some(first.clone()));

    let of_before = store.end_session(&room("r"), Some(Snowflake(77)), START_MS + 40, false).await?;
    assert_eq!(of_before, None, "only the one that was meant ends");
    let ended = Session { ended_at_ms: Some(START_MS + 50), ..first.clone() };
    assert_eq!(store.end_session(&room("r"), Some(first.id), START_MS + 50, false).await?, Some(ended.clone()));
    assert_eq!(store.end_session(&room("r"), None, START_MS + 60, false).await?, None);
    assert_eq!(store.session(Snowflake(1)).await?, Some(ended));
    let second = session(4, "r", false);
    assert_eq!(store.start_session(&second).await?, Some(second));
    let listed = store.sessions(&room("r"), 10).await?;
    assert_eq!(listed.iter().map(|row| row.session.id.0).collect::<Vec<_>>(), [4, 1], "newest first");
    assert_eq!(store.sessions(&room("r"), 1).await?.len(), 1);
    Ok(())
}

pub(super) async fn opening_takes_over_and_reopens(store: &dyn Store) -> Case {
    let closed = || async { store.room(&room("r")).await.map(|row| row.is_some_and(|row| row.closed)) };
    store.end_session(&room("r"), None, START_MS, true).await?;
    assert!(closed().await?);
    assert!(put(store, "r", &RoomSettings::default()).await?);
    assert!(closed().await?, "settings do not open a room");
    assert_eq!(store.start_session(&session(1, "r", false)).await?, None, "nobody talks in a closed room");
    assert!(closed().await?, "only an explicit start opens it");
    let opened = store.start_session(&session(2, "r", true)).await?.expect("opened");
    assert!(opened.explicit && !closed().await?);
    store.end_session(&room("r"), None, START_MS, false).await?;
    assert!(!closed().await?, "a session that ends closes nothing unless it is to");

    store.start_session(&session(3, "r", false)).await?;
    let taken_over = store.start_session(&session(4, "r", true)).await?.expect("opened");
    assert_eq!((taken_over.id, taken_over.explicit), (Snowflake(3), true), "the talk that was on is now the broadcast");
    assert_eq!(store.session(Snowflake(3)).await?, Some(taken_over));
    store.end_session(&room("r"), None, START_MS, true).await?;
    store.end_session(&room("r"), None, START_MS, false).await?;
    assert!(closed().await?, "nor does it open a closed room");
    Ok(())
}

pub(super) async fn sessions_count_what_is_kept(store: &dyn Store) -> Case {
    store.start_session(&session(1, "r", true)).await?;
    let said = |n: u64, session: Option<u64>| {
        placed(Comment { session_id: session.map(Snowflake), ..comment(Snowflake(n), "r", "u") }, n)
    };
    store.append_comments((10..20).map(|n| said(n, Some(1))).collect()).await?;
    store.append_comments(vec![said(20, None), said(21, Some(99))]).await?;
    assert_eq!(store.sessions(&room("r"), 9).await?[0].comment_count, 10);
    let newest = |n| async move { store.newest_comment_ms(Snowflake(n)).await };
    assert_eq!((newest(1).await?, newest(5).await?), (Some(comment(Snowflake(19), "r", "u").created_at_ms), None));
    store.purge_user(&user("u"), None).await?;
    assert_eq!(store.sessions(&room("r"), 9).await?[0].comment_count, 0);
    assert!(newest(1).await?.is_some(), "somebody spoke, whatever became of it");
    Ok(())
}

pub(super) async fn scores_are_comments_and_gifts(store: &dyn Store) -> Case {
    let said = |n: u64, by: &str, name: &str| {
        let username = name.into();
        placed(Comment { session_id: Some(Snowflake(1)), username, ..comment(Snowflake(n), "r", by) }, n)
    };
    store.append_comments(vec![said(1, "u", "old"), said(2, "v", "V"), said(3, "u", "new")]).await?;
    store.delete_comments(&[Snowflake(1)]).await?;
    store.add_gift(Snowflake(1), &user("u"), "new", 500).await?;
    store.add_gift(Snowflake(1), &user("w"), "W", 4).await?;
    assert_eq!(store.add_gift(Snowflake(1), &user("w"), "W", 3).await?, 7, "all that was given by now");
    store.add_gift(Snowflake(2), &user("w"), "W", 1_000).await?;
    let Scores { mut users, mut seen } = store.scores(Snowflake(1)).await?;
    users.sort();
    let score = |who: &str, username: &str, [score, given, reached]: [u64; 3]| Score {
        user_id: user(who),
        username: username.into(),
        score,
        given,
        reached,
    };
    let expected = [score("u", "new", [502, 500, 3]), score("v", "V", [1, 0, 2]), score("w", "W", [7, 7, 0])];
    assert_eq!(users, expected, "deleted comments count, for they were accepted");
    seen.sort();
    let mut lanes = [("u", 1), ("v", 2), ("u", 3)].map(|(who, place)| (Lane::of(place, &user(who)), place));
    lanes.sort();
    assert_eq!(seen, lanes, "here each comment has a lane to itself");
    store.add_gift(Snowflake(1), &user("w"), "W", u64::MAX).await?;
    store.add_gift(Snowflake(1), &user("w"), "W", u64::MAX).await?;
    let richest = store.scores(Snowflake(1)).await?.users.into_iter().map(|user| user.score).max();
    assert!(richest >= Some(i64::MAX as u64), "a score stops at its end");
    Ok(())
}

//! Rooms, sessions, scores.

use super::*;
use crate::{CommentStore, RoomScope, RoomStore};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: RoomStore + CommentStore>(fresh: impl Fn() -> S) -> Case {
    rooms_keep_their_settings(&fresh()).await?;
    settings_replace_those_they_were_made_from(&fresh()).await?;
    a_room_has_one_session_on(&fresh()).await?;
    opening_takes_over_and_reopens(&fresh()).await?;
    sessions_count_what_is_kept(&fresh()).await?;
    an_imported_session_is_over(&fresh()).await?;
    open_rooms_are_listed(&fresh()).await
}

async fn open_rooms_are_listed(store: &(impl RoomStore + CommentStore)) -> Case {
    let defaults = RoomSettings::default();
    let closed = RoomSettings { enabled: false, ..RoomSettings::default() };
    let owned = RoomSettings { private: true, owner_id: Some(user("o")), ..RoomSettings::default() };
    let private = RoomSettings { private: true, ..RoomSettings::default() };
    for (name, settings) in [("a", &defaults), ("b", &owned), ("c", &defaults), ("d", &closed), ("e", &private)] {
        store.put_room(&room(name), &defaults, settings).await?;
    }
    let list = |owner: Option<&'static str>, limit| async move {
        let owner = owner.map(user);
        let found = store.open_rooms(owner.as_ref(), limit).await?;
        crate::Result::Ok(found.into_iter().map(|row| row.room_id.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(list(None, 10).await?, ["c", "a"], "newest activity first");
    assert_eq!(list(None, 1).await?, ["c"]);
    assert_eq!(list(Some("o"), 10).await?, ["c", "b", "a"]);
    for (scope, names) in [
        (RoomScope::All, "edcba"),
        (RoomScope::Listed(vec![room("a"), room("d"), room("nowhere")]), "da"),
        (RoomScope::Listed(Vec::new()), ""),
        (RoomScope::OwnedBy { owner: user("o"), within: None }, "b"),
        (RoomScope::OwnedBy { owner: user("o"), within: Some(vec![room("a")]) }, ""),
        (RoomScope::OwnedBy { owner: user("u"), within: None }, ""),
    ] {
        let found: String = store.rooms_of(&scope, 10).await?.iter().map(|row| row.room_id.as_str()).collect();
        assert_eq!(found, names, "{scope:?}");
    }
    store.put_room(&room("e"), &private, &defaults).await?;
    assert_eq!(list(Some("u"), 10).await?, ["e", "c", "a"]);
    Ok(())
}

async fn rooms_keep_their_settings(store: &(impl RoomStore + CommentStore)) -> Case {
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
    store.append_comments(vec![positioned(comment(Snowflake(1), "b", "u"), 1)]).await?;
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

async fn settings_replace_those_they_were_made_from(store: &(impl RoomStore + CommentStore)) -> Case {
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

async fn a_room_has_one_session_on(store: &(impl RoomStore + CommentStore)) -> Case {
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

async fn opening_takes_over_and_reopens(store: &(impl RoomStore + CommentStore)) -> Case {
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

async fn sessions_count_what_is_kept(store: &(impl RoomStore + CommentStore)) -> Case {
    store.start_session(&session(1, "r", true)).await?;
    let said = |n: u64, session: Option<u64>| {
        positioned(Comment { session_id: session.map(Snowflake), ..comment(Snowflake(n), "r", "u") }, n)
    };
    store.append_comments((10..20).map(|n| said(n, Some(1))).collect()).await?;
    store.append_comments(vec![said(19, Some(1)), said(20, None), said(21, Some(99))]).await?;
    assert_eq!(store.sessions(&room("r"), 9).await?[0].comment_count, 10, "a repeat is not counted");
    let newest = |n| async move { store.newest_comment_ms(Snowflake(n)).await };
    assert_eq!((newest(1).await?, newest(5).await?), (Some(comment(Snowflake(19), "r", "u").created_at_ms), None));
    store.delete_comments(&[Snowflake(10)]).await?;
    assert_eq!(store.sessions(&room("r"), 9).await?[0].comment_count, 9);
    store.purge_user(&user("u"), None, 100, None).await?;
    assert_eq!(store.sessions(&room("r"), 9).await?[0].comment_count, 0);
    assert!(newest(1).await?.is_some(), "somebody spoke, whatever became of it");
    Ok(())
}

async fn an_imported_session_is_over(store: &(impl RoomStore + CommentStore)) -> Case {
    store.import_comments(&over(), vec![recorded(10), recorded(11)]).await?;
    store.import_comments(&over(), vec![recorded(11), recorded(12)]).await?;
    let longer = Session { started_at_ms: START_MS - 5_000, ended_at_ms: Some(START_MS), ..over() };
    store.import_comments(&longer, Vec::new()).await?;
    let known = store.session(longer.id).await?.map(|session| (session.started_at_ms, session.ended_at_ms));
    assert_eq!(known, Some((START_MS - 5_000, over().ended_at_ms)), "a further part only widens the session");
    assert_eq!(store.sessions(&room("r"), 1).await?[0].title, None);
    store.set_session_title(longer.id, "千与千寻").await?;
    store.set_session_title(Snowflake(999), "nothing").await?;
    assert_eq!(store.sessions(&room("r"), 1).await?[0].title.as_deref(), Some("千与千寻"));
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 3);
    assert_eq!(store.room(&room("r")).await?.map(|row| row.session), Some(None));
    Ok(())
}

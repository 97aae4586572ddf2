//! Maintenance, which spans all nouns: where a new run continues, and what expires.

use super::events::event;
use super::moderation::{ban, review};
use super::*;
use crate::{Document, GIFT, GIFT_SHOWN, Scores, Store};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: Store>(fresh: impl Fn() -> S) -> Case {
    high_water_counts_everything(&fresh()).await?;
    expiry_follows_each_rooms_retention(&fresh()).await?;
    expiry_clears_what_hangs_on_comments(&fresh()).await
}

async fn high_water_counts_everything(store: &impl Store) -> Case {
    assert_eq!(store.high_water().await?, (0, None));
    store
        .append_comments(vec![
            positioned(comment(Snowflake(5), "r", "u"), 40),
            positioned(comment(Snowflake(9), "s", "u"), 41),
        ])
        .await?;
    assert_eq!(store.high_water().await?, (41, Some(Snowflake(9))));
    store.append_comments(vec![positioned(comment(Snowflake(4), "r", "u"), 3)]).await?;
    assert_eq!(store.high_water().await?, (41, Some(Snowflake(9))), "it never falls");
    store.hold(&review(11, "r", "u"), None).await?;
    assert_eq!(store.high_water().await?.1, Some(Snowflake(11)));
    store.start_session(&session(13, "r", false)).await?;
    assert_eq!(store.high_water().await?.1, Some(Snowflake(13)));
    store.add_ban(&ban(17, "u", None, START_MS)).await?;
    assert_eq!(store.high_water().await?.1, Some(Snowflake(17)));
    Ok(())
}

async fn expiry_follows_each_rooms_retention(store: &impl Store) -> Case {
    let (short, long) = (Some(1), Some(30));
    assert!(put(store, "short", &RoomSettings { retention_days: short, ..RoomSettings::default() }).await?);
    assert!(put(store, "long", &RoomSettings { retention_days: long, ..RoomSettings::default() }).await?);
    let days = |n: u64| n * DAY_MS as u64;
    let mut run = Vec::new();
    for (n, name) in (0..).zip(["short", "long", "usual"]) {
        for day in 0..10 {
            run.push(positioned(comment(id_at(days(day), n + 1), name, "u"), 1 + n * 10 + day));
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

async fn expiry_clears_what_hangs_on_comments(store: &impl Store) -> Case {
    let said = |n: u64, session: u64| NewComment {
        client_msg_id: Some(format!("m{n}").into()),
        ..positioned(Comment { session_id: Some(Snowflake(session)), ..comment(id_at(n, 0), "r", "u") }, n)
    };
    store.start_session(&session(1, "r", true)).await?;
    store.append_comments(vec![said(1, 1), said(2, 1)]).await?;
    store.like(id_at(1, 0), &user("fan"), 1).await?;
    store.delete_comments(&[id_at(2, 0)]).await?;
    store.hold(&review(id_at(3, 0).0, "r", "u"), None).await?;
    store.keep_event(&event(id_at(4, 0).0), &[user("u")]).await?;
    store.end_session(&room("r"), None, START_MS + 10, false).await?;
    store.add_ban(&ban(2, "u", None, START_MS + DAY_MS)).await?;
    for (id, days) in [("r/old", 0), ("r/new", 9)] {
        let due_ms = START_MS + days * DAY_MS;
        let key = Document { kind: GIFT, id: id.into(), state: GIFT_SHOWN.into(), due_ms, ..Document::default() };
        store.add_document(&key).await?;
    }
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
    assert_eq!(store.document(GIFT, "r/old").await?, None);
    assert!(store.document(GIFT, "r/new").await?.is_some());
    Ok(())
}

//! Scores.

use model::{Comment, OrderingKey, Score, Session, Snowflake};

use super::{Case, comment, over, positioned, recorded, room, user};
use crate::{CommentStore, Document, DocumentStore, GIFT, RoomStore, ScoreStore, Scores};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: ScoreStore + CommentStore + RoomStore + DocumentStore>(fresh: impl Fn() -> S) -> Case {
    scores_are_comments_and_gifts(&fresh()).await?;
    a_gift_with_a_key_counts_once(&fresh()).await?;
    only_accepted_comments_score(&fresh()).await?;
    a_purge_takes_a_user_out_of_the_scores(&fresh()).await
}

async fn scores_are_comments_and_gifts(store: &(impl ScoreStore + CommentStore)) -> Case {
    let said = |n: u64, by: &str, name: &str| {
        let username = name.into();
        positioned(Comment { session_id: Some(Snowflake(1)), username, ..comment(Snowflake(n), "r", by) }, n)
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
    let mut keys = [("u", 1), ("v", 2), ("u", 3)].map(|(who, at)| (OrderingKey::of(at, &user(who)), at));
    keys.sort();
    assert_eq!(seen, keys, "here each comment has a key to itself");
    store.add_gift(Snowflake(1), &user("w"), "W", u64::MAX).await?;
    store.add_gift(Snowflake(1), &user("w"), "W", u64::MAX).await?;
    let richest = store.scores(Snowflake(1)).await?.users.into_iter().map(|user| user.score).max();
    assert!(richest >= Some(i64::MAX as u64), "a score stops at its end");
    Ok(())
}

async fn a_gift_with_a_key_counts_once(store: &(impl ScoreStore + DocumentStore)) -> Case {
    let key = |id: &str| Document { kind: GIFT, id: id.into(), state: "counted".into(), ..Document::default() };
    let give = async |id: &str| store.add_gift_once(Snowflake(1), &user("w"), "W", 3, &key(id)).await;
    assert_eq!(give("r/a").await?, Some(3));
    assert_eq!(give("r/a").await?, None);
    assert_eq!(give("r/b").await?, Some(6));
    let (one, other) = futures::join!(give("r/c"), give("r/c"));
    assert_eq!(
        (one?.or(other?), store.scores(Snowflake(1)).await?.users[0].score),
        (Some(9), 9),
        "of two at once, one"
    );
    assert_eq!(store.document(GIFT, "r/a").await?.map(|key| key.state).as_deref(), Some("counted"));
    Ok(())
}

async fn only_accepted_comments_score(store: &(impl ScoreStore + CommentStore)) -> Case {
    let said = |n: u64| positioned(Comment { session_id: Some(Snowflake(1)), ..comment(Snowflake(n), "r", "u") }, n);
    store.import_comments(&over(), vec![recorded(10)]).await?;
    assert_eq!(store.scores(Snowflake(1)).await?, Scores::default(), "a recording scores for nobody");
    store.append_comments(vec![said(1)]).await?;
    store.append_comments(vec![said(1), said(2)]).await?;
    assert_eq!(store.scores(Snowflake(1)).await?.users[0].score, 2, "a repeat does not score");
    Ok(())
}

async fn a_purge_takes_a_user_out_of_the_scores(store: &(impl ScoreStore + CommentStore + RoomStore)) -> Case {
    for (session, in_room) in [(1, "r"), (2, "s")] {
        let session = Session {
            id: Snowflake(session),
            room_id: room(in_room),
            started_at_ms: 0,
            ended_at_ms: None,
            explicit: true,
        };
        store.start_session(&session).await?;
    }
    let said = |n: u64, session: u64, in_room: &str, by: &str| {
        positioned(Comment { session_id: Some(Snowflake(session)), ..comment(Snowflake(n), in_room, by) }, n)
    };
    let all = vec![said(1, 1, "r", "u"), said(2, 1, "r", "u"), said(3, 1, "r", "v"), said(4, 2, "s", "u")];
    store.append_comments(all).await?;
    store.delete_comments(&[Snowflake(1)]).await?;
    store.add_gift(Snowflake(1), &user("u"), "U", 500).await?;
    store.add_gift(Snowflake(2), &user("u"), "U", 7).await?;
    let purged = store.purge_user(&user("u"), Some(&room("r")), 100, None).await?;
    assert_eq!((purged.comments, purged.rooms), (vec![(Snowflake(2), room("r"))], vec![room("r")]));
    let scores = store.scores(Snowflake(1)).await?;
    assert_eq!(scores.users.iter().map(|one| one.user_id.clone()).collect::<Vec<_>>(), [user("v")]);
    let seen = OrderingKey::of(2, &user("u"));
    assert!(scores.seen.contains(&(seen, 2)), "what was counted once is not counted again");
    assert_eq!(store.scores(Snowflake(2)).await?.users.first().map(|one| one.score), Some(8), "another room");
    assert_eq!(store.purge_user(&user("u"), None, 100, None).await?.rooms, [room("s")]);
    assert_eq!(store.scores(Snowflake(2)).await?.users, []);
    Ok(())
}

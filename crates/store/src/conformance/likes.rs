//! Likes.

use super::*;
use crate::{CommentStore, LikeStore};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: LikeStore + CommentStore>(fresh: impl Fn() -> S) -> Case {
    a_user_likes_a_comment_once(&fresh()).await?;
    the_most_liked_come_first(&fresh()).await?;
    nobody_likes_what_is_deleted(&fresh()).await?;
    concurrent_likes_are_all_counted(Arc::new(fresh())).await
}

async fn a_user_likes_a_comment_once(store: &(impl LikeStore + CommentStore)) -> Case {
    let id = Snowflake(1);
    store.append_comments(vec![positioned(comment(id, "r", "u"), 1)]).await?;
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

async fn the_most_liked_come_first(store: &(impl LikeStore + CommentStore)) -> Case {
    let said = |n: u64| Comment { session_id: Some(Snowflake(n % 2 + 1)), ..comment(Snowflake(n), "r", "u") };
    store.append_comments((1..=6).map(|n| positioned(said(n), n)).collect()).await?;
    store.append_comments(vec![positioned(comment(Snowflake(7), "s", "u"), 7)]).await?;
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

async fn nobody_likes_what_is_deleted(store: &(impl LikeStore + CommentStore)) -> Case {
    store.append_comments(vec![positioned(comment(Snowflake(1), "r", "u"), 1)]).await?;
    store.like(Snowflake(1), &user("fan"), 5).await?;
    store.delete_comments(&[Snowflake(1)]).await?;
    assert_eq!(ids(&store.most_liked(&room("r"), None, 10).await?), [] as [u64; 0]);
    assert_eq!(store.like(Snowflake(1), &user("late"), 6).await?, None);
    Ok(())
}

async fn concurrent_likes_are_all_counted(store: Arc<impl LikeStore + CommentStore>) -> Case {
    let id = Snowflake(1);
    store.append_comments(vec![positioned(comment(id, "r", "u"), 1)]).await?;
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

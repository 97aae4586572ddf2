//! Samples: kept once, read by room and time, erased with their author, and never kept of a purged one.

use super::*;
use crate::RoomScope;
use crate::erasure::ErasureStore;
use crate::samples::{SampleQuery, SampleStore};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: SampleStore + ErasureStore>(fresh: impl Fn() -> S) -> Case {
    they_are_read_by_room_and_time(&fresh()).await?;
    they_go_with_their_author(&fresh()).await?;
    of_a_purged_author_none_is_kept(&fresh()).await
}

fn all(limit: usize) -> SampleQuery {
    SampleQuery { limit, ..SampleQuery::default() }
}

async fn found(store: &impl SampleStore, query: &SampleQuery) -> crate::Result<Vec<u64>> {
    Ok(store.samples(query).await?.iter().map(|sample| sample.id.0).collect())
}

fn said(ms: u64, in_room: &str, by: &str) -> Arc<Comment> {
    Arc::new(comment(id_at(ms, 0), in_room, by))
}

async fn they_are_read_by_room_and_time(store: &impl SampleStore) -> Case {
    let comments = vec![said(1, "r", "u"), said(2, "s", "u"), said(3, "r", "v")];
    store.add_samples(comments.clone()).await?;
    store.add_samples(comments.clone()).await?;
    let ids: Vec<u64> = comments.iter().map(|comment| comment.id.0).collect();
    assert_eq!(found(store, &all(9)).await?, ids);
    let first = store.samples(&all(1)).await?.pop().expect("one");
    assert_eq!((first.room_id, first.user_id), (room("r"), user("u")));
    assert_eq!((first.username, first.content), ("name of u".to_owned(), format!("comment {}", ids[0])));
    assert_eq!(first.created_at_ms, START_MS + 1);
    let of = |rooms: &[&str]| RoomScope::Listed(rooms.iter().map(|name| room(name)).collect());
    assert_eq!(found(store, &SampleQuery { of: of(&["r"]), ..all(9) }).await?, [ids[0], ids[2]]);
    assert_eq!(found(store, &SampleQuery { of: of(&[]), ..all(9) }).await?, [0; 0]);
    assert_eq!(found(store, &SampleQuery { after: Some(Snowflake(ids[0])), ..all(1) }).await?, [ids[1]]);
    let between = SampleQuery { since_ms: Some(START_MS + 2), until_ms: Some(START_MS + 3), ..all(9) };
    assert_eq!(found(store, &between).await?, [ids[1]]);
    assert_eq!(store.expire_samples(START_MS + 3, 1).await?, 1);
    assert_eq!(store.expire_samples(START_MS + 3, 9).await?, 1);
    assert_eq!(found(store, &all(9)).await?, [ids[2]]);
    Ok(())
}

async fn they_go_with_their_author(store: &impl SampleStore) -> Case {
    store.add_samples(vec![said(1, "r", "u"), said(2, "s", "u"), said(3, "s", "u"), said(4, "r", "v")]).await?;
    assert_eq!(store.erase_samples(&user("u"), Some(&room("r")), 9).await?, 1);
    assert_eq!(store.erase_samples(&user("u"), None, 1).await?, 1);
    assert_eq!(store.erase_samples(&user("u"), None, 9).await?, 1);
    assert_eq!(store.erase_samples(&user("u"), None, 9).await?, 0);
    assert_eq!(found(store, &all(9)).await?, [id_at(4, 0).0]);
    Ok(())
}

async fn of_a_purged_author_none_is_kept(store: &(impl SampleStore + ErasureStore)) -> Case {
    store.note_purge(&user("u"), Some(&room("r")), START_MS + 5).await?;
    store.add_samples(vec![said(1, "r", "u"), said(2, "s", "u"), said(6, "r", "u")]).await?;
    assert_eq!(found(store, &all(9)).await?, [id_at(2, 0).0, id_at(6, 0).0]);
    Ok(())
}

//! The cold archive.

use super::*;
use crate::archive::{ArchiveStore, ArchivedSegment, Fingerprint};
use crate::{CommentStore, LikeStore, MaintenanceStore, Positioned, RoomStore};

/// What the cases use.
pub trait Nouns: ArchiveStore + CommentStore + LikeStore + RoomStore + MaintenanceStore {}
impl<S: ArchiveStore + CommentStore + LikeStore + RoomStore + MaintenanceStore> Nouns for S {}

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: Nouns>(fresh: impl Fn() -> S) -> Case {
    comments_leave_and_come_back_with_their_likes(&fresh()).await?;
    only_what_is_unchanged_and_named_leaves(&fresh()).await?;
    a_segment_is_swapped_by_comparison(&fresh()).await?;
    sessions_are_archived_once_they_are_empty_and_old(&fresh()).await?;
    fingerprints_tell_contents_apart(&fresh()).await?;
    old_segments_expire(&fresh()).await
}

const SESSION: Snowflake = Snowflake(1);

fn said(n: u64, offset_ms: i64) -> Comment {
    Comment { session_id: Some(SESSION), offset_ms, ..comment(id_at(1_000 + n, 0), "r", "u") }
}

/// A session that is over, with comments at these offsets.
async fn recorded_at(store: &impl Nouns, offsets: &[i64]) -> crate::Result<Vec<Snowflake>> {
    store.import_comments(&over(), Vec::new()).await?;
    let comments: Vec<_> = (0..).zip(offsets).map(|(n, offset)| positioned(said(n, *offset), n + 1)).collect();
    let ids = comments.iter().map(|new| new.comment.id).collect();
    store.append_comments(comments).await?;
    Ok(ids)
}

fn segment(n: i64, object: &str, comments: &[Positioned]) -> ArchivedSegment {
    let mut fingerprint = Fingerprint::default();
    comments.iter().for_each(|one| fingerprint.add(one.comment.id, one.comment.like_count));
    let ids = || comments.iter().map(|one| one.comment.id);
    ArchivedSegment {
        room_id: room("r"),
        session_id: SESSION,
        n,
        object: object.into(),
        checksum: "c".repeat(64),
        bytes: 10,
        fingerprint,
        min_id: ids().min().unwrap_or(Snowflake(1)),
        max_id: ids().max().unwrap_or(Snowflake(1)),
    }
}

/// Names an object for what the database has of a segment.
async fn name(store: &impl Nouns, n: i64, old: Option<&str>, object: &str) -> crate::Result<(ArchivedSegment, bool)> {
    let hot = store.hot_segment(SESSION, n).await?;
    let ids: Vec<_> = hot.visible.iter().map(|one| one.comment.id).collect();
    let named = segment(n, object, &hot.visible);
    let swapped = store.swap_segment(SESSION, n, old, Some(&named), &ids, &[42]).await?;
    Ok((named, swapped))
}

async fn comments_leave_and_come_back_with_their_likes(store: &impl Nouns) -> Case {
    let ids = recorded_at(store, &[0, 10, 400_000]).await?;
    store.like(ids[1], &user("fan"), 5).await?;
    store.delete_comments(&[ids[0]]).await?;
    let hot = store.hot_segment(SESSION, 0).await?;
    assert_eq!(hot.visible.iter().map(|one| one.comment.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!(hot.unseen, [ids[0]]);
    let (named, swapped) = name(store, 0, None, "one").await?;
    assert!(swapped);
    assert_eq!(store.drop_archived(&named, &[(ids[1], 1), (ids[2], 7)]).await?, 1);
    assert!(store.comment(ids[1]).await?.is_none() && store.comment(ids[2]).await?.is_some());
    assert_eq!(store.archived_segments(SESSION).await?, std::slice::from_ref(&named));
    assert_eq!(store.archived_segments_of_room(&room("r"), (0, 3), None).await?, std::slice::from_ref(&named));
    assert_eq!(store.archived_segments_of_room(&room("r"), (1, 3), None).await?, []);
    assert_eq!(store.archived_segments_of_room(&room("r"), (0, 3), Some(7)).await?, []);
    assert_eq!(store.archived_segments_of_user(Some(&room("r")), 42).await?, std::slice::from_ref(&named));
    assert_eq!(store.archived_segments_of_user(Some(&room("other")), 42).await?, []);
    assert_eq!(store.archived_places(&[ids[0], ids[1], ids[2]]).await?, [(ids[1], named.clone())]);
    assert_eq!(store.archived_likes(&room("r"), Some(SESSION), 9).await?, [(ids[1], 1)]);
    assert_eq!(store.archived_likes(&room("r"), None, 9).await?, [(ids[1], 1)]);
    assert_eq!(store.archived_likes_of_user(&user("fan"), Some(&room("r")), 9).await?, [ids[1]]);
    assert_eq!(store.archived_likes_of_user(&user("fan"), Some(&room("other")), 9).await?, []);
    assert_eq!(store.named_objects(&["one".into(), "two".into()]).await?, ["one"]);
    assert_eq!(store.high_water().await?.1, Some(ids[2]));

    store.thaw(&named, &hot.visible).await?;
    store.thaw(&named, &hot.visible).await?;
    let back = store.comment(ids[1]).await?.expect("it is back");
    assert_eq!((back.like_count, &back.content), (1, &hot.visible[0].comment.content));
    assert_eq!(store.like(ids[1], &user("fan"), 6).await?, None, "the same fan");
    assert_eq!(store.position_of(ids[1]).await?, Some((room("r"), 2)));
    assert_eq!(store.archived_likes(&room("r"), None, 9).await?, []);
    Ok(())
}

async fn only_what_is_unchanged_and_named_leaves(store: &impl Nouns) -> Case {
    let ids = recorded_at(store, &[0, 10, 20]).await?;
    let (named, _) = name(store, 0, None, "one").await?;
    store.like(ids[0], &user("fan"), 5).await?;
    store.delete_comments(&[ids[1]]).await?;
    let all: Vec<_> = ids.iter().map(|id| (*id, 0)).collect();
    let other = ArchivedSegment { object: "two".into(), ..named.clone() };
    assert_eq!(store.drop_archived(&other, &all).await?, 0, "the segment names another object");
    assert_eq!(store.drop_archived(&named, &all).await?, 1, "one was liked, one deleted meanwhile");
    assert!(store.comment(ids[0]).await?.is_some());
    assert_eq!(store.segments_with_unseen(SESSION).await?, [0]);
    // What the database has in any state is not replaced by what an object had.
    let cold = Positioned { comment: Arc::new(said(1, 10)), position: 2 };
    store.thaw(&named, &[cold]).await?;
    assert!(store.comment(ids[1]).await?.is_none(), "deleted it stays");
    Ok(())
}

async fn a_segment_is_swapped_by_comparison(store: &impl Nouns) -> Case {
    let ids = recorded_at(store, &[0, 10]).await?;
    let (one, swapped) = name(store, 0, None, "one").await?;
    assert!(swapped && !name(store, 0, None, "two").await?.1 && !name(store, 0, Some("three"), "two").await?.1);
    store.like(ids[0], &user("fan"), 1).await?;
    store.drop_archived(&one, &[(ids[0], 1), (ids[1], 0)]).await?;
    let kept = segment(0, "two", &[Positioned { comment: Arc::new(said(1, 10)), position: 2 }]);
    assert!(store.swap_segment(SESSION, 0, Some("one"), Some(&kept), &[ids[1]], &[]).await?);
    assert_eq!(store.archived_places(&ids).await?, [(ids[1], kept)]);
    assert_eq!(store.archived_likes(&room("r"), None, 9).await?, [], "likes of what is gone are gone");
    assert!(!store.swap_segment(SESSION, 0, Some("one"), None, &[], &[]).await?);
    assert!(store.swap_segment(SESSION, 0, Some("two"), None, &[], &[]).await?);
    assert_eq!(store.archived_segments(SESSION).await?, []);
    assert_eq!(store.archived_places(&ids).await?, []);
    Ok(())
}

async fn sessions_are_archived_once_they_are_empty_and_old(store: &impl Nouns) -> Case {
    let ids = recorded_at(store, &[0, 10]).await?;
    let ended = over().ended_at_ms.unwrap_or(0);
    assert!(store.sessions_to_archive(ended - 1, 9).await?.is_empty());
    assert_eq!(store.sessions_to_archive(ended, 9).await?, [over()]);
    assert!(!store.finish_archive(SESSION).await?, "the database has comments of it");
    let hot = store.hot_segment(SESSION, 0).await?;
    let (named, _) = name(store, 0, None, "one").await?;
    store.drop_archived(&named, &[(ids[0], 0), (ids[1], 0)]).await?;
    assert!(store.finish_archive(SESSION).await?);
    let row = store.sessions(&room("r"), 1).await?.remove(0);
    assert_eq!((row.archived, row.comment_count), (true, 2));
    assert!(store.sessions_to_archive(ended, 9).await?.is_empty() && store.changed_archives(9).await?.is_empty());
    assert_eq!(store.archived_sessions(Snowflake(0), 9).await?, [(over(), 2)]);
    assert!(store.archived_sessions(SESSION, 9).await?.is_empty());

    // What comes later is a change.
    store.append_comments(vec![positioned(said(9, 30), 9)]).await?;
    assert_eq!(store.changed_archives(9).await?, [over()]);
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 3);
    store.thaw(&named, &hot.visible).await?;
    assert_eq!(store.sessions(&room("r"), 1).await?[0].comment_count, 3, "coming back adds nothing");

    assert!(!store.finish_restore(SESSION, ended + 5).await?, "a segment lies in an object");
    store.swap_segment(SESSION, 0, Some("one"), None, &[], &[]).await?;
    assert!(store.finish_restore(SESSION, ended + 5).await?);
    assert!(!store.sessions(&room("r"), 1).await?[0].archived);
    assert!(store.sessions_to_archive(ended + 4, 9).await?.is_empty(), "it stays from then on");
    assert_eq!(store.sessions_to_archive(ended + 5, 9).await?.len(), 1);
    Ok(())
}

async fn fingerprints_tell_contents_apart(store: &impl Nouns) -> Case {
    let ids = recorded_at(store, &[-5, 0, 359_999, 360_000]).await?;
    let mut expected = [Fingerprint::default(); 2];
    ids.iter().zip([0, 0, 0, 1]).for_each(|(id, n)| expected[n].add(*id, 0));
    assert_eq!(store.hot_fingerprints(SESSION).await?, [(0, expected[0]), (1, expected[1])]);
    assert_eq!(store.hot_segment(SESSION, 0).await?.visible.len(), 3);
    store.like(ids[3], &user("fan"), 1).await?;
    let mut liked = Fingerprint::default();
    liked.add(ids[3], 1);
    assert_eq!(store.hot_fingerprints(SESSION).await?[1], (1, liked));
    store.delete_comments(&[ids[3]]).await?;
    assert_eq!(store.hot_fingerprints(SESSION).await?, [(0, expected[0])]);
    Ok(())
}

async fn old_segments_expire(store: &impl Nouns) -> Case {
    let ids = recorded_at(store, &[0]).await?;
    let (named, _) = name(store, 0, None, "one").await?;
    store.drop_archived(&named, &[(ids[0], 0)]).await?;
    store.finish_archive(SESSION).await?;
    let day = START_MS + DAY_MS;
    assert_eq!(store.expired_segments(day, 1, 9).await?, [], "it is not a day old");
    assert_eq!(store.expired_segments(day + 1_500, u32::MAX, 9).await?, []);
    let expired = store.expired_segments(day + 1_500, 1, 9).await?;
    assert_eq!(expired, [(named, id_at(1_500, 0))]);
    // A session whose comments are archived is not an empty one.
    store.expire(day + 60_000, 1, 7, 9).await?;
    assert!(store.session(SESSION).await?.is_some());
    store.swap_segment(SESSION, 0, Some("one"), None, &[], &[]).await?;
    store.expire(day + 60_000, 1, 7, 9).await?;
    assert!(store.session(SESSION).await?.is_none());
    Ok(())
}

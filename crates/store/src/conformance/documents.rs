//! Documents: added once, changed by the first, listed in order, marked once by each user.

use super::*;
use crate::{Document, DocumentQuery, DocumentStore};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: DocumentStore>(fresh: impl Fn() -> S) -> Case {
    of_two_changes_one_wins(&fresh()).await?;
    lists_select_and_keep_the_order(&fresh()).await?;
    everybody_marks_once(&fresh()).await
}

fn document(id: &str, in_room: Option<&str>, state: &str, due_ms: i64) -> Document {
    let (id, room_id, state) = (id.to_owned(), in_room.map(room), state.to_owned());
    Document { kind: "poll", id, room_id, state, due_ms, version: 0, user_id: None, body: "{\"问\":1}".into() }
}

async fn of_two_changes_one_wins(store: &impl DocumentStore) -> Case {
    let first = document("a", Some("r"), "open", 0);
    assert!(store.add_document(&first).await?);
    assert!(!store.add_document(&document("a", None, "other", 0)).await?);
    let found = store.document("poll", "a").await?.expect("added");
    assert_eq!(found, first);
    let closed = Document { state: "closed".into(), ..found.clone() };
    assert!(store.replace_document(&closed).await?);
    assert!(!store.replace_document(&Document { state: "late".into(), ..found }).await?);
    let found = store.document("poll", "a").await?.expect("there");
    assert_eq!((found.state.as_str(), found.version), ("closed", 1));
    assert!(store.remove_document("poll", "a").await? && !store.remove_document("poll", "a").await?);
    assert_eq!(store.document("poll", "a").await?, None);
    Ok(())
}

async fn lists_select_and_keep_the_order(store: &impl DocumentStore) -> Case {
    for (id, in_room, state, due_ms) in
        [("c", Some("r"), "open", 30), ("a", Some("s"), "open", 10), ("b", Some("r"), "closed", 20)]
    {
        assert!(store.add_document(&document(id, in_room, state, due_ms)).await?);
    }
    let all = DocumentQuery { kind: "poll", limit: 10, ..DocumentQuery::default() };
    let (r, both) = ([room("r")], [room("s"), room("r"), room("nowhere")]);
    for (query, expected) in [
        (all, vec!["c", "a", "b"]),
        (DocumentQuery { limit: 2, ..all }, vec!["c", "a"]),
        (DocumentQuery { rooms: Some(&r), ..all }, vec!["c", "b"]),
        (DocumentQuery { rooms: Some(&r), state: Some("open"), ..all }, vec!["c"]),
        (DocumentQuery { rooms: Some(&both), limit: 2, ..all }, vec!["c", "a"]),
        (DocumentQuery { rooms: Some(&[]), ..all }, vec![]),
        (DocumentQuery { after: Some("c"), ..all }, vec!["a", "b"]),
        (DocumentQuery { rooms: Some(&r), after: Some("c"), ..all }, vec!["b"]),
        (DocumentQuery { after: Some("nobody"), ..all }, vec![]),
        (DocumentQuery { state: Some("open"), due_until_ms: Some(10), ..all }, vec!["a"]),
        (DocumentQuery { kind: "none", ..all }, vec![]),
    ] {
        let found = store.documents(query).await?;
        assert_eq!(found.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), expected, "{query:?}");
    }
    Ok(())
}

async fn everybody_marks_once(store: &impl DocumentStore) -> Case {
    for (by, value, first) in [("u", 1, true), ("u", 2, false), ("v", 1, true), ("w", 0, true)] {
        assert_eq!(store.mark_document("poll", "a", &user(by), value).await?, first, "{by}");
    }
    assert_eq!(store.document_marks("poll", "a").await?, [(0, 1), (1, 2)]);
    assert!(store.document_marks("poll", "b").await?.is_empty());
    Ok(())
}

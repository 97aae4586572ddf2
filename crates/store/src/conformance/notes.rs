//! Notes: bounded for each person and room, newest first, read by those alone whose rooms they are of.

use super::*;
use crate::RoomScope;
use crate::notes::{Note, NoteStore};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: NoteStore + RoomStore + crate::MaintenanceStore>(fresh: impl Fn() -> S) -> Case {
    a_note_is_kept_as_it_is_until_it_is_removed(&fresh()).await?;
    lists_are_of_ones_own_rooms(&fresh()).await?;
    each_room_has_so_many_and_no_more(&fresh()).await
}

pub(super) fn note(id: u64, about: &str, in_room: Option<&str>) -> Note {
    let (room_id, text) = (in_room.map(room), format!("笔记 {id}\nabout {about}"));
    Note { id: Snowflake(id), user_id: user(about), room_id, by: "mo".into(), at_ms: START_MS, text }
}

async fn a_note_is_kept_as_it_is_until_it_is_removed(store: &(impl NoteStore + crate::MaintenanceStore)) -> Case {
    let notes = [note(1, "u", Some("r")), Note { by: "admin key".into(), ..note(2, "u", None) }];
    for note in &notes {
        assert!(store.add_note(note, 9).await?);
        assert!(store.add_note(note, 9).await?, "a repeated call is no second note");
    }
    assert_eq!(store.notes(&user("u"), &RoomScope::All, None, 9).await?, [notes[1].clone(), notes[0].clone()]);
    assert_eq!(store.note(Snowflake(1)).await?.as_ref(), Some(&notes[0]));
    assert_eq!(store.high_water().await?.1, Some(Snowflake(2)), "an id is given once");
    assert!(store.remove_note(Snowflake(1)).await? && !store.remove_note(Snowflake(1)).await?);
    assert_eq!(store.note(Snowflake(1)).await?, None);
    assert_eq!(store.notes(&user("v"), &RoomScope::All, None, 9).await?, []);
    Ok(())
}

async fn lists_are_of_ones_own_rooms(store: &(impl NoteStore + RoomStore)) -> Case {
    put(store, "r", &RoomSettings { owner_id: Some(user("olga")), ..RoomSettings::default() }).await?;
    for (id, in_room) in [(1, Some("r")), (2, Some("s")), (3, None), (4, Some("r")), (5, Some("nowhere"))] {
        store.add_note(&note(id, "u", in_room), 9).await?;
        store.add_note(&note(id + 10, "v", in_room), 9).await?;
    }
    let listed = |rooms: &[&str]| RoomScope::Listed(rooms.iter().map(|name| room(name)).collect());
    let owned = |within: Option<Vec<RoomId>>| RoomScope::OwnedBy { owner: user("olga"), within };
    for (scope, expected) in [
        (RoomScope::All, vec![5, 4, 3, 2, 1]),
        (listed(&["r"]), vec![4, 1]),
        (listed(&["nowhere", "s"]), vec![5, 2]),
        (listed(&[]), vec![]),
        (owned(None), vec![4, 1]),
        (owned(Some(vec![room("s")])), vec![]),
    ] {
        for page in [1, 2, 9] {
            let mut ids = Vec::new();
            while let some = store.notes(&user("u"), &scope, ids.last().copied().map(Snowflake), page).await?
                && !some.is_empty()
            {
                ids.extend(some.iter().map(|note| note.id.0));
            }
            assert_eq!(ids, expected, "{scope:?} in pages of {page}");
        }
    }
    Ok(())
}

async fn each_room_has_so_many_and_no_more(store: &impl NoteStore) -> Case {
    for (id, in_room, added) in [
        (1, Some("r"), true),
        (2, Some("r"), true),
        (3, Some("r"), false),
        (4, Some("s"), true),
        (5, None, true),
        (6, None, true),
        (7, None, false),
    ] {
        assert_eq!(store.add_note(&note(id, "u", in_room), 2).await?, added, "{id}");
    }
    assert!(store.add_note(&note(8, "v", None), 2).await?, "another person");
    assert!(store.remove_note(Snowflake(1)).await?);
    assert!(store.add_note(&note(9, "u", Some("r")), 2).await?, "there is room again");
    Ok(())
}

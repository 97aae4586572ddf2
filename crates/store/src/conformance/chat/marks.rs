//! Read marks, recalls, and their changes.

use model::chat::{ChangeKind, UNREAD_MAX};

use super::*;

const DELIVERED: Option<(MsgStatus, Option<u32>)> = Some((MsgStatus::Delivered, None));
const READ: Option<(MsgStatus, Option<u32>)> = Some((MsgStatus::Read, None));

pub(super) async fn a_mark_reads_everything_before_it(store: &dyn ChatStore) -> Case {
    for n in 1..=3 {
        send(store, new_message(n, "ann", to("bob"))).await?;
    }
    send(store, new_message(4, "bob", to("ann"))).await?;
    let bob = user("bob");
    assert_eq!(first_conversation(store, "bob").await?.unread, 3, "one's own do not count");
    let Marked { unread, authors, group_id, .. } = store.mark_read(&bob, id(2), START_MS).await?.expect("a member");
    assert_eq!((unread, authors, group_id), (1, Some(vec![user("ann")]), None));
    assert_eq!([status(store, "ann", 2).await?, status(store, "ann", 3).await?], [READ, DELIVERED]);
    assert_eq!([status(store, "bob", 2).await?, status(store, "bob", 3).await?], [READ, DELIVERED]);
    let again = store.mark_read(&bob, id(1), START_MS).await?.expect("a member");
    assert_eq!((again.unread, again.authors), (1, None), "a mark never moves back");
    let own = store.mark_read(&bob, id(4), START_MS).await?.expect("a member");
    assert_eq!((own.unread, own.authors), (0, Some(vec![user("ann")])));
    let seen = first_conversation(store, "ann").await?;
    let model::chat::ConversationKind::Direct { with, peer_read_id } = seen.kind else { panic!("{seen:?}") };
    assert_eq!((with, peer_read_id, seen.read_id, seen.unread), (bob, Some(id(4)), None, 1));
    Ok(())
}

pub(super) async fn groups_count_their_readers(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob", "cat"]).await?;
    send(store, new_message(2, "ann", in_group(group))).await?;
    let add = GroupWish::Add { users: vec![user("dan")], members_max: 10 };
    store.change_group(group, &user("ann"), add, START_MS).await?;
    send(store, new_message(3, "cat", in_group(group))).await?;
    send(store, new_message(4, "ann", in_group(group))).await?;
    let marked = store.mark_read(&user("bob"), id(4), START_MS).await?.expect("a member");
    let mut authors = marked.authors.expect("it moved");
    authors.sort_unstable();
    assert_eq!((authors, marked.group_id), (vec![user("ann"), user("cat")], Some(group)));
    assert_eq!(status(store, "ann", 2).await?, Some((MsgStatus::Delivered, Some(1))));
    store.mark_read(&user("cat"), id(2), START_MS).await?;
    assert_eq!(status(store, "ann", 2).await?, Some((MsgStatus::Read, Some(2))), "Dan came later");
    assert_eq!(status(store, "ann", 4).await?, Some((MsgStatus::Delivered, Some(1))));
    assert_eq!(status(store, "bob", 4).await?, READ);
    store.change_group(group, &user("cat"), GroupWish::Remove(user("cat")), START_MS).await?;
    store.mark_read(&user("dan"), id(4), START_MS).await?;
    assert_eq!(status(store, "ann", 4).await?, Some((MsgStatus::Read, Some(2))), "all who are there");
    Ok(())
}

pub(super) async fn a_recalled_message_is_gone_everywhere(store: &dyn ChatStore) -> Case {
    let conversation = send(store, new_message(1, "ann", to("bob"))).await?;
    send(store, new_message(2, "ann", to("bob"))).await?;
    let recall = |name, n, not_before_ms| {
        let name = user(name);
        async move { store.recall(&name, id(n), START_MS + 50, not_before_ms, n == 2).await }
    };
    assert_eq!(recall("bob", 1, 0).await?, Recalled::Forbidden);
    assert_eq!(recall("ann", 1, START_MS + 2).await?, Recalled::TooLate);
    assert!(
        matches!(recall("ann", 1, START_MS + 1).await?, Recalled::Done { message, .. } if message.content.is_empty())
    );
    assert_eq!(recall("ann", 1, START_MS + 90).await?, Recalled::Already, "however late");
    recall("ann", 2, 0).await?;
    let page = history(store, "bob", conversation).await?.expect("a member");
    let synced = store.sync(since("bob", None, Some(0), 10)).await?;
    let list = first_conversation(store, "bob").await?;
    let first = store.first_message(&user("ann"), "c2").await?.expect("kept");
    assert!(first.content.is_empty(), "kept or not, nobody is given it");
    for seen in page.messages.iter().chain(&synced.messages).chain(&list.last) {
        assert_eq!((&*seen.message.content, seen.status), ("", MsgStatus::Recalled));
        let recalled = seen.message.recalled.as_ref().expect("recalled");
        assert_eq!((&recalled.by, recalled.at_ms), (&user("ann"), START_MS + 50));
    }
    assert_eq!((page.messages.len(), synced.changes.len(), list.unread), (2, 2, 0));
    Ok(())
}

pub(super) async fn changes_are_read_once_each_and_marks_replace(store: &dyn ChatStore) -> Case {
    for n in 1..=6 {
        send(store, new_message(n, "ann", to(if n <= 4 { "bob" } else { "cat" }))).await?;
    }
    let bob = user("bob");
    store.mark_read(&bob, id(1), START_MS).await?;
    store.recall(&user("ann"), id(3), START_MS, 0, false).await?;
    store.mark_read(&bob, id(2), START_MS + 7).await?;
    store.mark_read(&user("cat"), id(5), START_MS).await?;
    let (mut seen, mut cursor) = (Vec::new(), 0);
    loop {
        let page = store.sync(since("ann", Some(6), Some(cursor), 1)).await?;
        seen.extend(page.changes.iter().map(|c| (c.kind, number(c.message_id), c.by_user.to_string())));
        cursor = page.latest_change;
        if !page.more {
            break;
        }
    }
    let expected = [
        (ChangeKind::Recalled, 3, "ann".to_owned()),
        (ChangeKind::Read, 2, "bob".to_owned()),
        (ChangeKind::Read, 5, "cat".to_owned()),
    ];
    assert_eq!(seen, expected);
    assert!(store.sync(since("ann", None, Some(cursor), 10)).await?.changes.is_empty());
    assert_eq!(store.sync(since("ann", None, None, 10)).await?.latest_change, cursor);
    assert_eq!(store.sync(since("bob", None, Some(0), 10)).await?.changes.len(), 2, "not those of others");
    store.mark_read(&bob, id(4), START_MS).await?;
    let page = store.sync(since("ann", Some(6), Some(cursor), 10)).await?;
    assert_eq!((page.changes.len(), page.messages.len()), (1, 0));
    assert!(page.latest_change > cursor);
    Ok(())
}

pub(super) async fn unread_counts_end_somewhere(store: &dyn ChatStore) -> Case {
    let run = |from: u64| (from..from + 2_000).map(|n| new_message(n, "ann", to("bob"))).collect::<Vec<_>>();
    for from in (1..=10_001).step_by(2_000) {
        store.append_messages(run(from)).await?;
    }
    assert_eq!(first_conversation(store, "bob").await?.unread, UNREAD_MAX);
    let marked = store.mark_read(&user("bob"), id(11_990), START_MS).await?.expect("a member");
    assert_eq!(marked.unread, 10);
    Ok(())
}

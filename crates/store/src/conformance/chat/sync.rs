//! Sync and its windows.

use super::*;

pub(super) async fn pages_meet_every_message_once_in_order(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob"]).await?;
    for n in 2..=30 {
        let (from, recipient) = match n % 4 {
            0 => ("ann", in_group(group)),
            1 => ("bob", to("ann")),
            2 => ("cat", to("ann")),
            _ => ("cat", to("bob")), // not for Ann
        };
        send(store, new_message(n, from, recipient)).await?;
    }
    let expected: Vec<u64> = (2..=30).filter(|n| n % 4 != 3).collect();
    for limit in [1, 2, 7, 100] {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let SyncPage { messages, latest_id, more, expired, .. } =
                store.sync(since("ann", cursor, None, limit)).await?;
            assert!(messages.len() <= limit && !expired);
            assert_eq!(latest_id, messages.last().map(|seen| seen.message.id));
            found.extend(numbers(&messages));
            cursor = latest_id.map(number);
            if !more {
                break;
            }
        }
        assert_eq!(found, expected, "in pages of {limit}");
    }
    let nothing = store.sync(since("ann", Some(30), None, 10)).await?;
    assert_eq!((nothing.messages.len(), nothing.latest_id, nothing.more), (0, Some(id(30)), false));
    let another = store.sync(since("ann", Some(27), None, 10)).await?;
    assert_eq!(numbers(&another.messages), [28, 29, 30], "somebody else's message is a place in the order too");
    assert_eq!(store.sync(since("dan", None, None, 10)).await?.latest_id, None);
    Ok(())
}

pub(super) async fn a_late_member_sees_what_came_after(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &[]).await?;
    send(store, new_message(2, "ann", in_group(group))).await?;
    let add = GroupWish::Add { users: vec![user("bob")], members_max: 10 };
    store.change_group(group, &user("ann"), add, START_MS).await?;
    assert_eq!(first_conversation(store, "bob").await?.last, None);
    send(store, new_message(3, "ann", in_group(group))).await?;
    assert_eq!(numbers(&store.sync(since("bob", None, None, 10)).await?.messages), [3]);
    let page = history(store, "bob", group.conversation()).await?.expect("a member");
    assert_eq!((numbers(&page.messages), page.more), (vec![3], false));
    assert_eq!(store.message(&user("bob"), id(2)).await?, None);
    assert_eq!(first_conversation(store, "bob").await?.unread, 1);
    Ok(())
}

pub(super) async fn what_is_too_old_is_not_given_and_said(store: &dyn ChatStore) -> Case {
    for n in 1..=6 {
        send(store, new_message(n, "ann", to("bob"))).await?;
    }
    send(store, new_message(7, "cat", to("bob"))).await?;
    let young = |name, from| SyncQuery { not_before_ms: START_MS + 4, ..since(name, from, None, 10) };
    let page = store.sync(young("bob", None)).await?;
    assert_eq!((numbers(&page.messages), page.expired), (vec![4, 5, 6, 7], false), "the beginning is what there is");
    let page = store.sync(young("bob", Some(1))).await?;
    assert_eq!((numbers(&page.messages), page.expired), (vec![4, 5, 6, 7], true));
    let page = store.sync(young("bob", Some(3))).await?;
    assert_eq!((numbers(&page.messages), page.expired), (vec![4, 5, 6, 7], false), "nothing is missing");
    let page = store.sync(young("cat", Some(1))).await?;
    assert_eq!((numbers(&page.messages), page.expired), (vec![7], false), "nothing of Cat's is missing");
    let late = SyncQuery { not_before_ms: START_MS + 100, ..since("bob", Some(2), None, 10) };
    let page = store.sync(late.clone()).await?;
    assert_eq!((page.messages.len(), page.expired, page.latest_id), (0, true, Some(id(7))));
    let page = store.sync(SyncQuery { since: page.latest_id, ..late }).await?;
    assert!(!page.expired, "it is said once");
    let page = store.sync(since("bob", Some(99), None, 10)).await?;
    assert_eq!((page.messages.len(), page.expired), (7, true), "a message that never was");
    Ok(())
}

pub(super) async fn of_many_those_are_found_whom_something_reached(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob"]).await?;
    send(store, new_message(10, "ann", in_group(group))).await?;
    send(store, new_message(20, "cat", to("dan"))).await?;
    send(store, new_message(21, "dan", to("cat"))).await?;
    let add = GroupWish::Add { users: vec![user("eve")], members_max: 10 };
    store.change_group(group, &user("ann"), add, START_MS + 25).await?;
    let mut all: Vec<_> = ["ann", "bob", "cat", "dan", "dan", "eve"].map(user).to_vec();
    all.extend((0..200).map(|n| user(&format!("viewer-{n}"))));
    let expected =
        [(0, vec!["ann", "bob", "cat", "dan"]), (11, vec!["cat", "dan"]), (21, vec!["cat", "dan"]), (22, vec![])];
    for (ms, names) in expected {
        let names: Vec<_> = names.into_iter().map(user).collect();
        assert_eq!(store.reached_since(&all, START_MS + ms).await?, names, "since {ms} ms");
    }
    assert_eq!(store.reached_since(&[], START_MS).await?, []);
    Ok(())
}

pub(super) async fn expiry_removes_what_is_old(store: &dyn ChatStore) -> Case {
    for n in 1..=5 {
        send(store, new_message(n, "ann", to("bob"))).await?;
    }
    store.recall(&user("ann"), id(1), START_MS, 0, false).await?;
    assert_eq!(store.expire_chat(i64::MIN, 0, 10).await?, 0);
    assert_eq!(store.expire_chat(START_MS + 4, 0, 2).await?, 2);
    assert_eq!(store.expire_chat(START_MS + 4, 0, 2).await?, 1);
    assert_eq!(store.expire_chat(START_MS + 4, 0, 2).await?, 0);
    let page = store.sync(since("bob", Some(2), Some(0), 10)).await?;
    assert_eq!((numbers(&page.messages), page.expired), (vec![4, 5], true), "the cursor's message is gone");
    assert_eq!(page.changes, []);
    send(store, new_message(6, "ann", to("bob"))).await?;
    assert_eq!(numbers(&store.sync(since("bob", Some(5), None, 10)).await?.messages), [6]);
    Ok(())
}

pub(super) async fn each_device_has_its_cursor(store: &dyn ChatStore) -> Case {
    let device = |n: u64| DeviceId::new(&format!("d{n}")).expect("an id");
    let ann = user("ann");
    assert_eq!(store.device_cursor(&ann, &device(1)).await?, None);
    store.set_device_cursor(&ann, &device(1), id(5), 1).await?;
    store.set_device_cursor(&ann, &device(2), id(7), 2).await?;
    assert_eq!(store.device_cursor(&ann, &device(1)).await?, Some(id(5)));
    assert_eq!(store.device_cursor(&user("bob"), &device(1)).await?, None, "each user's own");
    store.set_device_cursor(&ann, &device(1), Snowflake(0), 3).await?;
    assert_eq!(store.device_cursor(&ann, &device(1)).await?, Some(Snowflake(0)), "where it says it is");
    for n in 3..=65 {
        store.set_device_cursor(&ann, &device(n), id(1), n.cast_signed() + 10).await?;
    }
    assert_eq!(store.device_cursor(&ann, &device(2)).await?, None, "of 65 the one not seen for longest");
    assert_eq!(store.device_cursor(&ann, &device(1)).await?, Some(Snowflake(0)));
    store.expire_chat(i64::MIN, 14, 100).await?;
    assert_eq!(store.device_cursor(&ann, &device(3)).await?, None);
    assert!(store.device_cursor(&ann, &device(4)).await?.is_some());
    Ok(())
}

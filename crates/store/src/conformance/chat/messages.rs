//! Messages.

use super::*;

pub(super) async fn messages_come_back_as_they_were(store: &dyn ChatStore) -> Case {
    let new = NewMessage { msg_type: MsgType::File, ..new_message(1, "ann", to("bob")) };
    let conversation = send(store, new.clone()).await?;
    for reader in ["ann", "bob"] {
        let seen = store.message(&user(reader), id(1)).await?.expect("a member");
        let message = &*seen.message;
        assert_eq!(message.conversation_id, conversation);
        assert_eq!((&message.from_user, &message.from_name), (&new.from_user, &new.from_name));
        assert_eq!((&message.to, &message.content, message.msg_type), (&new.to, &new.content, new.msg_type));
        assert_eq!((&message.client_msg_id, message.created_at_ms), (&new.client_msg_id, new.created_at_ms));
        assert_eq!((seen.status, seen.read_count, &message.recalled), (MsgStatus::Delivered, None, &None));
    }
    let back = send(store, new_message(2, "bob", to("ann"))).await?;
    assert_eq!(back, conversation, "two people have one conversation");
    let first = store.first_message(&user("ann"), "c1").await?.expect("kept");
    assert_eq!(first.id, id(1));
    assert_eq!(store.first_message(&user("bob"), "c1").await?, None, "each sender's own");
    Ok(())
}

pub(super) async fn the_same_client_msg_id_is_stored_once(store: &dyn ChatStore) -> Case {
    let again = |n| NewMessage { client_msg_id: "same".into(), ..new_message(n, "ann", to("bob")) };
    let outcomes = store.append_messages(vec![again(1), new_message(2, "bob", to("ann")), again(3)]).await?;
    assert!(matches!(&outcomes[0], Appended::New { message, .. } if message.id == id(1)));
    assert!(matches!(&outcomes[1], Appended::New { .. }));
    assert!(matches!(&outcomes[2], Appended::Repeat(message) if message.id == id(1)), "{outcomes:?}");
    let later = store.append_messages(vec![again(4)]).await?;
    assert!(matches!(&later[0], Appended::Repeat(message) if message.id == id(1)));
    let group = group(store, 5, "cat", &[]).await?;
    let elsewhere = NewMessage { to: in_group(group), ..again(6) };
    let outcomes = store.append_messages(vec![elsewhere]).await?;
    assert!(matches!(&outcomes[0], Appended::Repeat(_)), "a repeat is found before anything is asked");
    assert_eq!(numbers(&store.sync(since("ann", None, None, 10)).await?.messages), [1, 2]);
    Ok(())
}

pub(super) async fn only_members_and_the_unblocked_may_send(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob"]).await?;
    let direct = send(store, new_message(2, "ann", to("bob"))).await?;
    store.block(&user("bob"), &user("cat"), START_MS, 10).await?;
    let run = vec![
        new_message(3, "cat", in_group(group)),
        new_message(4, "ann", in_group(GroupId(id(99)))),
        new_message(5, "ann", in_group(GroupId(direct.0))),
        new_message(6, "cat", to("bob")),
        new_message(7, "bob", to("cat")),
        new_message(8, "bob", in_group(group)),
    ];
    let outcomes = store.append_messages(run).await?;
    assert_eq!(outcomes[..4], [Appended::NoGroup, Appended::NoGroup, Appended::NoGroup, Appended::Blocked]);
    assert!(matches!(&outcomes[4], Appended::New { .. }), "a block has one direction");
    assert!(matches!(&outcomes[5], Appended::New { .. }));
    store.unblock(&user("bob"), &user("cat")).await?;
    send(store, new_message(9, "cat", to("bob"))).await?;
    Ok(())
}

pub(super) async fn history_goes_back_in_pages(store: &dyn ChatStore) -> Case {
    let mut conversation = None;
    for n in 1..=5 {
        conversation = Some(send(store, new_message(n * 2, "ann", to("bob"))).await?);
        send(store, new_message(n * 2 + 1, "ann", to("cat"))).await?;
    }
    let conversation = conversation.expect("five");
    let page = async |before: Option<u64>| {
        let page = store.history(&user("bob"), conversation, before.map(id), 2).await?.expect("a member");
        crate::Result::Ok((numbers(&page.messages), page.more))
    };
    assert_eq!(page(None).await?, (vec![8, 10], true));
    assert_eq!(page(Some(8)).await?, (vec![4, 6], true));
    assert_eq!(page(Some(4)).await?, (vec![2], false));
    assert_eq!(page(Some(2)).await?, (vec![], false));
    assert_eq!(page(Some(77)).await?, (vec![], false), "a message that never was");
    Ok(())
}

pub(super) async fn strangers_see_nothing(store: &dyn ChatStore) -> Case {
    let direct = send(store, new_message(1, "ann", to("bob"))).await?;
    let group = group(store, 2, "ann", &["bob"]).await?;
    send(store, new_message(3, "ann", in_group(group))).await?;
    let cat = user("cat");
    assert_eq!(store.sync(since("cat", None, Some(0), 10)).await?.messages, []);
    assert_eq!(store.conversations(&cat, None, 10).await?, []);
    for conversation in [direct, group.conversation()] {
        assert_eq!(history(store, "cat", conversation).await?, None);
    }
    for n in [1, 3] {
        assert_eq!(store.message(&cat, id(n)).await?, None);
        assert_eq!(store.mark_read(&cat, id(n), START_MS).await?, None);
        assert_eq!(store.recall(&cat, id(n), START_MS, 0, false).await?, Recalled::NotFound);
    }
    assert_eq!(store.group(&cat, group).await?, None);
    assert_eq!(store.group_members(&cat, group, None, 10).await?, None);
    let wish = store.change_group(group, &cat, GroupWish::Remove(cat.clone()), START_MS).await?;
    assert_eq!(wish, GroupAnswer::NotFound);
    let direct = GroupId(direct.0);
    assert_eq!(store.group(&user("ann"), direct).await?, None, "two people are no group");
    let wish = store.change_group(direct, &user("ann"), GroupWish::Rename("x".into()), START_MS).await?;
    assert_eq!(wish, GroupAnswer::NotFound);
    assert!(store.membership(direct).await?.members.is_empty());
    Ok(())
}

pub(super) async fn a_group_stores_one_row_a_message(store: &dyn ChatStore) -> Case {
    let names: Vec<String> = (0..499).map(|n| format!("member{n}")).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let group = group(store, 1, "ann", &members).await?;
    let outcomes = store.append_messages(vec![new_message(2, "ann", in_group(group))]).await?;
    let Appended::New { members_version, message } = &outcomes[0] else { panic!("{outcomes:?}") };
    let membership = store.membership(group).await?;
    assert_eq!(membership.version, *members_version);
    assert_eq!(membership.members.len(), 500);
    assert!(membership.members.iter().all(|(_, joined)| *joined < message.position));
    assert!(membership.members.is_sorted());
    assert_eq!(store.expire_chat(START_MS + 3, 0, 1_000).await?, 1, "one row");
    Ok(())
}

pub(super) async fn calls_of_the_hook_wait_with_their_message(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob", "cat"]).await?;
    let noted = |n, to| NewMessage { outbox: true, ..new_message(n, "ann", to) };
    store
        .append_messages(vec![noted(2, to("bob")), new_message(3, "ann", to("bob")), noted(4, in_group(group))])
        .await?;
    store.append_messages(vec![noted(5, to("bob"))]).await?;
    store.recall(&user("ann"), id(5), START_MS, 0, false).await?;
    let due = store.outbox_due(START_MS + 100, 60_000, 10).await?;
    let calls: Vec<_> =
        due.iter().map(|call| (number(call.message.id), call.recipients.len(), call.attempts)).collect();
    assert_eq!(calls, [(2, 1, 0), (4, 2, 0)], "neither without a note nor recalled");
    store.outbox_retry(id(2), START_MS + 500).await?;
    store.outbox_done(&[id(4)]).await?;
    assert!(store.outbox_due(START_MS + 499, 60_000, 10).await?.is_empty());
    assert_eq!(store.outbox_due(START_MS + 500, 60_000, 10).await?[0].attempts, 1);
    Ok(())
}

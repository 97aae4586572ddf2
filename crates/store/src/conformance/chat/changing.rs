//! Edits and reactions.

use model::chat::REACTION_KINDS_MAX;

use super::*;

async fn edit(store: &dyn ChatStore, name: &str, n: u64, content: &str, at: i64) -> crate::Result<Edited> {
    let (user, content) = (user(name), content.into());
    store.edit(Edit { user, message: id(n), content, at_ms: START_MS + at, not_before_ms: START_MS + at - 100 }).await
}

async fn react(store: &dyn ChatStore, name: &str, n: u64, emoji: &str, on: bool) -> crate::Result<Reacted> {
    let emoji = emoji.parse().expect("an emoji");
    store.react(React { user: user(name), message: id(n), emoji, on, at_ms: START_MS }).await
}

/// The reactions as somebody sees them: which, how many, and whether one's own is among them.
fn reactions(seen: &Seen) -> Vec<(&str, u32, bool)> {
    let reactions = seen.message.reactions.iter();
    reactions.map(|one| (&*one.emoji, one.count, seen.my_reactions.contains(&one.emoji))).collect()
}

async fn seen(store: &dyn ChatStore, name: &str, n: u64) -> crate::Result<Seen> {
    Ok(store.message(&user(name), id(n)).await?.expect("visible"))
}

pub(super) async fn an_edit_replaces_the_content_and_is_marked(store: &dyn ChatStore) -> Case {
    let answer = NewMessage { reply_to: Some(id(1)), ..new_message(2, "bob", to("ann")) };
    send(store, new_message(1, "ann", to("bob"))).await?;
    send(store, answer).await?;
    store.mark_read(&user("bob"), id(1), START_MS).await?;
    let Edited::Done { message, .. } = edit(store, "ann", 1, "better", 50).await? else {
        panic!("the author, in time")
    };
    assert_eq!((&*message.content, message.edited_at_ms), ("better", Some(START_MS + 50)));
    let Edited::Done { message, .. } = edit(store, "ann", 1, "best", 50).await? else { panic!("once more") };
    assert_eq!(message.edited_at_ms, Some(START_MS + 51), "times of edits rise");
    for name in ["ann", "bob"] {
        let now = seen(store, name, 1).await?;
        assert_eq!((&*now.message.content, now.message.edited_at_ms), ("best", Some(START_MS + 51)));
        assert_eq!(now.status, MsgStatus::Read, "a mark stays");
    }
    assert_eq!(seen(store, "ann", 2).await?.message.reply_to, Some(id(1)));
    let unchanged = edit(store, "ann", 1, "best", 60).await?;
    assert!(matches!(&unchanged, Edited::Unchanged(message) if message.edited_at_ms == Some(START_MS + 51)));
    assert_eq!(store.first_message(&user("ann"), "c1").await?.expect("kept").content.as_ref(), "best");
    Ok(())
}

pub(super) async fn only_the_author_edits_and_not_for_long(store: &dyn ChatStore) -> Case {
    send(store, new_message(1, "ann", to("bob"))).await?;
    assert_eq!(edit(store, "bob", 1, "x", 5).await?, Edited::Forbidden);
    assert_eq!(edit(store, "cat", 1, "x", 5).await?, Edited::NotFound);
    assert_eq!(edit(store, "ann", 7, "x", 5).await?, Edited::NotFound);
    assert_eq!(edit(store, "ann", 1, "x", 102).await?, Edited::TooLate);
    assert!(matches!(edit(store, "ann", 1, "x", 101).await?, Edited::Done { .. }));
    react(store, "bob", 1, "👍", true).await?;
    store.recall(&user("ann"), id(1), START_MS, 0, true).await?;
    assert_eq!(edit(store, "ann", 1, "y", 5).await?, Edited::Recalled);
    assert_eq!(react(store, "bob", 1, "👍", true).await?, Reacted::Recalled);
    assert_eq!(reactions(&seen(store, "bob", 1).await?), []);
    Ok(())
}

pub(super) async fn reactions_are_counted_once_each(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob", "cat"]).await?;
    send(store, new_message(2, "ann", in_group(group))).await?;
    for (name, emoji) in [("bob", "😂"), ("bob", "👍"), ("cat", "👍"), ("ann", "👍")] {
        assert!(matches!(react(store, name, 2, emoji, true).await?, Reacted::Done { .. }), "{name} {emoji}");
    }
    assert!(matches!(react(store, "bob", 2, "👍", true).await?, Reacted::Unchanged(_)), "once each");
    assert_eq!(reactions(&seen(store, "cat", 2).await?), [("😂", 1, false), ("👍", 3, true)]);
    let done = react(store, "bob", 2, "😂", false).await?;
    assert!(matches!(&done, Reacted::Done { message, .. } if message.reactions.len() == 1), "{done:?}");
    assert!(matches!(react(store, "bob", 2, "😂", false).await?, Reacted::Unchanged(_)), "it was gone already");
    assert_eq!(reactions(&seen(store, "bob", 2).await?), [("👍", 3, true)]);
    let page = history(store, "ann", group.conversation()).await?.expect("a member");
    assert_eq!(reactions(&page.messages[0]), [("👍", 3, true)]);
    for n in 1..REACTION_KINDS_MAX {
        let face = char::from_u32(0x1_f600 + u32::try_from(n).expect("small")).expect("a face").to_string();
        assert!(matches!(react(store, "bob", 2, &face, true).await?, Reacted::Done { .. }), "{n}");
    }
    assert_eq!(react(store, "cat", 2, "🙏", true).await?, Reacted::Full);
    assert_eq!(react(store, "dan", 2, "👍", true).await?, Reacted::NotFound);
    let sealed = NewMessage { msg_type: MsgType::Encrypted, ..new_message(3, "ann", to("bob")) };
    send(store, sealed).await?;
    assert_eq!(react(store, "bob", 3, "👍", true).await?, Reacted::Encrypted);
    Ok(())
}

pub(super) async fn a_blocked_person_changes_nothing(store: &dyn ChatStore) -> Case {
    send(store, new_message(1, "ann", to("bob"))).await?;
    send(store, new_message(2, "bob", to("ann"))).await?;
    store.block(&user("bob"), &user("ann"), START_MS, 10).await?;
    assert_eq!(edit(store, "ann", 1, "still here", 5).await?, Edited::Blocked);
    assert_eq!(react(store, "ann", 2, "👍", true).await?, Reacted::Blocked);
    assert!(matches!(react(store, "bob", 1, "👍", true).await?, Reacted::Done { .. }), "a block has one direction");
    Ok(())
}

pub(super) async fn offline_devices_learn_of_changes(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob"]).await?;
    send(store, new_message(2, "ann", in_group(group))).await?;
    let before = store.sync(since("bob", None, None, 10)).await?.latest_change;
    edit(store, "ann", 2, "one", 5).await?;
    react(store, "ann", 2, "👍", true).await?;
    edit(store, "ann", 2, "two", 6).await?;
    react(store, "bob", 2, "👍", true).await?;
    let page = store.sync(since("bob", Some(2), Some(before), 10)).await?;
    let kinds: Vec<_> = page.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Edited, ChangeKind::Reacted], "of each kind the newest");
    for change in &page.changes {
        let now = change.message.as_ref().expect("the message as it is now");
        assert_eq!((&*now.message.content, reactions(now)), ("two", vec![("👍", 2, true)]));
    }
    assert_eq!(store.sync(since("cat", None, Some(before), 10)).await?.changes, []);
    store.recall(&user("ann"), id(2), START_MS, 0, false).await?;
    let page = store.sync(since("bob", Some(2), Some(before), 10)).await?;
    for now in page.changes.iter().filter_map(|change| change.message.as_ref()) {
        assert_eq!((&*now.message.content, reactions(now)), ("", vec![]), "nothing comes back after a recall");
    }
    assert_eq!(page.changes.last().map(|change| change.kind), Some(ChangeKind::Recalled));
    assert_eq!(store.expire_chat(START_MS + 3, 0, 10).await?, 1);
    assert_eq!(store.sync(since("bob", Some(2), Some(before), 10)).await?.changes, []);
    Ok(())
}

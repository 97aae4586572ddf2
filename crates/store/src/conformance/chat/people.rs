//! People and their lists.

use model::chat::ConversationKind;

use super::*;

fn sighting(name: &str, username: &str, at_ms: i64) -> Sighting {
    Sighting { user_id: user(name), username: username.into(), at_ms }
}

pub(super) async fn people_are_seen_and_hide(store: &dyn ChatStore) -> Case {
    store.sight(vec![sighting("ann", "Ann", 50), sighting("bob", "Bob", 60)]).await?;
    store.sight(vec![sighting("ann", "Ann B", 40)]).await?;
    store.set_hidden(&user("bob"), true).await?;
    store.set_hidden(&user("dan"), true).await?;
    store.set_hidden(&user("dan"), false).await?;
    store.block(&user("ann"), &user("eve"), 1, 10).await?;
    let names = [user("bob"), user("ann"), user("cat"), user("dan")];
    let found = store.profiles(&user("eve"), &names).await?;
    let told: Vec<_> = found
        .iter()
        .map(|p| (p.user_id.as_str(), p.username.as_deref(), p.last_seen_ms, p.hidden, p.blocks_asker))
        .collect();
    let expected = [
        ("bob", Some("Bob"), Some(60), true, false),
        ("ann", Some("Ann B"), Some(50), false, true),
        ("cat", None, None, false, false),
        ("dan", None, None, false, false),
    ];
    assert_eq!(told, expected);
    Ok(())
}

pub(super) async fn blocks_are_bounded(store: &dyn ChatStore) -> Case {
    let ann = user("ann");
    assert!(store.block(&ann, &user("c"), 1, 2).await?);
    assert!(store.block(&ann, &user("b"), 1, 2).await?);
    assert!(!store.block(&ann, &user("d"), 1, 2).await?);
    assert!(store.block(&ann, &user("b"), 1, 2).await?, "one who is blocked is no further one");
    assert_eq!(store.blocks(&ann, 10).await?, [user("b"), user("c")]);
    assert!(store.blocks(&user("b"), 10).await?.is_empty());
    store.unblock(&ann, &user("b")).await?;
    store.unblock(&ann, &user("b")).await?;
    assert_eq!(store.blocks(&ann, 10).await?, [user("c")]);
    Ok(())
}

pub(super) async fn conversations_are_listed_by_activity(store: &dyn ChatStore) -> Case {
    store.sight(vec![sighting("bob", "Bob", 1)]).await?;
    let quiet = group(store, 1, "ann", &["bob"]).await?;
    let quiet_too = group(store, 2, "ann", &[]).await?;
    let direct = send(store, new_message(3, "bob", to("ann"))).await?;
    let with_cat = send(store, new_message(4, "ann", to("cat"))).await?;
    send(store, new_message(5, "bob", to("ann"))).await?;
    let all = store.conversations(&user("ann"), None, 10).await?;
    let ids: Vec<_> = all.iter().map(|conversation| conversation.id).collect();
    assert_eq!(ids, [direct, with_cat, quiet_too.conversation(), quiet.conversation()]);
    let (mut paged, mut before) = (Vec::new(), None);
    while let Some(next) = store.conversations(&user("ann"), before, 1).await?.pop() {
        before = Some(next.cursor);
        paged.push(next);
    }
    assert_eq!(paged, all);
    let names: Vec<_> = all.iter().map(|conversation| &*conversation.name).collect();
    assert_eq!(names, ["Bob", "cat", "group 2", "group 1"], "a name, or the id of one who was never here");
    let last: Vec<_> = all.iter().map(|c| c.last.as_ref().map(|seen| number(seen.message.id))).collect();
    assert_eq!((last, all[0].unread, all[1].unread), (vec![Some(5), Some(4), None, None], 2, 0));
    let ConversationKind::Group { member_count, role, group_id } = all[3].kind else { panic!("{all:?}") };
    assert_eq!((member_count, role, group_id), (2, GroupRole::Owner, quiet));
    Ok(())
}

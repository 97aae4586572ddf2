//! Groups.

use model::chat::GroupDone;

use super::*;

async fn wish(store: &dyn ChatStore, group: GroupId, by: &str, wish: GroupWish) -> crate::Result<GroupAnswer> {
    store.change_group(group, &user(by), wish, START_MS).await
}

fn done(answer: GroupAnswer) -> GroupDone {
    match answer {
        GroupAnswer::Done { done, .. } => done,
        other => panic!("expected it done: {other:?}"),
    }
}

fn add(names: &[&str]) -> GroupWish {
    GroupWish::Add { users: names.iter().map(|name| user(name)).collect(), members_max: 5 }
}

fn remove(name: &str) -> GroupWish {
    GroupWish::Remove(user(name))
}

fn role(name: &str, role: GroupRole) -> GroupWish {
    GroupWish::SetRole(user(name), role)
}

pub(super) async fn roles_decide(store: &dyn ChatStore) -> Case {
    let g = group(store, 1, "own", &["adm", "mem", "too"]).await?;
    done(wish(store, g, "own", role("adm", GroupRole::Admin)).await?);
    for (by, what) in [
        ("mem", GroupWish::Rename("x".into())),
        ("mem", add(&["new"])),
        ("mem", remove("too")),
        ("mem", GroupWish::Close),
        ("adm", remove("own")),
        ("adm", GroupWish::Close),
        ("adm", role("mem", GroupRole::Admin)),
        ("own", role("own", GroupRole::Member)),
    ] {
        assert_eq!(wish(store, g, by, what.clone()).await?, GroupAnswer::Forbidden, "{by}: {what:?}");
    }
    assert_eq!(wish(store, g, "own", role("who", GroupRole::Admin)).await?, GroupAnswer::NotFound);
    assert_eq!(wish(store, g, "adm", remove("who")).await?, GroupAnswer::NotFound);
    assert_eq!(wish(store, g, "adm", add(&["mem"])).await?, GroupAnswer::Unchanged);
    assert_eq!(wish(store, g, "own", role("adm", GroupRole::Admin)).await?, GroupAnswer::Unchanged);
    assert_eq!(wish(store, g, "adm", GroupWish::Rename("group 1".into())).await?, GroupAnswer::Unchanged);
    let renamed = wish(store, g, "adm", GroupWish::Rename("tea".into())).await?;
    assert!(matches!(&renamed, GroupAnswer::Done { done: GroupDone::Renamed { .. }, notify } if notify.len() == 4));
    let removed = wish(store, g, "adm", remove("mem")).await?;
    assert!(matches!(&removed, GroupAnswer::Done { notify, .. } if notify.contains(&user("mem"))), "a last word");
    done(wish(store, g, "own", role("adm", GroupRole::Owner)).await?);
    let seen = store.group(&user("own"), g).await?.expect("a member");
    assert_eq!((&*seen.name, seen.owner_id, seen.role), ("tea", user("adm"), GroupRole::Admin));
    assert_eq!(seen.member_count, 3);
    done(wish(store, g, "adm", GroupWish::Close).await?);
    assert_eq!(store.group(&user("own"), g).await?, None);
    assert_eq!(wish(store, g, "adm", add(&["new"])).await?, GroupAnswer::NotFound);
    Ok(())
}

pub(super) async fn a_group_outlives_its_owner(store: &dyn ChatStore) -> Case {
    let g = group(store, 1, "own", &["bob", "cat"]).await?;
    let late = GroupWish::Add { users: vec![user("adm")], members_max: 5 };
    store.change_group(g, &user("own"), late, START_MS + 9).await?;
    done(wish(store, g, "own", role("adm", GroupRole::Admin)).await?);
    let left = |successor: &str, who: &str| GroupDone::MemberLeft { user: user(who), successor: Some(user(successor)) };
    assert_eq!(done(wish(store, g, "own", remove("own")).await?), left("adm", "own"), "an admin before older members");
    assert_eq!(done(wish(store, g, "adm", remove("adm")).await?), left("bob", "adm"), "the oldest member");
    let plain = GroupDone::MemberLeft { user: user("cat"), successor: None };
    assert_eq!(done(wish(store, g, "cat", remove("cat")).await?), plain);
    assert_eq!(done(wish(store, g, "bob", remove("bob")).await?), GroupDone::Closed);
    assert_eq!(store.group(&user("bob"), g).await?, None);
    Ok(())
}

pub(super) async fn a_group_is_full_or_takes_all(store: &dyn ChatStore) -> Case {
    let g = group(store, 1, "own", &["b", "c"]).await?;
    assert_eq!(wish(store, g, "own", add(&["d", "e", "f"])).await?, GroupAnswer::Full);
    assert_eq!(store.membership(g).await?.members.len(), 3, "nobody was added");
    let added = GroupDone::MembersAdded { users: vec![user("d"), user("e")] };
    assert_eq!(done(wish(store, g, "own", add(&["e", "b", "d", "d"])).await?), added);
    assert_eq!(wish(store, g, "own", add(&["f"])).await?, GroupAnswer::Full);
    assert_eq!(wish(store, g, "own", add(&["b", "c"])).await?, GroupAnswer::Unchanged, "they are in it");
    Ok(())
}

pub(super) async fn who_left_sees_nothing(store: &dyn ChatStore) -> Case {
    let g = group(store, 1, "own", &["bob"]).await?;
    send(store, new_message(2, "bob", in_group(g))).await?;
    store.mark_read(&user("bob"), id(2), START_MS).await?;
    let before = store.membership(g).await?.version;
    done(wish(store, g, "own", remove("bob")).await?);
    assert_ne!(store.membership(g).await?.version, before);
    let outcomes = store.append_messages(vec![new_message(3, "bob", in_group(g))]).await?;
    assert_eq!(outcomes, [Appended::NoGroup], "a late message is refused");
    let repeated = store.append_messages(vec![new_message(2, "bob", in_group(g))]).await?;
    assert!(matches!(repeated[0], Appended::Repeat(_)));
    assert_eq!(store.recall(&user("bob"), id(2), START_MS, 0, false).await?, Recalled::NotFound);
    assert_eq!(store.sync(since("bob", None, Some(0), 10)).await?.messages, []);
    assert_eq!(history(store, "bob", g.conversation()).await?, None);
    assert_eq!(store.sync(since("own", None, Some(0), 10)).await?.changes, [], "nor do others see how far he read");
    send(store, new_message(4, "own", in_group(g))).await?;
    done(wish(store, g, "own", add(&["bob"])).await?);
    send(store, new_message(5, "own", in_group(g))).await?;
    assert_eq!(numbers(&store.sync(since("bob", Some(2), None, 10)).await?.messages), [5], "again, but not all of it");
    Ok(())
}

pub(super) async fn members_come_in_pages(store: &dyn ChatStore) -> Case {
    let g = group(store, 1, "d", &["a", "c", "b", "e"]).await?;
    store.sight(vec![Sighting { user_id: user("c"), username: "Cat".into(), at_ms: 1 }]).await?;
    send(store, new_message(2, "d", in_group(g))).await?;
    store.mark_read(&user("c"), id(2), START_MS).await?;
    let page = store.group_members(&user("a"), g, None, 3).await?.expect("a member");
    let listed: Vec<_> = page.iter().map(|m| (m.user_id.as_str(), m.username.as_deref(), m.read_id)).collect();
    assert_eq!(listed, [("a", None, None), ("b", None, None), ("c", Some("Cat"), Some(id(2)))]);
    let rest = store.group_members(&user("a"), g, Some(&user("c")), 3).await?.expect("a member");
    let roles: Vec<_> = rest.iter().map(|m| (m.user_id.as_str(), m.role, m.joined_at_ms)).collect();
    assert_eq!(roles, [("d", GroupRole::Owner, START_MS), ("e", GroupRole::Member, START_MS)]);
    Ok(())
}

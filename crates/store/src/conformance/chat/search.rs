//! Search.

use super::*;

async fn find(store: &dyn ChatStore, query: SearchQuery) -> crate::Result<(Vec<u64>, Option<u64>)> {
    let SearchPage { messages, next } = store.search(query).await?.expect("a member");
    Ok((numbers(&messages), next.map(number)))
}

fn query(name: &str, text: &str) -> SearchQuery {
    let text = SearchText::new(text).expect("words");
    SearchQuery { user: user(name), text, conversation: None, before: None, limit: 10 }
}

fn text(n: u64, from: &str, to: Recipient, content: &str) -> NewMessage {
    NewMessage { content: content.into(), ..new_message(n, from, to) }
}

pub(super) async fn words_are_found_newest_first_in_pages(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &["bob"]).await?;
    send(store, text(2, "ann", to("bob"), "Hello world")).await?;
    send(store, text(3, "bob", in_group(group), "今天弹幕很多")).await?;
    send(store, text(4, "bob", to("ann"), "the WORLD says hello")).await?;
    let direct = send(store, text(5, "ann", to("bob"), "nothing of that")).await?;
    assert_eq!(find(store, query("bob", "hello")).await?, (vec![4, 2], None));
    assert_eq!(find(store, query("bob", "world hello")).await?, (vec![4, 2], None));
    assert_eq!(find(store, query("ann", "弹幕")).await?, (vec![3], None), "two characters are a word");
    assert_eq!(find(store, query("ann", "%")).await?, (vec![], None), "a sign is a sign");
    let within = |conversation| SearchQuery { conversation: Some(conversation), ..query("ann", "o") };
    assert_eq!(find(store, within(direct)).await?, (vec![5, 4, 2], None));
    assert_eq!(find(store, within(group.conversation())).await?, (vec![], None));
    let first = find(store, SearchQuery { limit: 1, ..query("bob", "hello") }).await?;
    assert_eq!(first, (vec![4], Some(4)));
    let second = SearchQuery { limit: 1, before: Some(id(4)), ..query("bob", "hello") };
    assert_eq!(find(store, second).await?, (vec![2], Some(2)));
    let third = SearchQuery { limit: 1, before: Some(id(2)), ..query("bob", "hello") };
    assert_eq!(find(store, third).await?, (vec![], None));
    Ok(())
}

pub(super) async fn nobody_finds_what_they_may_not_see(store: &dyn ChatStore) -> Case {
    let group = group(store, 1, "ann", &[]).await?;
    send(store, text(2, "ann", in_group(group), "secret before bob")).await?;
    let add = GroupWish::Add { users: vec![user("bob")], members_max: 10 };
    store.change_group(group, &user("ann"), add, START_MS).await?;
    send(store, text(3, "ann", in_group(group), "secret for bob")).await?;
    send(store, text(4, "ann", to("cat"), "secret for cat")).await?;
    let sealed = NewMessage { msg_type: MsgType::Encrypted, ..text(5, "ann", to("bob"), "secret envelope") };
    send(store, sealed).await?;
    send(store, text(6, "ann", to("bob"), "secret taken back")).await?;
    store.recall(&user("ann"), id(6), START_MS, 0, true).await?;
    assert_eq!(find(store, query("bob", "secret")).await?.0, [3]);
    assert_eq!(find(store, query("cat", "secret")).await?.0, [4]);
    assert_eq!(find(store, query("dan", "secret")).await?.0, Vec::<u64>::new());
    let theirs = SearchQuery { conversation: Some(group.conversation()), ..query("cat", "secret") };
    assert_eq!(store.search(theirs).await?, None, "a conversation of others");
    Ok(())
}

pub(super) async fn a_page_looks_back_a_bounded_way(store: &dyn ChatStore) -> Case {
    send(store, text(1, "ann", to("bob"), "needle")).await?;
    for run in 0..25 {
        let many = (0..100).map(|n| new_message(2 + run * 100 + n, "ann", to(["bob", "cat"][(n % 2) as usize])));
        store.append_messages(many.collect()).await?;
    }
    let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let (some, next) = find(store, SearchQuery { before, ..query("ann", "needle") }).await?;
        found.extend(some);
        pages += 1;
        before = next.map(id);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found, [1]);
    assert!((3..=4).contains(&pages), "{pages} pages for 2,501 messages");
    Ok(())
}

//! Several nodes at work on one store at the same time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::future::join_all;
use model::chat::{Change, ChangeKind};

use super::*;

const NAMES: [&str; 3] = ["ann", "bob", "cat"];
/// Writers at each node, and what each of them sends.
const WRITERS: usize = 3;
const RUNS: usize = 25;

/// Runs every case, each on a store of its own that `fresh` opens for several nodes.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: ChatStore>(fresh: impl Fn() -> Vec<Arc<S>>) -> Case {
    readers_skip_nothing_while_nodes_write(&fresh()).await?;
    a_retry_elsewhere_is_the_same_message(&fresh()).await?;
    nobody_who_was_removed_sends(&fresh()).await
}

async fn each<T, F: Future<Output = crate::Result<T>>>(work: impl Iterator<Item = F>) -> crate::Result<Vec<T>> {
    join_all(work).await.into_iter().collect()
}

fn writers<S>(nodes: &[Arc<S>]) -> impl Iterator<Item = (usize, &Arc<S>)> {
    (0..nodes.len() * WRITERS).zip(nodes.iter().cycle())
}

// Order -----------------------------------------------------------------------------------------------

/// What somebody met who read page after page.
#[derive(Default)]
struct PagesRead {
    messages: Vec<u64>,
    changes: Vec<Change>,
}

async fn readers_skip_nothing_while_nodes_write<S: ChatStore>(nodes: &[Arc<S>]) -> Case {
    let group = group(&*nodes[0], 1, "ann", &["bob", "cat"]).await?;
    let (next, done) = (AtomicU64::new(2), AtomicBool::new(false));
    let writers = async {
        let written = each(writers(nodes).map(|(n, node)| write(&**node, n, group, &next))).await;
        done.store(true, Ordering::Release);
        written
    };
    let reading = nodes.iter().flat_map(|node| NAMES.map(|name| read(&**node, name, &done)));
    let (written, met) = futures::join!(writers, each(reading));
    let recalled: usize = written?.iter().sum();
    for (met, name) in met?.into_iter().zip(NAMES.iter().cycle()) {
        let all = nodes[0].sync(since(name, None, Some(0), 10_000)).await?;
        assert_eq!(met.messages, numbers(&all.messages), "{name} met each once, in the order that stays");
        assert!(met.changes.is_sorted_by_key(|change| change.change));
        let met = |kept: &Change| met.changes.iter().any(|change| change == kept);
        assert!(all.changes.iter().all(met), "{name} met every change that stays");
    }
    let all = nodes[0].sync(since("ann", None, Some(0), 10_000)).await?;
    assert_eq!(all.messages.len(), nodes.len() * WRITERS * RUNS * 3);
    assert_eq!(all.changes.iter().filter(|change| change.kind == ChangeKind::Recalled).count(), recalled);
    Ok(())
}

/// Sends to another and to the group, marks what it sees, and takes every fourth back; returns how many.
async fn write(store: &dyn ChatStore, n: usize, group: GroupId, next: &AtomicU64) -> crate::Result<usize> {
    let (own, other) = (NAMES[n % 3], NAMES[(n + 1) % 3]);
    let mut recalled = 0;
    for run in 0..RUNS {
        // All of them are Ann's to see.
        let other = if own == "ann" || other == "ann" { other } else { "ann" };
        let recipients = [to(other), in_group(group), to(other)];
        let messages = recipients.map(|to| new_message(next.fetch_add(1, Ordering::Relaxed), own, to));
        let (first, last) = (messages[0].id, messages[1].id);
        store.append_messages(messages.into()).await?;
        store.mark_read(&user(NAMES[(n + run) % 3]), last, START_MS).await?;
        if run % 4 == 0 {
            let answer = store.recall(&user(own), first, START_MS, 0, false).await?;
            assert!(matches!(answer, Recalled::Done { .. }), "{answer:?}");
            recalled += 1;
        }
    }
    Ok(recalled)
}

/// Reads page after page until the writers are done and nothing is left.
async fn read(store: &dyn ChatStore, name: &str, done: &AtomicBool) -> crate::Result<PagesRead> {
    let (mut met, mut query) = (PagesRead::default(), since(name, None, Some(0), 7));
    loop {
        let last = done.load(Ordering::Acquire);
        let page = store.sync(query.clone()).await?;
        let empty = page.messages.is_empty() && page.changes.is_empty();
        met.messages.extend(numbers(&page.messages));
        met.changes.extend(page.changes);
        (query.since, query.since_change) = (page.latest_id, Some(page.latest_change));
        if last && empty {
            return Ok(met);
        }
    }
}

// Once ------------------------------------------------------------------------------------------------

async fn a_retry_elsewhere_is_the_same_message<S: ChatStore>(nodes: &[Arc<S>]) -> Case {
    let next = AtomicU64::new(1);
    let send = async |node: &Arc<S>| {
        let mut outcomes = Vec::new();
        for n in 0..20 {
            // Every tenth is the first to somebody new.
            let recipient = to(&format!("friend{}", n / 10));
            let new = new_message(next.fetch_add(1, Ordering::Relaxed), "ann", recipient);
            let run = vec![NewMessage { client_msg_id: format!("same{n}").into(), ..new }];
            outcomes.extend(node.append_messages(run).await?);
        }
        crate::Result::Ok(outcomes)
    };
    let outcomes = each(writers(nodes).map(|(_, node)| send(node))).await?;
    let (mut ids, mut new) = (HashMap::new(), 0);
    for outcome in outcomes.into_iter().flatten() {
        let message = match outcome {
            Appended::New { message, .. } => {
                new += 1;
                message
            }
            Appended::Repeat(message) => message,
            refused => panic!("{refused:?}"),
        };
        let first = ids.entry(message.client_msg_id.clone()).or_insert(message.id);
        assert_eq!(*first, message.id, "all are told of the one that was kept");
    }
    assert_eq!((ids.len(), new), (20, 20));
    assert_eq!(nodes[0].conversations(&user("ann"), None, 10).await?.len(), 2, "one with each");
    Ok(())
}

async fn nobody_who_was_removed_sends<S: ChatStore>(nodes: &[Arc<S>]) -> Case {
    let group = group(&*nodes[0], 1, "ann", &["bob"]).await?;
    let next = AtomicU64::new(2);
    let kept = async || {
        let page = history(&*nodes[0], "ann", group.conversation()).await?.expect("a member");
        crate::Result::Ok(numbers(&page.messages).into_iter().collect::<HashSet<_>>())
    };
    let sending = writers(nodes).map(async |(_, node)| {
        let mut stored = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            match &node.append_messages(vec![new_message(n, "bob", in_group(group))]).await?[..] {
                [Appended::New { .. }] => stored.push(n),
                outcome => {
                    assert_eq!(outcome, [Appended::NoGroup]);
                    return crate::Result::Ok(stored);
                }
            }
        }
    });
    let removing = async {
        while next.load(Ordering::Relaxed) < 40 {
            tokio::task::yield_now().await;
        }
        let wish = GroupWish::Remove(user("bob"));
        let answer = nodes[nodes.len() - 1].change_group(group, &user("ann"), wish, START_MS).await?;
        assert!(matches!(answer, GroupAnswer::Done { .. }));
        kept().await
    };
    let (stored, by_then) = futures::join!(each(sending), removing);
    assert_eq!(kept().await?, by_then?, "nothing more once the removal is answered");
    assert_eq!(kept().await?, stored?.concat().into_iter().collect());
    Ok(())
}

/// For a backend of several processes; one that belongs to a single process has one hook, and leases nothing.
///
/// # Errors
/// The first error of the store.
///
/// # Panics
/// When two nodes are given the same call.
pub async fn a_call_of_the_hook_is_made_by_one_node<S: ChatStore>(nodes: &[Arc<S>]) -> Case {
    let run = (1..=60).map(|n| NewMessage { outbox: true, ..new_message(n, "ann", to("bob")) });
    nodes[0].append_messages(run.collect()).await?;
    let take = |now_ms| {
        each(writers(nodes).map(move |(_, node)| async move {
            let mut taken = Vec::new();
            while let due @ [_, ..] = &node.outbox_due(now_ms, 1_000, 7).await?[..] {
                taken.extend(due.iter().map(|call| number(call.message.id)));
                let made = due.iter().map(|call| call.message.id).filter(|id| number(*id) <= 30);
                node.outbox_done(&made.collect::<Vec<_>>()).await?;
            }
            crate::Result::Ok(taken)
        }))
    };
    let sorted = |taken: Vec<Vec<u64>>| {
        let mut taken = taken.concat();
        taken.sort_unstable();
        taken
    };
    let now_ms = START_MS + 100;
    assert_eq!(sorted(take(now_ms).await?), (1..=60).collect::<Vec<u64>>());
    assert_eq!(sorted(take(now_ms + 999).await?), [0u64; 0], "they are being made");
    assert_eq!(sorted(take(now_ms + 1_000).await?), (31..=60).collect::<Vec<u64>>(), "whoever took them is gone");
    Ok(())
}

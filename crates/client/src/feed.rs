//! A bounded queue between the connection and a reader of it. The connection never waits for a reader: each kind of queue says
//! what makes way, and tells the reader.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What waits, and what makes way when too much does.
pub(crate) trait Store<T>: Default + Send {
    /// Takes an item. False when it is not taken, and nothing will say so later.
    fn push(&mut self, item: T) -> bool;
    /// The oldest item.
    fn pop(&mut self) -> Option<T>;
}

struct Queue<S> {
    store: Mutex<(S, bool)>,
    changed: Notify,
}

/// The connection's end. When the last one is dropped, the reader comes to an end.
pub(crate) struct Source<S>(Arc<Queue<S>>);

/// The reader's end.
pub(crate) struct Reader<S>(Arc<Queue<S>>);

pub(crate) fn queue<S: Default>() -> (Source<S>, Reader<S>) {
    let queue = Arc::new(Queue { store: Mutex::new((S::default(), false)), changed: Notify::new() });
    (Source(queue.clone()), Reader(queue))
}

impl<S> Source<S> {
    /// Whether anybody reads.
    pub fn is_read(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub fn push<T>(&self, item: T) -> bool
    where
        S: Store<T>,
    {
        let taken = self.0.store.lock().0.push(item);
        self.0.changed.notify_one();
        taken
    }
}

/// Gives an item to everybody who reads: whether anybody took it, or nothing where nobody reads.
pub(crate) fn push_all<S: Store<T>, T: Clone>(readers: &mut Vec<Source<S>>, item: &T) -> Option<bool> {
    readers.retain(Source::is_read);
    readers.iter().map(|reader| reader.push(item.clone())).reduce(|any, taken| any || taken)
}

impl<S> Drop for Source<S> {
    fn drop(&mut self) {
        self.0.store.lock().1 = true;
        self.0.changed.notify_one();
    }
}

impl<S> Reader<S> {
    pub fn try_next<T>(&mut self) -> Option<T>
    where
        S: Store<T>,
    {
        self.0.store.lock().0.pop()
    }

    /// The next item; nothing once the client is gone and everything was read. Dropping the future loses nothing.
    pub async fn next<T>(&mut self) -> Option<T>
    where
        S: Store<T>,
    {
        loop {
            {
                let (store, is_over) = &mut *self.0.store.lock();
                if let Some(item) = store.pop() {
                    return Some(item);
                }
                if *is_over {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

/// Items of which the oldest makes way.
pub(crate) struct Latest<T>(pub VecDeque<T>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

//! Decoded segments, the last used ones: at most so many bytes of them.

use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use parking_lot::Mutex;

use crate::segment::Segment;

/// What a comment takes in memory beside its texts.
const COMMENT_BYTES: usize = 320;

/// A segment and the object that it came from, or would be in.
#[derive(Debug)]
pub struct Loaded {
    /// The comments.
    pub segment: Segment,
    /// The object's bytes.
    pub object: Bytes,
}

impl Loaded {
    fn weight(&self) -> usize {
        let texts = |one: &store::Positioned| one.comment.content.len() + one.comment.username.len() + COMMENT_BYTES;
        self.object.len() + self.segment.comments.iter().map(texts).sum::<usize>()
    }
}

/// The cache. Names are never used again for another content, so nothing in it is ever out of date.
pub struct Cache {
    bytes_max: usize,
    held: Mutex<Held>,
}

struct Held {
    entries: LruCache<String, (Arc<Loaded>, usize)>,
    bytes: usize,
}

impl Cache {
    /// An empty cache for at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Mutex::new(Held { entries: LruCache::new_unbounded(), bytes: 0 }) }
    }

    /// What is kept under this name.
    pub fn get(&self, name: &str) -> Option<Arc<Loaded>> {
        self.held.lock().entries.get(name).map(|(loaded, _)| loaded.clone())
    }

    /// Keeps it; what was not used for longest goes. One larger than the whole cache is not kept.
    pub fn put(&self, name: &str, loaded: Arc<Loaded>) {
        let weight = loaded.weight();
        if weight > self.bytes_max {
            return;
        }
        let mut held = self.held.lock();
        if let Some((_, before)) = held.entries.insert(name.to_owned(), (loaded, weight)) {
            held.bytes -= before;
        }
        held.bytes += weight;
        while held.bytes > self.bytes_max
            && let Some((_, (_, oldest))) = held.entries.remove_lru()
        {
            held.bytes -= oldest;
        }
    }

    /// Forgets one.
    pub fn remove(&self, name: &str) {
        let mut held = self.held.lock();
        if let Some((_, weight)) = held.entries.remove(name) {
            held.bytes -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{RoomId, Snowflake};

    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let loaded = || {
            let segment = Segment::new(RoomId::new("r").expect("a room id"), Snowflake(1), 0, Vec::new());
            Arc::new(Loaded { segment, object: Bytes::from(vec![0; 40]) })
        };
        let cache = Cache::new(100);
        cache.put("a", loaded());
        cache.put("b", loaded());
        assert!(cache.get("a").is_some());
        cache.put("c", loaded());
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("c").is_some());
        cache.put("a", loaded());
        cache.remove("a");
        cache.remove("c");
        assert_eq!(cache.held.lock().bytes, 0);
    }
}

//! The last ids, to drop repeats. When full, the oldest is forgotten.

use std::collections::{HashSet, VecDeque};

/// Ids in the order they came.
pub(crate) struct SeenIds {
    ids: HashSet<String>,
    order: VecDeque<String>,
    most: usize,
}

impl SeenIds {
    pub fn new(most: usize) -> Self {
        Self { ids: HashSet::new(), order: VecDeque::new(), most }
    }

    /// True the first time an id is added.
    pub fn add(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once_and_the_memory_is_bounded() {
        let mut seen = SeenIds::new(2);
        assert!(seen.add("a") && !seen.add("a") && seen.add("b") && seen.add("c"));
        assert!(seen.has("c") && !seen.has("a"));
        assert!(seen.add("a"), "long ago");
        assert_eq!((seen.ids.len(), seen.order.len()), (2, 2));
    }
}

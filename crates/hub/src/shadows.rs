//! The comments of a room that only their senders and those who moderate it see: for good, or until they are published.
//!
//! Beside the ring, so that nothing that serves everybody can meet one. Owned by a room, under its lock. Bounded; older ones
//! are in the store.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Comment, Snowflake, UserId};

/// Shadowed comments kept here.
pub(crate) const SHADOWS_MAX: usize = 256;
/// Comments kept here that are published later.
pub(crate) const EARLY_MAX: usize = 2_048;

/// Them, in the order of their positions.
#[derive(Debug)]
pub(crate) struct Shadows {
    comments: VecDeque<(u64, Arc<Comment>)>,
    max: usize,
}

impl Shadows {
    /// None yet, and never more than `max`.
    pub fn new(max: usize) -> Self {
        Self { comments: VecDeque::new(), max }
    }

    /// Adds one; false when it is here.
    pub fn push(&mut self, position: u64, comment: Arc<Comment>) -> bool {
        if self.comments.iter().any(|(_, known)| known.id == comment.id) {
            return false;
        }
        if self.comments.len() >= self.max {
            self.comments.pop_front();
        }
        let at = self.comments.partition_point(|(known, _)| *known <= position);
        self.comments.insert(at, (position, comment));
        true
    }

    /// Takes one out; false when it is not here.
    pub fn remove(&mut self, id: Snowflake) -> bool {
        let before = self.comments.len();
        self.comments.retain(|(_, comment)| comment.id != id);
        self.comments.len() < before
    }

    /// Those that a reader sees, with their positions.
    pub fn seen_by<'a>(
        &'a self,
        user: Option<&'a UserId>,
        moderates: bool,
    ) -> impl DoubleEndedIterator<Item = &'a (u64, Arc<Comment>)> {
        self.comments.iter().filter(move |(_, comment)| moderates || user == Some(&comment.user_id))
    }

    /// Puts those that a reader sees into a history, by the age of their ids, and keeps the newest `most`.
    pub fn merge_into(
        &self,
        history: &mut Vec<Arc<Comment>>,
        user: Option<&UserId>,
        moderates: bool,
        since_id: Option<Snowflake>,
        most: usize,
    ) {
        let new = |comment: &Comment| since_id.is_none_or(|since| comment.id > since);
        for (_, comment) in self.seen_by(user, moderates).filter(|(_, comment)| new(comment)) {
            let at = history.iter().rposition(|known| known.id < comment.id).map_or(0, |before| before + 1);
            history.insert(at, comment.clone());
        }
        history.drain(..history.len().saturating_sub(most));
    }
}

#[cfg(test)]
mod tests {
    use testkit::comments::comment;

    use super::*;

    fn shadow(id: u64, by: &str) -> Arc<Comment> {
        Arc::new(Comment { user_id: UserId::new(by).expect("an id"), shadow: true, ..comment(id) })
    }

    #[test]
    fn a_history_gets_what_its_reader_sees_in_order() {
        let mut shadows = Shadows::new(SHADOWS_MAX);
        assert!(shadows.push(1, shadow(5, "a")) && shadows.push(2, shadow(7, "b")));
        assert!(!shadows.push(9, shadow(5, "a")));
        let (a, c) = (UserId::new("a").expect("an id"), UserId::new("c").expect("an id"));
        let merged = |user: Option<&UserId>, moderates, since: Option<u64>, most| {
            let mut history: Vec<_> = [4, 6, 8].map(|id| Arc::new(comment(id))).into();
            shadows.merge_into(&mut history, user, moderates, since.map(Snowflake), most);
            history.iter().map(|comment| comment.id.0).collect::<Vec<_>>()
        };
        assert_eq!(merged(Some(&a), false, None, 9), [4, 5, 6, 8]);
        assert_eq!(merged(Some(&c), false, None, 9), [4, 6, 8]);
        assert_eq!(merged(None, false, None, 9), [4, 6, 8]);
        assert_eq!(merged(Some(&c), true, None, 9), [4, 5, 6, 7, 8]);
        assert_eq!(merged(Some(&c), true, Some(5), 2), [7, 8]);
    }
}

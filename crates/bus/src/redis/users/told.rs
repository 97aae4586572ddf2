//! Which messages this node has told whom, lately: so that none is told twice when it is read again from the store.
//!
//! Pure. Bounded: what was told longest ago is forgotten, which costs at worst a repeat with the same id.

use std::collections::{HashSet, VecDeque};

use model::{Snowflake, UserId};

/// Messages and users that are remembered.
const REMEMBERED_MAX: usize = 65_536;

/// A memory of what was told.
#[derive(Default)]
pub(super) struct Told {
    known: HashSet<(Snowflake, Option<UserId>)>,
    order: VecDeque<(Snowflake, Option<UserId>)>,
}

impl Told {
    /// It is told to everybody whom it concerns; whether that is the first time.
    pub fn everybody(&mut self, message: Snowflake) -> bool {
        self.note((message, None))
    }

    /// Whether telling it to `user` is the first time; then it is noted.
    pub fn first(&mut self, message: Snowflake, user: &UserId) -> bool {
        !self.known.contains(&(message, None)) && self.note((message, Some(user.clone())))
    }

    fn note(&mut self, entry: (Snowflake, Option<UserId>)) -> bool {
        let new = self.known.insert(entry.clone());
        if new {
            self.order.push_back(entry);
            if self.order.len() > REMEMBERED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_what_is_remembered_is_bounded() {
        let (ann, bo) = (UserId::new("ann").expect("an id"), UserId::new("bo").expect("an id"));
        let mut told = Told::default();
        assert!(told.first(Snowflake(1), &ann) && told.first(Snowflake(1), &bo));
        assert!(!told.first(Snowflake(1), &ann));
        told.everybody(Snowflake(2));
        assert!(!told.first(Snowflake(2), &bo));
        for id in 3..=3 + REMEMBERED_MAX as u64 {
            told.everybody(Snowflake(id));
        }
        assert_eq!((told.known.len(), told.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(told.first(Snowflake(1), &ann), "long ago");
    }
}

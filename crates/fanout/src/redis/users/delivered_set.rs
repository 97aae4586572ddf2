//! Recent deliveries of messages to users on this node, so that a reread from the store delivers none twice.
//!
//! Pure. Bounded: it forgets the oldest entry, which costs at worst a repeat with the same id.

use hashlink::LinkedHashSet;
use model::{Snowflake, UserId};

/// Pairs of message and user remembered.
const REMEMBERED_MAX: usize = 65_536;

/// Recent deliveries in order of arrival.
#[derive(Default)]
pub(super) struct DeliveredSet(LinkedHashSet<(Snowflake, Option<UserId>)>);

impl DeliveredSet {
    /// Records a delivery to all recipients. Returns whether it is the first.
    pub fn everybody(&mut self, message: Snowflake) -> bool {
        self.note((message, None))
    }

    /// Records a delivery to `user`. Returns whether it is the first.
    pub fn first(&mut self, message: Snowflake, user: &UserId) -> bool {
        !self.0.contains(&(message, None)) && self.note((message, Some(user.clone())))
    }

    fn note(&mut self, entry: (Snowflake, Option<UserId>)) -> bool {
        // An insertion of what is there would move it to the back.
        let new = !self.0.contains(&entry) && self.0.insert(entry);
        if self.0.len() > REMEMBERED_MAX {
            self.0.pop_front();
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_delivered_once_and_the_memory_is_bounded() {
        let (ann, bo) = (UserId::new("ann").expect("an id"), UserId::new("bo").expect("an id"));
        let mut delivered = DeliveredSet::default();
        assert!(delivered.first(Snowflake(1), &ann) && delivered.first(Snowflake(1), &bo));
        assert!(!delivered.first(Snowflake(1), &ann));
        delivered.everybody(Snowflake(2));
        assert!(!delivered.first(Snowflake(2), &bo));
        for id in 3..=3 + REMEMBERED_MAX as u64 {
            delivered.everybody(Snowflake(id));
        }
        assert_eq!(delivered.0.len(), REMEMBERED_MAX);
        assert!(delivered.first(Snowflake(1), &ann), "long ago");
    }
}

//! Sums up the comments and gifts of a session into its [`Scores`], for every backend alike.

use std::collections::HashMap;

use model::{OrderingKey, Score, UserId};

use crate::Scores;

/// The sums so far.
#[derive(Default)]
pub(crate) struct ScoreAccumulator {
    users: HashMap<UserId, Sum>,
    seen: HashMap<OrderingKey, u64>,
}

#[derive(Default)]
struct Sum {
    username: String,
    comments: u64,
    given: u64,
    reached: u64,
}

impl ScoreAccumulator {
    /// Adds all that a user gave. Call this before the comments: their names are newer.
    pub(crate) fn gifts(&mut self, user: UserId, username: String, given: u64) {
        self.users.insert(user, Sum { username, given, ..Sum::default() });
    }

    /// Adds one comment, oldest first. An erased name is empty. `named` parses the user's id, only when it is new.
    pub(crate) fn comment<E>(
        &mut self,
        user: &str,
        username: &str,
        position: u64,
        named: impl FnOnce() -> Result<UserId, E>,
    ) -> Result<(), E> {
        if !self.users.contains_key(user) {
            self.users.insert(named()?, Sum::default());
        }
        let Some((id, _)) = self.users.get_key_value(user) else { return Ok(()) };
        let seen = self.seen.entry(OrderingKey::of(position, id)).or_default();
        *seen = position.max(*seen);
        let Some(sum) = self.users.get_mut(user) else { return Ok(()) };
        (sum.comments, sum.reached) = (sum.comments + 1, position.max(sum.reached));
        if !username.is_empty() && sum.username != username {
            username.clone_into(&mut sum.username);
        }
        Ok(())
    }

    /// Notes a comment of a purged user: it counts for nobody, but must not be counted again.
    pub(crate) fn purged(&mut self, position: u64, user: UserId) {
        let seen = self.seen.entry(OrderingKey::of(position, &user)).or_default();
        *seen = position.max(*seen);
    }

    pub(crate) fn scores(self) -> Scores {
        Scores { users: self.users.into_iter().map(score).collect(), seen: self.seen.into_iter().collect() }
    }
}

fn score((user_id, sum): (UserId, Sum)) -> Score {
    let Sum { username, comments, given, reached } = sum;
    let username = if username.is_empty() { user_id.to_string() } else { username };
    Score { user_id, username, score: comments.saturating_add(given), given, reached }
}

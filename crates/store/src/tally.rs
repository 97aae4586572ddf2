//! From the comments and gifts of a session to its [`Scores`], for every backend alike.

use std::collections::HashMap;

use model::{Lane, Score, UserId};

use crate::Scores;

/// What is summed up so far.
#[derive(Default)]
pub(crate) struct Tally {
    users: HashMap<UserId, Sum>,
    seen: HashMap<Lane, u64>,
}

#[derive(Default)]
struct Sum {
    username: String,
    comments: u64,
    given: u64,
    reached: u64,
}

impl Tally {
    /// What a user gave in all; before the comments, whose names are newer.
    pub(crate) fn gifts(&mut self, user: UserId, username: String, given: u64) {
        self.users.insert(user, Sum { username, given, ..Sum::default() });
    }

    /// One comment, oldest first. An erased name is empty. `named` makes the user's id when it is met first.
    pub(crate) fn comment<E>(
        &mut self,
        user: &str,
        username: &str,
        place: u64,
        named: impl FnOnce() -> Result<UserId, E>,
    ) -> Result<(), E> {
        if !self.users.contains_key(user) {
            self.users.insert(named()?, Sum::default());
        }
        let Some((id, _)) = self.users.get_key_value(user) else { return Ok(()) };
        let seen = self.seen.entry(Lane::of(place, id)).or_default();
        *seen = place.max(*seen);
        let Some(sum) = self.users.get_mut(user) else { return Ok(()) };
        (sum.comments, sum.reached) = (sum.comments + 1, place.max(sum.reached));
        if !username.is_empty() && sum.username != username {
            username.clone_into(&mut sum.username);
        }
        Ok(())
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

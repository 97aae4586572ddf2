//! Requests that wait for their answer, matched by `ref`.
//!
//! A repeatable one survives a lost connection and is sent again on the next: the server gives a known `client_msg_id` its first
//! answer. The others fail at once, because nobody can say whether they were carried out. The time for an answer counts while
//! there is a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Error;

/// Requests that may wait.
pub(crate) const PENDING_MAX: usize = 1_000;

pub(crate) type Answer = oneshot::Sender<Result<Value, Error>>;

struct Waiting {
    message: Value,
    repeatable: bool,
    answer: Answer,
    /// Present while the request is with the server.
    due: Option<Instant>,
}

/// The requests, in the order they were made.
pub(crate) struct Pending {
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
    within: Duration,
}

impl Pending {
    pub fn new(within: Duration) -> Self {
        Self { waiting: BTreeMap::new(), last: 0, within }
    }

    /// Registers a request, and returns the message to send if there is a connection.
    pub fn add(&mut self, mut message: Value, repeatable: bool, answer: Answer, connected: bool) -> Option<Value> {
        if !connected && !repeatable {
            let _ = answer.send(Err(Error::new("disconnected", "there is no connection")));
            return None;
        }
        if self.waiting.len() >= PENDING_MAX {
            let _ = answer.send(Err(Error::new("outbox_full", format!("{PENDING_MAX} requests wait already"))));
            return None;
        }
        self.last += 1;
        message["ref"] = self.last.to_string().into();
        let due = connected.then(|| Instant::now() + self.within);
        self.waiting.insert(self.last, Waiting { message: message.clone(), repeatable, answer, due });
        connected.then_some(message)
    }

    /// Settles the request that this message answers; false when it answers none.
    pub fn settle(&mut self, message: &Value) -> bool {
        let number = message["ref"].as_str().and_then(|number| number.parse::<u64>().ok());
        let Some(waiting) = number.and_then(|number| self.waiting.remove(&number)) else { return false };
        let outcome = if message["type"] == "error" { Err(Error::of(message)) } else { Ok(message.clone()) };
        // Whoever asked may have lost interest.
        let _ = waiting.answer.send(outcome);
        true
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        let (repeatable, lost) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, waiting)| waiting.repeatable);
        self.waiting = repeatable;
        self.waiting.values_mut().for_each(|waiting| waiting.due = None);
        fail(lost, &Error::new("disconnected", "the connection was lost before the answer"));
    }

    /// What to send on a new connection, oldest first.
    pub fn resume(&mut self) -> Vec<Value> {
        let due = Some(Instant::now() + self.within);
        let unsent = self.waiting.values_mut().filter(|waiting| waiting.due.is_none());
        let send = |waiting: &mut Waiting| {
            waiting.due = due;
            waiting.message.clone()
        };
        unsent.map(send).collect()
    }

    /// When the next one is due.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|waiting| waiting.due).min()
    }

    /// Fails those that are overdue.
    pub fn expire(&mut self) {
        let now = Instant::now();
        let overdue = self.waiting.extract_if(.., |_, waiting| waiting.due.is_some_and(|due| due <= now)).collect();
        fail(overdue, &Error::new("timeout", format!("no answer within {:?}", self.within)));
    }

    pub fn fail_all(&mut self, error: &Error) {
        fail(std::mem::take(&mut self.waiting), error);
    }
}

fn fail(waiting: BTreeMap<u64, Waiting>, error: &Error) {
    for waiting in waiting.into_values() {
        let _ = waiting.answer.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Heard = oneshot::Receiver<Result<Value, Error>>;

    fn add(pending: &mut Pending, repeatable: bool, connected: bool) -> (Option<Value>, Heard) {
        let (answer, heard) = oneshot::channel();
        (pending.add(json!({ "type": "comment" }), repeatable, answer, connected), heard)
    }

    fn code(heard: &mut Heard) -> Option<String> {
        heard.try_recv().ok().map(|outcome| outcome.err().map_or_else(|| "ok".to_owned(), |error| error.code))
    }

    #[tokio::test(start_paused = true)]
    async fn repeatable_requests_outlive_a_connection_and_others_do_not() {
        let mut pending = Pending::new(Duration::from_secs(10));
        let (sent, mut once) = add(&mut pending, false, true);
        assert_eq!(sent.expect("sent")["ref"], "1");
        let (_, mut again) = add(&mut pending, true, true);
        let (unsent, mut offline) = add(&mut pending, true, false);
        assert_eq!((unsent, code(&mut add(&mut pending, false, false).1).as_deref()), (None, Some("disconnected")));
        pending.disconnected();
        assert_eq!((code(&mut once).as_deref(), code(&mut again)), (Some("disconnected"), None));
        // However long there is no connection, nothing is due.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        pending.expire();
        assert_eq!((pending.due(), code(&mut offline)), (None, None));
        let resumed = pending.resume();
        assert_eq!(resumed.iter().map(|message| &message["ref"]).collect::<Vec<_>>(), ["2", "3"]);
        assert!(
            pending.settle(&json!({ "type": "comment_ack", "ref": "2" })) && code(&mut again).as_deref() == Some("ok")
        );
        assert!(!pending.settle(&json!({ "type": "comment_ack", "ref": "2" })), "an answer answers once");
        assert!(!pending.settle(&json!({ "type": "comments" })));
        tokio::time::advance(Duration::from_secs(11)).await;
        pending.expire();
        assert_eq!((code(&mut offline).as_deref(), pending.due()), (Some("timeout"), None));
    }

    #[tokio::test]
    async fn what_may_wait_is_bounded() {
        let mut pending = Pending::new(Duration::from_secs(10));
        let _kept: Vec<_> = (0..PENDING_MAX).map(|_| add(&mut pending, true, false)).collect();
        assert_eq!(code(&mut add(&mut pending, true, false).1).as_deref(), Some("outbox_full"));
        let (_, mut refused) = add(&mut Pending::new(Duration::ZERO), true, true);
        assert_eq!(code(&mut refused), None);
    }
}

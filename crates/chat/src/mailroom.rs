//! The one task that stores what is sent and says so, in one order.
//!
//! It gathers what waits, stores the run in one commit, and then, message by message in the order
//! of their positions, tells everybody and answers the sender. So all sockets of a conversation
//! hear of its messages in the same order, the sender's own among them. Owns no text longer than
//! that, and never retries: what the store did not take was not sent.

use std::sync::Arc;

use bus::{Notice, Sockets, UserFanout};
use model::Clock;
use model::chat::Message;
use store::chat::{Appended, ChatStore, NewMessage};
use tokio::sync::mpsc;

use crate::groups::Groups;
use crate::{ChatError, Result, Sent};

/// Messages that may wait for a commit; one more is refused as `overloaded`.
const WAITING_MAX: usize = 8_192;
/// Messages of one commit.
const RUN_MAX: usize = 512;

/// How long after it was stored a message that is sent again is told again; later everybody has synced.
const AGAIN_MS: i64 = 120_000;

/// Called once with the answer; must not block.
pub(crate) type Done = Box<dyn FnOnce(Result<Sent>) + Send>;

/// A message to send.
pub(crate) struct Letter {
    pub message: NewMessage,
    /// The socket it came from, which hears of it by its answer.
    pub origin: Option<u64>,
    pub done: Done,
}

/// The sending end. The task ends when it is gone and what waited is stored.
pub(crate) struct Mailroom {
    letters: mpsc::Sender<Letter>,
}

impl Mailroom {
    /// Starts the task; must be called within a Tokio runtime.
    pub fn start(
        store: Arc<dyn ChatStore>,
        groups: Arc<Groups>,
        fanout: Arc<dyn UserFanout>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (letters, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(Sorter { store, groups, fanout, clock }.run(waiting));
        Self { letters }
    }

    /// Takes a letter; a full room answers it at once.
    pub fn post(&self, letter: Letter) {
        if let Err(error) = self.letters.try_send(letter) {
            let (letter, refusal) = match error {
                mpsc::error::TrySendError::Full(letter) => (letter, ChatError::Overloaded),
                mpsc::error::TrySendError::Closed(letter) => (letter, ChatError::Unavailable),
            };
            (letter.done)(Err(refusal));
        }
    }
}

struct Sorter {
    store: Arc<dyn ChatStore>,
    groups: Arc<Groups>,
    fanout: Arc<dyn UserFanout>,
    clock: Arc<dyn Clock>,
}

impl Sorter {
    async fn run(self, mut waiting: mpsc::Receiver<Letter>) {
        let mut run = Vec::with_capacity(RUN_MAX);
        while waiting.recv_many(&mut run, RUN_MAX).await > 0 {
            self.deliver(std::mem::take(&mut run)).await;
        }
    }

    async fn deliver(&self, run: Vec<Letter>) {
        let (messages, senders): (Vec<_>, Vec<_>) =
            run.into_iter().map(|letter| (letter.message, (letter.origin, letter.done))).unzip();
        match self.store.append_messages(messages).await {
            Ok(outcomes) => {
                for ((origin, done), outcome) in senders.into_iter().zip(outcomes) {
                    done(self.settle(origin, outcome).await);
                }
            }
            Err(error) => {
                for (_, done) in senders {
                    done(Err(error.clone().into()));
                }
            }
        }
    }

    async fn settle(&self, origin: Option<u64>, outcome: Appended) -> Result<Sent> {
        match outcome {
            Appended::New { message, members_version } => {
                let users = self.groups.readers_of(&message, Some(members_version)).await;
                self.fanout.notify(users, Sockets::but(origin), Notice::Message(message.clone()));
                Ok(Sent { message, repeated: false })
            }
            Appended::Repeat(message) => {
                self.tell_again(origin, &message).await;
                Ok(Sent { message, repeated: true })
            }
            Appended::NoGroup => Err(ChatError::NotFound("group")),
            Appended::Blocked => Err(ChatError::BLOCKED),
        }
    }

    /// A retry may mean that the node which stored the message ended before it told anybody.
    async fn tell_again(&self, origin: Option<u64>, message: &Arc<Message>) {
        let old = self.clock.now_ms().saturating_sub(message.created_at_ms) > AGAIN_MS;
        if !old && message.recalled.is_none() {
            let users = self.groups.readers_of(message, None).await;
            self.fanout.tell_again(users, Sockets::but(origin), message.clone());
        }
    }
}

//! Stores messages and notifies their recipients, in one order.
//!
//! One task gathers waiting messages and stores the batch in one commit. Then, message by message in the order of their
//! positions, it notifies the recipients and answers the sender: all sockets of a conversation hear of its messages in
//! the same order. Called by [`crate::sending`]. It never retries: a message that the store did not take was not sent.

use std::sync::Arc;

use fanout::{Notice, Sockets, UserFanout};
use model::Clock;
use model::chat::Message;
use store::chat::{Appended, ChatStore, NewMessage};
use tokio::sync::mpsc;

use crate::groups::Groups;
use crate::{ChatError, Result, SendOutcome};

/// Messages that may wait for a commit; one more is refused as `overloaded`.
const WAITING_MAX: usize = 8_192;
/// Messages of one commit.
const BATCH_MAX: usize = 512;

/// How long after it was stored a repeated message is notified again; later everybody has synced.
const RENOTIFY_MS: i64 = 120_000;

/// Called once with the outcome; must not block.
pub(crate) type SendCallback = Box<dyn FnOnce(Result<SendOutcome>) + Send>;

/// A message to send.
pub(crate) struct PendingMessage {
    pub message: NewMessage,
    /// The socket it came from, which learns of it by the answer.
    pub origin: Option<u64>,
    pub reply: SendCallback,
}

/// The queue's sending end. Once it is dropped, the task stores what waits and ends.
pub(crate) struct MessageWriter {
    queue: mpsc::Sender<PendingMessage>,
}

impl MessageWriter {
    /// Starts the task; must be called within a Tokio runtime.
    pub fn start(
        store: Arc<dyn ChatStore>,
        groups: Arc<Groups>,
        fanout: Arc<dyn UserFanout>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (queue, pending) = mpsc::channel(WAITING_MAX);
        tokio::spawn(WriterTask { store, groups, fanout, clock }.run(pending));
        Self { queue }
    }

    /// Queues a message. When the queue is full it answers at once.
    pub fn enqueue(&self, message: PendingMessage) {
        if let Err(error) = self.queue.try_send(message) {
            let (message, error) = match error {
                mpsc::error::TrySendError::Full(message) => (message, ChatError::Overloaded),
                mpsc::error::TrySendError::Closed(message) => (message, ChatError::Unavailable),
            };
            (message.reply)(Err(error));
        }
    }
}

struct WriterTask {
    store: Arc<dyn ChatStore>,
    groups: Arc<Groups>,
    fanout: Arc<dyn UserFanout>,
    clock: Arc<dyn Clock>,
}

impl WriterTask {
    async fn run(self, mut pending: mpsc::Receiver<PendingMessage>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while pending.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.store_batch(std::mem::take(&mut batch)).await;
        }
    }

    async fn store_batch(&self, batch: Vec<PendingMessage>) {
        let (messages, senders): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.message, (pending.origin, pending.reply))).unzip();
        match self.store.append_messages(messages).await {
            Ok(outcomes) => {
                for ((origin, reply), appended) in senders.into_iter().zip(outcomes) {
                    reply(self.notify(origin, appended).await);
                }
            }
            Err(error) => {
                for (_, reply) in senders {
                    reply(Err(error.clone().into()));
                }
            }
        }
    }

    /// Notifies the recipients of a stored message; returns the answer to its sender.
    async fn notify(&self, origin: Option<u64>, appended: Appended) -> Result<SendOutcome> {
        match appended {
            Appended::New { message, members_version } => {
                let users = self.groups.readers_of(&message, Some(members_version)).await;
                self.fanout.notify(users, Sockets::but(origin), Notice::Message(message.clone()));
                Ok(SendOutcome { message, repeated: false })
            }
            Appended::Repeat(message) => {
                self.renotify(origin, &message).await;
                Ok(SendOutcome { message, repeated: true })
            }
            Appended::NoGroup => Err(ChatError::NotFound("group")),
            Appended::Blocked => Err(ChatError::BLOCKED),
        }
    }

    /// Notifies again: the node that stored the message may have ended before it notified anybody.
    async fn renotify(&self, origin: Option<u64>, message: &Arc<Message>) {
        let old = self.clock.now_ms().saturating_sub(message.created_at_ms) > RENOTIFY_MS;
        if !old && message.recalled.is_none() {
            let users = self.groups.readers_of(message, None).await;
            self.fanout.tell_again(users, Sockets::but(origin), message.clone());
        }
    }
}

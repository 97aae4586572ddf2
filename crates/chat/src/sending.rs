//! Sending, reading marks, recalls, typing.

use model::chat::Recipient;
use model::{Identity, Snowflake};

use crate::{Chat, Draft, ReadAck, Result, Sent};

impl Chat {
    /// Sends a message from the socket `origin`, which is not told again what its answer says.
    /// `done` is called once: in the order in which messages are stored, right after everybody else was told, or
    /// earlier when it is refused. It must not block.
    ///
    /// # Errors
    /// Told to `done`; the codes of [`crate::ChatError`].
    pub async fn send_with(
        &self,
        who: &Identity,
        draft: Draft,
        origin: Option<u64>,
        done: impl FnOnce(Result<Sent>) + Send + 'static,
    ) {
        let _ = (who, draft, origin);
        done(unimplemented!())
    }

    /// [`Chat::send_with`] for those who may wait for the answer.
    ///
    /// # Errors
    /// The codes of [`crate::ChatError`].
    pub async fn send(&self, who: &Identity, draft: Draft, origin: Option<u64>) -> Result<Sent> {
        let _ = (who, draft, origin);
        unimplemented!()
    }

    /// Marks a message and everything before it in its conversation as read. Tells the authors of
    /// what was newly read, and the reader's other sockets.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn read(&self, who: &Identity, message_id: Snowflake, origin: Option<u64>) -> Result<ReadAck> {
        let _ = (who, message_id, origin);
        unimplemented!()
    }

    /// Takes a message back and tells every member's sockets. Taking it back again is fine.
    ///
    /// # Errors
    /// [`crate::ChatError::TooLate`], [`crate::ChatError::Forbidden`], [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn recall(&self, who: &Identity, message_id: Snowflake) -> Result<()> {
        let _ = (who, message_id);
        unimplemented!()
    }

    /// Tells the others that somebody is writing, at most every two seconds per conversation and socket.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`] for a group of others, [`crate::ChatError::Forbidden`] for a blocked sender.
    pub async fn typing(&self, who: &Identity, to: Recipient, typing: bool, origin: u64) -> Result<()> {
        let _ = (who, to, typing, origin);
        unimplemented!()
    }
}

//! The port by which a gateway or an API hands a comment to the rules, wherever they run.
//!
//! The rules implement it themselves; [`crate::grpc::IngestNodes`] implements it by asking a node with the role `ingest`.
//! It decides nothing.

use async_trait::async_trait;
use model::{Admitted, Identity, RoomId, WireError};
use protocol::message::CommentDraft;

/// Decides whether a comment may enter a room.
#[async_trait]
pub trait AdmitComments: Send + Sync {
    /// Admits the comment of a verified sender.
    ///
    /// # Errors
    /// The refusal as the client is to see it.
    async fn admit(&self, who: &Identity, room: &RoomId, draft: CommentDraft) -> Result<Admitted, WireError>;
}

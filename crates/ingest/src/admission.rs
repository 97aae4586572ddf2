//! Where the rules for comments run: in this process, or on a node with the role `ingest`.
//!
//! The gateway and the API call it and cannot tell the difference. In this process a comment costs nothing extra; a remote
//! one crosses the network with its verified sender, and the answer comes back as the client is to see it.

use std::sync::Arc;
use std::task::Waker;

use async_trait::async_trait;
use fanout::AdmitComments;
use log::Submission;
use model::{Admitted, Identity, RoomId, WireError};
use protocol::message::CommentDraft;
use tokio::runtime::Handle;

use crate::{Ingest, poll_inline};

/// Where the rules for comments run.
#[derive(Clone)]
pub enum Admission {
    /// In this process.
    Local(Arc<Ingest>),
    /// On nodes with the role `ingest`.
    Remote(Arc<dyn AdmitComments>),
}

impl Admission {
    /// Admits a comment into a room.
    ///
    /// # Errors
    /// The refusal as the client is to see it.
    pub async fn admit(&self, who: &Identity, room: &RoomId, draft: CommentDraft) -> Result<Admitted, WireError> {
        match self {
            Self::Local(ingest) => Ok(ingest.admit(who, room, draft).await?),
            Self::Remote(nodes) => nodes.admit(who, room, draft).await,
        }
    }

    /// As [`Ingest::admit_then`], wherever the rules run.
    pub fn admit_then(
        &self,
        runtime: &Handle,
        who: &Identity,
        room: &RoomId,
        draft: CommentDraft,
        then: impl FnOnce(Result<Admitted, WireError>) -> Option<Waker> + Send + 'static,
    ) -> Option<Submission> {
        match self {
            Self::Local(ingest) => {
                ingest.admit_then(runtime, who, room, draft, |outcome| then(outcome.map_err(WireError::from)))
            }
            Self::Remote(nodes) => {
                let (nodes, who, room) = (nodes.clone(), who.clone(), room.clone());
                poll_inline::spawn(runtime, async move {
                    let woken = then(nodes.admit(&who, &room, draft).await);
                    woken.inspect(Waker::wake_by_ref);
                });
                None
            }
        }
    }
}

/// Decides about comments that other nodes hand over.
#[async_trait]
impl AdmitComments for Ingest {
    async fn admit(&self, who: &Identity, room: &RoomId, draft: CommentDraft) -> Result<Admitted, WireError> {
        Ok(Self::admit(self, who, room, draft).await?)
    }
}

//! An ingest node's side: comments from gateways and APIs that do not decide themselves.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use model::panics::contained;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::cluster::v1::ingest_server::Ingest;
use crate::proto::cluster::v1::{AdmitRequest, AdmitResponse};

/// Comments of one caller that are decided about at once; further ones wait in its connection.
const IN_FLIGHT_MAX: usize = 4_096;

/// Decides whether a comment may enter.
#[async_trait]
pub trait Admit: Send + Sync {
    /// The answer; its `call` is filled in by whoever asks.
    async fn admit(&self, request: AdmitRequest) -> AdmitResponse;
}

/// The service around it.
pub(super) struct Service {
    pub(super) admit: Arc<dyn Admit>,
    pub(super) stop: CancellationToken,
}

#[tonic::async_trait]
impl Ingest for Service {
    type AdmitStream = BoxStream<'static, Result<AdmitResponse, Status>>;

    async fn admit(&self, request: Request<Streaming<AdmitRequest>>) -> Result<Response<Self::AdmitStream>, Status> {
        let heard = request.into_inner().take_until(self.stop.clone().cancelled_owned());
        // A stream that breaks ends like one that is over.
        let comments = heard.take_while(|request| std::future::ready(request.is_ok())).filter_map(async |it| it.ok());
        let admit = self.admit.clone();
        // Begun in the order in which they came.
        let answers = comments.map(move |comment| answer(admit.clone(), comment)).buffer_unordered(IN_FLIGHT_MAX);
        Ok(Response::new(answers.map(Ok).boxed()))
    }
}

async fn answer(admit: Arc<dyn Admit>, comment: AdmitRequest) -> AdmitResponse {
    let call = comment.call;
    let answer = contained(admit.admit(comment)).await;
    AdmitResponse { call, outcome: answer.and_then(|answer| answer.outcome) }
}

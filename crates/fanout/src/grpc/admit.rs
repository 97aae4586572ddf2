//! The server side of `Admit`: comments from gateways and APIs that do not run the rules themselves.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use model::panics::contained;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::admit_codec::{decode_request, encode_answer};
use crate::AdmitComments;
use crate::proto::cluster::v1::ingest_server::Ingest;
use crate::proto::cluster::v1::{AdmitRequest, AdmitResponse};

/// Comments of one caller decided concurrently; further ones wait in its connection.
const IN_FLIGHT_MAX: usize = 4_096;

/// The gRPC service around the rules.
pub(super) struct Service {
    pub(super) admit: Arc<dyn AdmitComments>,
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

async fn answer(admit: Arc<dyn AdmitComments>, comment: AdmitRequest) -> AdmitResponse {
    let call = comment.call;
    let decision = contained(async {
        let (who, room, draft) = decode_request(comment)?;
        admit.admit(&who, &room, draft).await
    });
    // After a panic the answer has no outcome, which the caller reads as "unknown".
    AdmitResponse { call, outcome: decision.await.map(encode_answer) }
}

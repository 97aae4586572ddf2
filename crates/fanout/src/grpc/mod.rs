//! gRPC between nodes: `proto/barrage/cluster/v1/cluster.proto`.
//!
//! [`GrpcFanout`] pushes a room's batches to the gateways that hold it, whose [`GrpcInbox`] receives them. [`IngestNodes`] sends
//! comments to nodes that run the rules ([`AdmitComments`]). [`serve`] listens. A caller must know the deployment's secret, and
//! with TLS ([`PeerSecurity`]) show a certificate of the deployment's authority. Without TLS the traffic is not encrypted: then
//! these addresses belong into a private network.

mod admit;
mod admit_codec;
mod fanout;
mod gateways;
mod inbox;
mod ingest_nodes;
mod link;

pub use fanout::{FanoutParts, GrpcFanout};
pub use inbox::GrpcInbox;
pub use ingest_nodes::IngestNodes;
pub use link::PeerSecurity;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

use self::link::{Spoken, connect, log_failure};
use crate::AdmitComments;
use crate::proto::cluster::v1::gateway_server::GatewayServer;
use crate::proto::cluster::v1::ingest_server::IngestServer;

/// Largest batch accepted, in bytes. Senders put at most [`crate::outbox::PORTION_MAX`] entries into one.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Largest comment accepted with its sender, in bytes; a socket's message is smaller.
const COMMENT_BYTES_MAX: usize = 1 << 20;
/// Calls that one node may have open on a connection: each service needs one.
const CALLS_MAX: u32 = 64;
/// Interval of pings on a silent connection,
const PING: Duration = Duration::from_secs(5);
/// and the time without an answer after which it is closed.
const PONG_MAX: Duration = Duration::from_secs(3);
/// A node that cannot be connected to by then is away.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Pauses between attempts to connect. Attempts never end.
const RECONNECT: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(2))
    .without_max_times();
/// Flow-control windows of one stream and one connection, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// The secret that only nodes of one deployment know, sent with every call as `authorization: Bearer …`.
#[derive(Clone)]
pub struct Secret(MetadataValue<Ascii>);

impl Secret {
    /// Derives it from the deployment's secret, which itself is never sent.
    #[must_use]
    pub fn new(shared: &[u8]) -> Self {
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(shared).expect("any key");
        mac.update(b"barrage: between nodes, 1");
        let mut text = String::from("Bearer ");
        for byte in mac.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
        // Letters and digits are always a value.
        #[allow(clippy::expect_used)]
        Self(text.parse().expect("ASCII"))
    }

    /// Compares in constant time.
    fn is(&self, given: &[u8]) -> bool {
        self.0.as_encoded_bytes().ct_eq(given).into()
    }
}

/// Adds the secret to a call.
impl Interceptor for Secret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Checks the secret of a call.
#[derive(Clone)]
struct Guard(Secret);

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization");
        match given.is_some_and(|given| self.0.is(given.as_encoded_bytes())) {
            true => Ok(request),
            false => Err(Status::unauthenticated("only nodes of this deployment are heard")),
        }
    }
}

/// Services that this node offers to others.
pub struct PeerServices {
    /// Receives batches: a node with viewers.
    pub gateway: Option<Arc<GrpcInbox>>,
    /// Decides about comments: a node with the role `ingest`.
    pub ingest: Option<Arc<dyn AdmitComments>>,
}

/// Listens until `stop`. Comments received by then are still answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    security: impl Into<PeerSecurity>,
    stations: PeerServices,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let security = security.into();
    let guard = Guard(security.secret.clone());
    let gateway = stations.gateway.map(|inbox| {
        let service = GatewayServer::new(inbox::Service { inbox, stop: stop.clone() });
        InterceptedService::new(service.max_decoding_message_size(BATCH_BYTES_MAX), guard.clone())
    });
    let ingest = stations.ingest.map(|admit| {
        let service = IngestServer::new(admit::Service { admit, stop: stop.clone() });
        InterceptedService::new(service.max_decoding_message_size(COMMENT_BYTES_MAX), guard)
    });
    Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG_MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CALLS_MAX)
        .add_optional_service(gateway)
        .add_optional_service(ingest)
        .serve_with_incoming_shutdown(link::incoming(listener, security), stop.cancelled())
        .await
}

//! Nodes that speak to each other over gRPC: `proto/barrage/cluster/v1/cluster.proto`.
//!
//! [`GrpcFanout`] pushes a room's batches to the gateways that hold it, whose [`GrpcInbox`] hears them;
//! [`IngestNodes`] hands comments to nodes that decide about them ([`Admit`]). [`serve`] listens. Only nodes that know
//! the deployment's secret are heard. It is not encrypted yet: the addresses belong in a network of the nodes' own.

mod admit;
mod fanout;
mod gateways;
mod inbox;
mod ingest_nodes;

pub use admit::Admit;
pub use fanout::{FanoutParts, GrpcFanout};
pub use inbox::GrpcInbox;
pub use ingest_nodes::{IngestNodes, NoAnswer};

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};

use crate::proto::cluster::v1::gateway_server::GatewayServer;
use crate::proto::cluster::v1::ingest_server::IngestServer;

/// Largest batch that is heard. A sender's have at most [`crate::outbox::PORTION_MAX`] entries.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Largest comment that is heard, its sender included; a socket's message is smaller.
const COMMENT_BYTES_MAX: usize = 1 << 20;
/// Calls that one node may have open on a connection: each kind of station needs one.
const CALLS_MAX: u32 = 64;
/// A silent connection is asked so often whether somebody is there,
const PING: Duration = Duration::from_secs(5);
/// and given up when nobody says so for this long.
const PONG_MAX: Duration = Duration::from_secs(3);
/// A node that cannot be connected to by then is away.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Between two tries to connect, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes on their way on one stream and one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What nodes of one deployment know and nobody else: sent with every call, as `authorization: Bearer …`.
#[derive(Clone)]
pub struct Secret(MetadataValue<Ascii>);

impl Secret {
    /// From the deployment's secret, which itself is never sent.
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

    /// Whether this is it; how long the answer takes says nothing about it.
    fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_encoded_bytes();
        let differing = own.iter().zip(given).fold(0, |differing, (own, given)| differing | (own ^ given));
        own.len() == given.len() && differing == 0
    }
}

/// Shows the secret.
impl Interceptor for Secret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Asks for the secret.
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

/// What other nodes may ask of this one.
pub struct Stations {
    /// Hears batches: a node with viewers.
    pub gateway: Option<Arc<GrpcInbox>>,
    /// Decides about comments: a node with the role `ingest`.
    pub ingest: Option<Arc<dyn Admit>>,
}

/// Listens until `stop`. Comments that were heard by then are still answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    secret: Secret,
    stations: Stations,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let guard = Guard(secret);
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
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop.cancelled())
        .await
}

/// A connection that shows the secret.
type Spoken = InterceptedService<Channel, Secret>;

/// Connects to another node.
async fn connect(address: &str, secret: &Secret) -> Result<Spoken, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(InterceptedService::new(endpoint.connect().await?, secret.clone()))
}

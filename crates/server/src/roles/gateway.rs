//! The role `gateway`: the listeners, the sockets, and the hub that holds the rooms of this node's viewers.
//!
//! Every process listens, because health and metrics are served on the same port. Only the role takes sockets.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use ::chat::{Chat, LocalUserFanout};
use ::gateway::handover::Inherited;
use ::gateway::{Gateway, GatewaySettings, HttpConnection, Prepared, ServerTls, Services, TlsError};
use ::ingest::{Admission, Ingest};
use ahash::HashMap;
use anyhow::{Context, anyhow, ensure};
use api::Origins;
use futures::{StreamExt as _, TryStreamExt as _};
use hub::{Hub, HubSettings, Room};
use ipnet::IpNet;
use model::{Role, RoomId};
use socket2::{Domain, Socket, Type};
use state::{AddressRules, Addresses, ForwardedHeader, Rate};
use tokio::sync::mpsc;

use crate::config::{Config, Tls};
use crate::self_signed;
use crate::server::Core;
use crate::upgrade::Listeners;

/// Connections that may wait to be accepted; the kernel may allow fewer (net.core.somaxconn).
const ACCEPT_WAITING_MAX: i32 = 4_096;
/// Connections that may wait for the HTTP side.
const HTTP_WAITING_MAX: usize = 1_024;
/// Rooms of inherited sockets that are loaded at once.
const ROOMS_AT_ONCE: usize = 16;
/// Nodes may publish in an order that differs by this much: readers that come from another node get it again.
const REREAD_MS: u64 = 5_000;

/// What the sockets speak to.
pub struct GatewayParts {
    pub hub: Arc<Hub>,
    pub ingest: Arc<Ingest>,
    pub admission: Admission,
    pub chat: Arc<Chat>,
    pub local_users: Arc<LocalUserFanout>,
    pub tls: Option<Arc<ServerTls>>,
    pub addresses: Arc<Addresses>,
    pub origins: Origins,
}

/// The sockets, and what arrives on the same port that is not for them. Nothing is accepted yet.
pub struct PreparedGateway {
    pub address: SocketAddr,
    /// What WebTransport is accepted on, if it is.
    pub quic: Option<(UdpSocket, Arc<ServerTls>)>,
    pub gateway: Prepared,
    pub http: mpsc::Receiver<HttpConnection>,
}

/// Binds the listener, and takes in the sockets of the process before.
pub async fn prepare(
    core: &Core<'_>,
    parts: GatewayParts,
    listeners: &mut Listeners,
    inherited: Inherited,
) -> anyhow::Result<PreparedGateway> {
    let listener = listeners.listen("server.listen", &core.config.server.listen)?;
    let rooms = inherited_rooms(&parts.hub, &inherited).await?;
    let address = listener.local_addr()?;
    let (to_http, http) = mpsc::channel(HTTP_WAITING_MAX);
    let (origins, tls) = (parts.origins, parts.tls.clone());
    // Taken before anybody is served: a start that fails has touched nobody.
    let quic = bind_quic(core.config, address)?.zip(tls);
    let services = Services {
        hub: parts.hub,
        ingest: parts.ingest,
        admission: parts.admission,
        chat: parts.chat,
        user_fanout: parts.local_users,
        clock: core.clock.clone(),
        metrics: core.metrics.clone(),
        addresses: parts.addresses,
        tls: parts.tls,
        origins: Arc::new(move |origin, host| origins.allows(origin, host)),
        settings: gateway_settings(core),
    };
    let runtime = tokio::runtime::Handle::current();
    let gateway = Gateway::prepare(vec![listener], services, runtime, to_http, inherited, rooms)
        .context("cannot start the gateway")?;
    Ok(PreparedGateway { address, quic, gateway, http })
}

/// The UDP socket of WebTransport, if there is to be one: the TCP address, unless another is configured.
fn bind_quic(config: &Config, tcp: SocketAddr) -> anyhow::Result<Option<UdpSocket>> {
    let server = &config.server;
    if !server.quic {
        return Ok(None);
    }
    let (address, key) = match &*server.quic_listen {
        "" => (tcp, "server.quic_listen, which is server.listen unless it is set"),
        listen => (listen.parse()?, "server.quic_listen"),
    };
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen on UDP {address} ({key})"))?;
    Ok(Some(socket))
}

/// The rooms that inherited sockets read.
async fn inherited_rooms(hub: &Arc<Hub>, inherited: &Inherited) -> anyhow::Result<HashMap<RoomId, Arc<Room>>> {
    let load = async |id: &RoomId| -> anyhow::Result<(RoomId, Arc<Room>)> {
        let room = hub.take_over(id).await.map_err(|error| anyhow!("room {id}: {}", error.message))?;
        Ok((id.clone(), room))
    };
    let rooms = futures::stream::iter(inherited.state.rooms.iter().map(|progress| load(&progress.room_id)));
    rooms.buffer_unordered(ROOMS_AT_ONCE).try_collect().await
}

/// Which address a client has, and what one address may use. The sockets and HTTP share it.
pub fn addresses(config: &Config) -> Addresses {
    let limits = &config.limits;
    // The configuration has been checked: each is a network or an address.
    let network = |text: &String| text.parse::<IpNet>().or_else(|_| text.parse().map(|ip: std::net::IpAddr| ip.into()));
    Addresses::new(AddressRules {
        connections_max: limits.connections_per_address,
        handshakes_per_s: limits.handshakes_per_address_per_s,
        requests: Rate::per_s(limits.requests_per_address_per_s),
        trusted: limits.trusted_proxies.iter().filter_map(|text| network(text).ok()).collect(),
        header: match &*limits.forwarded_header {
            "forwarded" => ForwardedHeader::Forwarded,
            _ => ForwardedHeader::XForwardedFor,
        },
        proxy_protocol: limits.proxy_protocol,
    })
}

/// The certificate, if one is configured.
pub fn open_tls(tls: &Tls) -> Result<Option<ServerTls>, TlsError> {
    if tls.certificate_file.as_os_str().is_empty() {
        return Ok(None);
    }
    ServerTls::load(&tls.certificate_file, &tls.key_file).map(Some)
}

/// The certificate that nodes of this configuration serve with, or one made for this run.
pub fn certificate(config: &Config, self_signed: bool) -> anyhow::Result<Certificate> {
    let configured = !config.tls.certificate_file.as_os_str().is_empty();
    ensure!(!(configured && self_signed), "--tls-self-signed and tls.certificate_file exclude each other");
    ensure!(
        configured || self_signed || !config.server.quic,
        "server.quic needs a certificate: set tls.certificate_file and tls.key_file, or start with --tls-self-signed"
    );
    for (key, listen) in [
        ("doors.irc.tls_listen", config.doors_irc.as_ref().map(|door| &door.tls_listen)),
        ("doors.goim.tls_listen", config.doors_goim.as_ref().map(|door| &door.tls_listen)),
    ] {
        ensure!(
            configured || self_signed || listen.is_none_or(|listen| listen.is_empty()),
            "{key} needs a certificate: set tls.certificate_file and tls.key_file, or start with --tls-self-signed"
        );
    }
    if self_signed {
        return self_signed::make(config).context("--tls-self-signed");
    }
    Ok(Certificate { tls: open_tls(&config.tls)?.map(Arc::new), hash: None })
}

/// A certificate, and what browsers must be told to believe it.
pub struct Certificate {
    pub tls: Option<Arc<ServerTls>>,
    /// The SHA-256 of a certificate made for this run, in hexadecimal.
    pub hash: Option<String>,
}

/// A listener whose queue holds a storm of reconnecting viewers; the standard library's holds 128.
pub fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let address: SocketAddr = address.parse()?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_WAITING_MAX)?;
    Ok(socket.into())
}

/// The rooms of this node's viewers. In a cluster other nodes publish, too.
pub fn open_hub(core: &Core<'_>, is_cluster: bool) -> Arc<Hub> {
    let Config { rooms, sockets, .. } = core.config;
    let settings = HubSettings {
        rooms: rooms.clone(),
        reread_ms: if is_cluster { REREAD_MS } else { 0 },
        sockets_max: sockets.open_max,
    };
    Hub::new(core.store.clone(), core.clock.clone(), core.ids.clone(), core.metrics.clone(), settings)
}

fn gateway_settings(core: &Core<'_>) -> GatewaySettings {
    let Core { config, roles, name, dev, .. } = core;
    GatewaySettings {
        node_id: name.clone(),
        accepts_sockets: roles.has(Role::Gateway),
        dev: *dev,
        limits: config.limits.clone(),
        sockets: config.sockets.clone(),
        escaped_bytes_max: config.escaped_bytes_max().max(config.limits.message_bytes_max),
        shards: config.server.shards,
    }
}

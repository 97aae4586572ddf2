//! The doors for other servers' clients: players on nodes with the role `api`, connections on those with `gateway`.
//!
//! A door that is off costs nothing: no route, no listener.

use std::net::TcpListener;
use std::sync::Arc;

use api::Services;
use doors::{DoorSettings, Doors, PusherKeys};
use fanout::ChannelFanout;
use gateway::ServerTls;
use model::Role;
use state::Addresses;

use crate::backends::Cluster;
use crate::server::Core;
use crate::upgrade::Listeners;

/// The doors that are configured. Their routes are served by every process that serves the API.
pub fn open(
    core: &Core<'_>,
    app: Arc<Services>,
    addresses: Arc<Addresses>,
    cluster: Option<&Cluster>,
) -> anyhow::Result<Doors> {
    let config = core.config;
    let takes_connections = core.roles.has(Role::Gateway);
    let pusher = config.doors_pusher.as_ref().filter(|_| takes_connections).map(|door| PusherKeys {
        app_id: door.app_id.clone(),
        key: door.key.clone(),
        secret: door.secret.clone(),
    });
    let settings = DoorSettings {
        players: config.doors.players,
        pusher,
        irc: takes_connections && config.doors_irc.is_some(),
        goim: takes_connections && config.doors_goim.is_some(),
        version: env!("CARGO_PKG_VERSION"),
        limits: config.limits.clone(),
        sockets: config.sockets.clone(),
    };
    let channels: Arc<dyn ChannelFanout> = match cluster.filter(|_| settings.pusher.is_some()) {
        Some(cluster) => cluster.channel_fanout("pusher")?,
        None => Arc::new(()),
    };
    Ok(Doors::new(app, addresses, channels, settings))
}

/// The doors' own ports.
#[derive(Default)]
pub struct DoorListeners {
    irc: Option<TcpListener>,
    irc_tls: Option<TcpListener>,
    goim: Option<TcpListener>,
    goim_tls: Option<TcpListener>,
}

/// Binds the doors' own ports.
pub fn bind(core: &Core<'_>, listeners: &mut Listeners) -> anyhow::Result<DoorListeners> {
    let config = core.config;
    if !core.roles.has(Role::Gateway) {
        return Ok(DoorListeners::default());
    }
    let mut on = |key: &'static str, address: Option<&String>| -> anyhow::Result<Option<TcpListener>> {
        let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(None) };
        let listener = listeners.listen(key, address)?;
        tracing::info!("{key}: listening on {}", listener.local_addr()?);
        Ok(Some(listener))
    };
    let (irc, goim) = (config.doors_irc.as_ref(), config.doors_goim.as_ref());
    Ok(DoorListeners {
        irc: on("doors.irc.listen", irc.map(|door| &door.listen))?,
        irc_tls: on("doors.irc.tls_listen", irc.map(|door| &door.tls_listen))?,
        goim: on("doors.goim.listen", goim.map(|door| &door.listen))?,
        goim_tls: on("doors.goim.tls_listen", goim.map(|door| &door.tls_listen))?,
    })
}

/// Accepts on the doors' own ports.
pub fn listen(doors: &Doors, listeners: DoorListeners, tls: Option<&ServerTls>) -> anyhow::Result<()> {
    let DoorListeners { irc, irc_tls, goim, goim_tls } = listeners;
    if let Some(listener) = irc {
        doors.listen_irc(listener, None)?;
    }
    if let Some(listener) = goim {
        doors.listen_goim(listener, None)?;
    }
    // Without a certificate the start has failed already.
    let Some(tls) = tls else { return Ok(()) };
    if let Some(listener) = irc_tls {
        doors.listen_irc(listener, Some(tls.stream_config()?))?;
    }
    if let Some(listener) = goim_tls {
        doors.listen_goim(listener, Some(tls.stream_config()?))?;
    }
    Ok(())
}

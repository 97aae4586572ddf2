//! Tells systemd what it cannot see: that the service is ready, and which process is its main one now (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

/// Sends a state, if a service manager listens.
pub fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, "the service manager was not told {state:?}");
    }
}

fn send(socket: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    match socket.to_string_lossy().strip_prefix('@') {
        None => sender.send_to(state.as_bytes(), socket)?,
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            sender.send_to_addr(state.as_bytes(), &address)?
        }
    };
    Ok(())
}

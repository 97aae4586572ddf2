//! TCP: what std and mio cannot ask the kernel or tell it.
//!
//! The send queue is asked only of sockets that have a backlog: after each write and at their deadline.

#![allow(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use socket2::SockRef;

/// Bytes the kernel takes of a socket beyond those on the network. The rest of a slow reader's bytes stays in its
/// backlog, where it is bounded and can be skipped.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 32 * 1024;

/// Sets what accepted sockets inherit, which saves system calls for each of them.
pub(crate) fn configure_listener(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    SockRef::from(listener).set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    Ok(())
}

/// Bytes written that the peer has not acknowledged (SIOCOUTQ, tcp(7)); 0 where the kernel cannot say.
pub(crate) fn unacknowledged_bytes(socket: &impl AsRawFd) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request, which has the same number as TIOCOUTQ, stores one int, and `bytes` outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { u32::try_from(bytes).unwrap_or(0) } else { 0 }
}

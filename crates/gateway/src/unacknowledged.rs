//! How much of what was written to a socket its peer has not taken: what std cannot ask the kernel.
//!
//! Asked only of sockets that have a backlog, once a write and once a deadline.

#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

/// Bytes written that the peer has not acknowledged (SIOCOUTQ, tcp(7)); 0 where the kernel cannot say.
pub(crate) fn unacknowledged(socket: &impl AsRawFd) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request, which has the same number as TIOCOUTQ, stores one int, and `bytes` lives until it is back.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { u32::try_from(bytes).unwrap_or(0) } else { 0 }
}

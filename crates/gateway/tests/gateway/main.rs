//! Sockets as clients see them, over loopback.

mod common;
mod cost;
mod deflate;
mod faults;
mod proto;
mod sockets;
mod tls;

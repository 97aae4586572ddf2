//! In place of `webtransport` in a build without the feature `quic`: the same names, and no session.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use mio::{Registry, Token};

use crate::options::Handshakes;

/// What a session hears.
#[expect(dead_code, reason = "there is no session that hears it")]
pub enum Heard<'a> {
    /// The server has accepted it.
    Opened,
    /// A message of its stream.
    Message(&'a [u8]),
    /// A batch beside the stream, and how many before it are missing.
    Batch(&'a [u8], i64),
}

/// Hears it, or says why the connection is over.
pub type Hear<'a> = &'a mut dyn FnMut(Heard<'_>) -> Result<(), String>;

/// None exists.
pub enum Session {}

impl Session {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn connect(
        _: SocketAddr,
        _: Option<IpAddr>,
        _: Handshakes,
        _: (Arc<str>, String),
    ) -> anyhow::Result<Box<Self>> {
        bail!("this build has no QUIC: build it with the Cargo feature `quic`")
    }

    pub fn register(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        match *self {}
    }

    pub fn move_to(&mut self, _: Option<IpAddr>, _: &Registry, _: Token) -> anyhow::Result<()> {
        match *self {}
    }

    pub fn deadline(&mut self) -> Option<Instant> {
        match *self {}
    }

    pub fn tick(&mut self, _: Hear<'_>) -> Result<(), String> {
        match *self {}
    }

    pub fn receive(&mut self, _: &mut [u8], _: Hear<'_>) -> Result<u64, String> {
        match *self {}
    }

    pub fn say(&mut self, _: &[u8]) {
        match *self {}
    }

    pub fn flush(&mut self) {
        match *self {}
    }

    pub fn close(&mut self) {
        match *self {}
    }
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn first_packet(_: SocketAddr) -> anyhow::Result<Vec<u8>> {
    bail!("this build has no QUIC: build it with the Cargo feature `quic`")
}

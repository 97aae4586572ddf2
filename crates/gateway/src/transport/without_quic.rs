//! In place of `quic` in a build without the feature: the same names, of which no value exists, so that nothing else has to
//! know. Starting the listener fails and says why.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use hub::batch::ConnRef;

use crate::shard::inbox::Inbox;

/// A session as a shard reads and writes it.
pub(crate) enum QuicStream {}

impl QuicStream {
    pub fn new(handle: SessionHandle, _: Arc<Inbox>, _: ConnRef) -> Self {
        match handle {}
    }

    pub fn accept(&mut self) {
        match *self {}
    }

    pub fn refuse(&mut self, _: u16) {
        match *self {}
    }

    pub fn attach(&mut self, _: ClientStream) {
        match *self {}
    }

    pub fn rearm(&self) {
        match *self {}
    }

    pub fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }

    pub fn has_pending(&self) -> bool {
        match *self {}
    }

    pub fn batches(&mut self) -> Option<&mut BatchSender> {
        match *self {}
    }
}

/// What a shard is given with a session.
pub(crate) enum SessionHandle {}

impl SessionHandle {
    pub fn refuse(self, _: u16) {
        match self {}
    }
}

/// A client's stream.
pub(crate) enum ClientStream {}

/// Sends each batch apart from all others.
pub(crate) enum BatchSender {}

impl BatchSender {
    pub fn send(&mut self, _: &[u8], _: impl FnMut(super::BatchSent, usize)) {
        match *self {}
    }
}

pub(crate) mod listener {
    use super::{Arc, IpAddr, SessionHandle, UdpSocket};
    use crate::conn::Upgrade;
    use crate::{Common, ServerTls};

    /// Why a listener cannot start.
    #[derive(Debug, thiserror::Error)]
    pub enum QuicError {
        /// The feature is off.
        #[error("this build has no QUIC: build it with the Cargo feature `quic`")]
        NotBuilt,
    }

    /// A session for a shard.
    pub(crate) struct NewSession {
        pub handle: SessionHandle,
        pub upgrade: Upgrade,
        pub peer: IpAddr,
    }

    /// The running listener.
    pub(crate) enum QuicListener {}

    impl QuicListener {
        pub fn start(_: UdpSocket, _: &ServerTls, _: Arc<Common>) -> Result<Self, QuicError> {
            Err(QuicError::NotBuilt)
        }

        pub fn refuse_new(&self) {
            match *self {}
        }

        pub async fn end(self) {
            match self {}
        }
    }
}

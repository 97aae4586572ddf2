//! TLS (rustls) over a socket that never blocks.
//!
//! [`ServerTls`] is the certificate, shared and replaceable while connections are open. [`TlsSession`] is one connection's
//! state. It keeps bytes only while a record is incomplete or the kernel does not take what is encrypted, so an idle
//! connection holds keys and no buffer. Shards drive it through [`TlsStream`]; [`crate::http`] drives it for requests that
//! are not for `/ws`. It starts no task and knows no epoll.

use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mio::net::TcpStream;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// Most plaintext in one record (RFC 8446 §5.1), and how much is encrypted before the kernel is asked to take it.
const RECORD_BYTES: usize = 16 * 1024;
/// What a record adds to its plaintext: header, content type and tag. TLS 1.2 has at most a nonce more.
const RECORD_EXTRA_BYTES: usize = 64;
/// Ciphertext that may wait for the rest of a record or of a handshake message.
const INCOMING_BYTES_MAX: usize = 64 * 1024;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read, or is not PEM.
    #[error("{0}: {1}")]
    Certificate(PathBuf, rustls::pki_types::pem::Error),
    /// The file holds no certificate.
    #[error("{0}: no certificate in PEM")]
    NoCertificate(PathBuf),
    /// The key file cannot be read, or holds no private key in PEM.
    #[error("{0}: {1}")]
    Key(PathBuf, rustls::pki_types::pem::Error),
    /// The key is of no use, or not the certificate's.
    #[error("{0}: {1}")]
    Pair(PathBuf, rustls::Error),
    /// The cryptography could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificate of new connections.
#[derive(Debug)]
pub struct ServerTls {
    /// Certificate and key; absent when they were made for this run.
    files: Option<[PathBuf; 2]>,
    resolver: Arc<CertificateResolver>,
    config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct CertificateResolver(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerTls {
    /// Reads a chain and its key, both PEM.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(certificate_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let files = Some([certificate_file.into(), key_file.into()]);
        Self::new(load_pair(certificate_file, key_file)?, files)
    }

    /// Takes a certificate and its key (PKCS #8), both DER, that were made for this run.
    ///
    /// # Errors
    /// When they are of no use.
    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::Pkcs8(key.into());
        Self::new(CertifiedKey::from_der(vec![certificate.into()], key, &aws_lc_rs::default_provider())?, None)
    }

    fn new(certificate: CertifiedKey, files: Option<[PathBuf; 2]>) -> Result<Self, TlsError> {
        let resolver = Arc::new(CertificateResolver(ArcSwap::from_pointee(certificate)));
        let config = Arc::new(server_config(resolver.clone())?);
        Ok(Self { files, resolver, config })
    }

    /// Reads the files again; connections made from here on get the new certificate.
    ///
    /// # Errors
    /// As [`ServerTls::load`]; the old certificate stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Some([certificate_file, key_file]) = &self.files {
            self.resolver.0.store(Arc::new(load_pair(certificate_file, key_file)?));
        }
        Ok(())
    }

    /// The files that [`ServerTls::reload`] reads.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().flatten()
    }

    /// TLS 1.3 for HTTP/3, with the same certificate. Clients resume by a ticket; nothing is taken from their first flight,
    /// which anybody could send again.
    #[cfg(feature = "quic")]
    pub(crate) fn quic_config(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![b"h3".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    /// The same for listeners that are not this crate's, with the same certificate, also after [`ServerTls::reload`]. The
    /// protocol over it is not negotiated.
    ///
    /// # Errors
    /// When the cryptography cannot be set up.
    pub fn stream_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = server_config(self.resolver.clone())?;
        config.alpn_protocols = Vec::new();
        Ok(Arc::new(config))
    }

    /// The state of a new connection.
    pub(crate) fn accept(&self) -> Result<TlsSession, TlsError> {
        let rustls = UnbufferedServerConnection::new(self.config.clone())?;
        let (incoming, plain, outgoing) = (Vec::new(), Vec::new(), Vec::new());
        Ok(TlsSession { rustls, incoming, plain, outgoing, sent: 0, ended: false, failed: false, closing: false })
    }
}

fn load_pair(certificate_file: &Path, key_file: &Path) -> Result<CertifiedKey, TlsError> {
    let unreadable = |error| TlsError::Certificate(certificate_file.into(), error);
    let chain = CertificateDer::pem_file_iter(certificate_file).map_err(unreadable)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate_file.into()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| TlsError::Key(key_file.into(), error))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|error| TlsError::Pair(key_file.into(), error))
}

/// TLS 1.2 and 1.3. Clients that come back resume by a ticket, so that a storm of them costs no signatures and
/// nothing is kept for them here.
fn server_config(certificate: Arc<CertificateResolver>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// One connection's state. Each call is given the socket.
pub struct TlsSession {
    rustls: UnbufferedServerConnection,
    /// Ciphertext of a record that is not complete yet.
    incoming: Vec<u8>,
    /// Decrypted and not yet asked for.
    plain: Vec<u8>,
    /// Ciphertext that the kernel has not taken yet, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    /// The peer sends nothing more.
    ended: bool,
    /// What the peer sent is not TLS. Reads return the raw bytes, which callers discard.
    failed: bool,
    /// Our close has been encrypted.
    closing: bool,
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").field("ended", &self.ended).field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// What to encrypt once the handshake is done.
enum Outgoing<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

impl TlsSession {
    /// Reads decrypted bytes, after the handshake; 0 is the end.
    pub fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.plain.is_empty() {
                return Ok(self.read_plain(buffer));
            }
            if self.ended {
                return Ok(0);
            }
            if self.failed {
                return socket.read(buffer);
            }
            let mut raw = [0; RECORD_BYTES];
            let n = socket.read(&mut raw)?;
            self.ended = n == 0;
            self.incoming.extend_from_slice(raw.get(..n).unwrap_or_default());
            let outcome = self.drive(&Outgoing::Nothing);
            match self.flush(socket) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => outcome?,
            }
        }
    }

    fn read_plain(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.plain.len().min(buffer.len());
        let taken = self.plain.drain(..n);
        buffer.iter_mut().zip(taken).for_each(|(to, from)| *to = from);
        if self.plain.is_empty() {
            self.plain = Vec::new();
        }
        n
    }

    /// Encrypts and writes as much as the kernel takes, and at most one record more, which goes first the next time.
    /// Returns how many bytes it accepted.
    pub fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let mut taken = 0;
        for record in bytes.chunks(RECORD_BYTES) {
            self.drive(&Outgoing::Data(record))?;
            taken += record.len();
            match self.flush(socket) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Writes what is encrypted already.
    ///
    /// # Errors
    /// `WouldBlock` when some of it remains.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while let Some(rest) = self.outgoing.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match socket.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.outgoing, self.sent) = (Vec::new(), 0);
        Ok(())
    }

    /// Whether encrypted bytes wait for the kernel.
    pub fn has_pending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Sends `close_notify`: nothing more comes from us.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel has not taken it yet; the caller tries again.
    pub fn close(&mut self, socket: &mut impl Write) -> io::Result<()> {
        if !self.closing && !self.failed {
            self.closing = true;
            // Before the handshake is over there is nothing to close.
            let _ = self.drive(&Outgoing::CloseNotify);
        }
        self.flush(socket)
    }

    /// Decrypts what arrived, answers what TLS itself has to answer, then encrypts `outgoing`.
    fn drive(&mut self, outgoing: &Outgoing<'_>) -> io::Result<()> {
        let outcome = self.advance(outgoing);
        if outcome.is_err() {
            self.failed = true;
            self.encode_alert();
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        outcome
    }

    fn advance(&mut self, outgoing: &Outgoing<'_>) -> io::Result<()> {
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.rustls.process_tls_records(&mut self.incoming);
            let out = &mut self.outgoing;
            let over = match state.map_err(io::Error::other)? {
                ConnectionState::ReadTraffic(mut records) => {
                    while let Some(record) = records.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        self.plain.extend_from_slice(record.payload);
                    }
                    false
                }
                ConnectionState::EncodeTlsData(mut record) => {
                    append(out, RECORD_EXTRA_BYTES, |out| record.encode(out))?;
                    false
                }
                ConnectionState::TransmitTlsData(sent) => {
                    sent.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.ended = true;
                    false
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    match *outgoing {
                        Outgoing::Nothing => {}
                        Outgoing::Data(bytes) => {
                            append(out, bytes.len() + RECORD_EXTRA_BYTES, |out| traffic.encrypt(bytes, out))?;
                        }
                        Outgoing::CloseNotify => {
                            append(out, RECORD_EXTRA_BYTES, |out| traffic.queue_close_notify(out))?
                        }
                    }
                    true
                }
                // The handshake waits for the peer, or both have closed.
                _ if matches!(outgoing, Outgoing::Nothing) => true,
                _ => return Err(ErrorKind::NotConnected.into()),
            };
            self.incoming.drain(..discard.min(self.incoming.len()));
            if over && self.incoming.len() > INCOMING_BYTES_MAX {
                return Err(io::Error::other("a TLS record or handshake message is too long"));
            }
            if over {
                return Ok(());
            }
        }
    }

    /// After an error the next thing to encode is the alert that names it.
    fn encode_alert(&mut self) {
        let UnbufferedStatus { state, .. } = self.rustls.process_tls_records(&mut self.incoming);
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = state {
            // Fails only for lack of space, which `append` makes.
            let _ = append(&mut self.outgoing, RECORD_EXTRA_BYTES, |out| alert.encode(out));
        }
        self.incoming = Vec::new();
    }
}

/// An encoder's error that may name the buffer size it needs.
trait RequiredSize {
    fn required_size(&self) -> Option<usize>;
}

impl RequiredSize for EncodeError {
    fn required_size(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl RequiredSize for EncryptError {
    fn required_size(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Appends what `encode` writes: first into `size` bytes, then into as many as it asks for.
fn append<E: RequiredSize>(
    out: &mut Vec<u8>,
    mut size: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let start = out.len();
    for _ in 0..2 {
        out.resize(start + size, 0);
        match encode(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(error) => match error.required_size() {
                Some(required) => size = required,
                None => break,
            },
        }
    }
    out.truncate(start);
    Err(io::Error::other("a TLS record cannot be encoded"))
}

/// A shard's socket with its session.
pub(crate) struct TlsStream {
    pub socket: TcpStream,
    pub session: Box<TlsSession>,
}

impl TlsStream {
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session.read(&mut self.socket, buffer)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.write(&mut self.socket, bytes)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.session.flush(&mut self.socket)
    }

    pub fn close(&mut self) -> io::Result<()> {
        self.session.close(&mut self.socket)
    }
}

//! `--tls`: the generator's end of TLS, and the throw-away certificate of the server it starts. Nothing is verified:
//! both ends are ours, for as long as it is measured.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::options::Handshakes;

/// What the throw-away server is called.
pub const NAME: &str = "localhost";

/// Writes a certificate and its key into `dir`; the settings that make a server use them.
///
/// # Errors
/// When they cannot be made or written.
pub fn certificate(dir: &Path) -> anyhow::Result<[(&'static str, std::path::PathBuf); 2]> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("no certificate")?;
    let files = [
        ("BARRAGE__TLS__CERTIFICATE_FILE", dir.join("certificate.pem")),
        ("BARRAGE__TLS__KEY_FILE", dir.join("key.pem")),
    ];
    let [(_, certificate), (_, key)] = &files;
    std::fs::write(certificate, made.cert.pem())?;
    std::fs::write(key, made.signing_key.serialize_pem())?;
    Ok(files)
}

/// One connection's state.
pub struct ClientTls(ClientConnection);

impl ClientTls {
    /// Before the first byte.
    ///
    /// # Errors
    /// When the cryptography cannot be set up.
    pub fn new(handshakes: Handshakes) -> anyhow::Result<Box<Self>> {
        static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        let config = match CONFIG.get() {
            Some(config) => config.clone(),
            None => CONFIG.get_or_init(|| Arc::new(config(handshakes))).clone(),
        };
        Ok(Box::new(Self(ClientConnection::new(config, ServerName::try_from(NAME)?)?)))
    }

    /// Reads until the buffer is full or nothing is left; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` when there was nothing; otherwise why the connection is over.
    pub fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        let mut n = 0;
        loop {
            match self.0.reader().read(buffer.get_mut(n..).unwrap_or_default()) {
                Ok(read) if read > 0 => n += read,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            if n == buffer.len() {
                return Ok(n);
            }
            match self.0.read_tls(socket) {
                Ok(0) => return Ok(n),
                Ok(_) => {
                    self.0.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && n > 0 => return Ok(n),
                Err(error) => return Err(error),
            }
            self.flush(socket)?;
        }
    }

    /// Encrypts all of it and writes what the socket takes.
    ///
    /// # Errors
    /// Why the connection is over; never `WouldBlock`.
    pub fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        let n = self.0.writer().write(bytes)?;
        self.flush(socket)?;
        Ok(n)
    }

    /// Writes what waits; what the socket does not take goes with the next call.
    ///
    /// # Errors
    /// As [`ClientTls::write`].
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What a client offers and believes.
pub fn config(handshakes: Handshakes) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap_or_else(|_| {
        unreachable!("the provider speaks TLS 1.3");
    });
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)));
    let mut config = builder.with_no_client_auth();
    if handshakes == Handshakes::Full {
        config.resumption = Resumption::disabled();
    }
    config
}

/// Believes any certificate.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

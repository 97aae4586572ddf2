//! Certificates, of nobody or of an authority of a test's own, and blocking clients that trust one of them.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A self-signed certificate for `localhost` and 127.0.0.1.
pub struct Certificate {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// Its private key in PEM.
    pub key_pem: String,
    der: CertificateDer<'static>,
}

/// A client's end of a connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Certificate {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (certificate_pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
        Self { certificate_pem, key_pem, der: made.cert.der().clone() }
    }

    /// One that ends so soon.
    #[must_use]
    pub fn for_a_while(valid_for: Duration) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + valid_for).into();
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { certificate_pem: made.pem(), key_pem: key.serialize_pem(), der: made.der().clone() }
    }

    /// Writes `certificate.pem` and `key.pem` into a directory.
    pub fn write(&self, dir: &Path) {
        std::fs::write(dir.join("certificate.pem"), &self.certificate_pem).unwrap();
        std::fs::write(dir.join("key.pem"), &self.key_pem).unwrap();
    }

    /// A client that trusts this certificate alone. Its connections resume each other's sessions.
    #[must_use]
    pub fn trusted(&self) -> TlsClient {
        TlsClient(Arc::new(self.client_config()))
    }

    /// The configuration of a client of HTTP/3 that trusts this certificate alone.
    #[must_use]
    pub fn trusted_over_quic(&self) -> ClientConfig {
        let mut config = self.client_config();
        config.alpn_protocols = vec![b"h3".to_vec()];
        config
    }

    /// The configuration of a client that trusts this certificate alone.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

/// Vouches for the servers that a test starts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM.
    pub pem: String,
}

impl Authority {
    /// A new one of this name, which nobody trusts yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a host name or an IP address.
    #[must_use]
    pub fn certify(&self, host: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Certificate { certificate_pem: made.pem(), key_pem: key.serialize_pem(), der: made.der().clone() }
    }
}

/// A client, see [`Certificate::trusted`].
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Shakes hands over a connected socket.
    ///
    /// # Errors
    /// When the server shows another certificate, or speaks no TLS.
    pub fn connect(&self, mut socket: TcpStream) -> std::io::Result<TlsStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(self.0.clone(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(session, socket))
    }
}

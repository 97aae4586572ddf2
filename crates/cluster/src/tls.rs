//! TLS between nodes and to etcd: certificates from files, replaceable while connections are open.
//!
//! [`PeerTls`] is both sides of a connection between nodes, each of which shows a certificate that the deployment's authority
//! signed. To etcd it is the client's side alone, with a certificate or without. The server loads it and has it reloaded; the
//! fan-out and [`crate::etcd`] connect with it. It decides nothing about who may do what.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// gRPC is HTTP/2, which both sides agree on in the handshake.
const ALPN: &[u8] = b"h2";

/// The files of a section of the configuration, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The section, which errors name.
    pub section: &'static str,
    /// Certificates of the authorities that the other side's certificate has to come from.
    pub ca_file: PathBuf,
    /// This side's own chain; empty when it shows none.
    pub certificate_file: PathBuf,
    /// The key of that certificate.
    pub key_file: PathBuf,
}

/// Why the files are of no use. Names the setting and the file.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {why}", file.display())]
pub struct TlsError {
    key: String,
    file: PathBuf,
    why: String,
}

/// What new connections use.
struct Configs {
    client: Arc<ClientConfig>,
    /// Absent without a certificate.
    server: Option<Arc<ServerConfig>>,
}

/// Certificates and the authority that they are checked by.
pub struct PeerTls {
    files: TlsFiles,
    /// The name that every server's certificate has to be for; the host of its address otherwise.
    name: Option<ServerName<'static>>,
    configs: ArcSwap<Configs>,
}

impl TlsFiles {
    /// Those that are set.
    pub fn iter(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [&self.ca_file, &self.certificate_file, &self.key_file];
        files.into_iter().filter(|file| !file.as_os_str().is_empty())
    }

    fn error(&self, key: &str, file: &Path, why: impl ToString) -> TlsError {
        TlsError { key: format!("{}.{key}", self.section), file: file.into(), why: why.to_string() }
    }

    fn authorities(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let bad = |why: String| self.error("ca_file", &self.ca_file, why);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.ca_file).map_err(|error| bad(error.to_string()))? {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("no certificate in PEM".into()));
        }
        Ok(Arc::new(roots))
    }

    /// The chain and its key, if this side shows one.
    fn identity(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, TlsError> {
        if self.certificate_file.as_os_str().is_empty() {
            return Ok(None);
        }
        let bad = |why: String| self.error("certificate_file", &self.certificate_file, why);
        let chain = CertificateDer::pem_file_iter(&self.certificate_file)
            .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
            .map_err(|error| bad(error.to_string()))?;
        if chain.is_empty() {
            return Err(bad("no certificate in PEM".into()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key_file)
            .map_err(|error| self.error("key_file", &self.key_file, error))?;
        Ok(Some((chain, key)))
    }

    fn load(&self) -> Result<Configs, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (roots, identity) = (self.authorities()?, self.identity()?);
        // The key belongs to another certificate, or is of a kind that TLS does not know.
        let unfit = |error: rustls::Error| self.error("key_file", &self.key_file, error);
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(unfit)?;
        let builder = builder.with_root_certificates(roots.clone());
        let mut client = match &identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(unfit)?,
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![ALPN.to_vec()];
        let server = identity.map(|identity| self.server_config(&provider, roots, identity)).transpose()?;
        Ok(Configs { client: Arc::new(client), server: server.map(Arc::new) })
    }

    /// A server that admits only clients with a certificate of the same authority.
    fn server_config(
        &self,
        provider: &Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
        (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    ) -> Result<ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        let verifier = verifier.map_err(|error| self.error("ca_file", &self.ca_file, error))?;
        let unfit = |error: rustls::Error| self.error("key_file", &self.key_file, error);
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(unfit)?;
        let mut server = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(unfit)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        Ok(server)
    }
}

impl PeerTls {
    /// Reads the files. With a `name` servers have to show a certificate for it, whatever their address.
    ///
    /// # Errors
    /// Names the setting and what is wrong with its file.
    pub fn load(files: TlsFiles, name: &str) -> Result<Self, TlsError> {
        let configs = ArcSwap::from_pointee(files.load()?);
        let parsed = ServerName::try_from(name.to_owned());
        let name = match (name, parsed) {
            ("", _) => None,
            (_, Ok(name)) => Some(name),
            (name, Err(_)) => {
                return Err(TlsError {
                    key: format!("{}.tls_name", files.section),
                    file: name.into(),
                    why: "neither a host name nor an IP address".into(),
                });
            }
        };
        Ok(Self { files, name, configs })
    }

    /// Reads the files again; connections made from here on use them.
    ///
    /// # Errors
    /// As [`PeerTls::load`]; the old ones stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.configs.store(Arc::new(self.files.load()?));
        Ok(())
    }

    /// The section of the configuration that names them.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.files.section
    }

    /// The files that [`PeerTls::reload`] reads.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter()
    }

    /// Connects to `host:port` and shakes hands as a client.
    ///
    /// # Errors
    /// When nobody listens there, or the certificate does not do.
    pub async fn dial(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let connector = TlsConnector::from(self.configs.load().client.clone());
        Ok(TlsStream::from(connector.connect(name, socket).await?))
    }

    /// Shakes hands as a server with a node that has connected.
    ///
    /// # Errors
    /// When it shows no certificate that will do, or speaks no TLS.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let server = self.configs.load().server.clone().ok_or_else(|| io::Error::other("no certificate to show"))?;
        Ok(TlsStream::from(TlsAcceptor::from(server).accept(socket).await?))
    }
}

/// What TLS itself says, somewhere among the causes of an error.
#[must_use]
pub fn tls_failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error hides what it wraps from `source`.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use testkit::Authority;

    use super::*;

    fn files(dir: &Path, authority: &Authority) -> TlsFiles {
        std::fs::write(dir.join("ca.pem"), &authority.pem).expect("written");
        authority.certify("localhost").write(dir);
        let file = |name| dir.join(name);
        TlsFiles {
            section: "nodes",
            ca_file: file("ca.pem"),
            certificate_file: file("certificate.pem"),
            key_file: file("key.pem"),
        }
    }

    #[test]
    fn an_error_names_the_setting_and_its_file() {
        let (dir, authority) = (tempfile::tempdir().expect("a directory"), Authority::new("ours"));
        let good = files(dir.path(), &authority);
        assert!(PeerTls::load(good.clone(), "barrage-node").is_ok());
        let told = |files: TlsFiles, name: &str| PeerTls::load(files, name).err().expect("an error").to_string();
        let nowhere = TlsFiles { ca_file: "nowhere.pem".into(), ..good.clone() };
        assert!(told(nowhere, "").starts_with("nodes.ca_file: nowhere.pem: "));
        let swapped = TlsFiles { certificate_file: good.key_file.clone(), ..good.clone() };
        assert!(told(swapped, "").starts_with("nodes.certificate_file: "));
        std::fs::write(&good.key_file, authority.certify("localhost").key_pem).expect("written");
        assert!(told(good.clone(), "").starts_with("nodes.key_file: "));
        files(dir.path(), &authority);
        assert!(told(good, "a name").starts_with("nodes.tls_name: a name"));
    }

    #[tokio::test]
    async fn a_reload_takes_new_files_and_keeps_the_old_ones_when_they_are_broken() {
        let (dir, authority) = (tempfile::tempdir().expect("a directory"), Authority::new("ours"));
        let tls = Arc::new(PeerTls::load(files(dir.path(), &authority), "localhost").expect("loads"));
        let connects = async || {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            let (dialled, accepted) = tokio::join!(tls.dial(&address), async {
                let (socket, _) = listener.accept().await.expect("a connection");
                tls.accept(socket).await
            });
            dialled.is_ok() && accepted.is_ok()
        };
        assert!(connects().await);
        std::fs::write(dir.path().join("key.pem"), "nothing").expect("written");
        assert!(tls.reload().is_err());
        assert!(connects().await, "the old files hold");
        // Another authority: both sides take it up together.
        files(dir.path(), &Authority::new("another"));
        tls.reload().expect("reloads");
        assert!(connects().await);
    }
}

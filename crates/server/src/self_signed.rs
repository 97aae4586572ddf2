//! A certificate for one run of a developer's server, which browsers believe by its hash.
//!
//! `serve --tls-self-signed` asks for it. Never written to disk: the next run has another.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gateway::ServerTls;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::roles::gateway::Certificate;

/// The longest that browsers believe a certificate by its hash (W3C WebTransport, `serverCertificateHashes`). It begins a
/// little earlier, for clocks that are behind.
const VALID_FOR: Duration = Duration::from_secs(14 * 24 * 3_600 - 120);
const EARLIER: Duration = Duration::from_secs(60);

/// Makes one for localhost and the configured address: ECDSA on P-256, the only kind that browsers believe by its hash.
pub fn make(config: &Config) -> anyhow::Result<Certificate> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let listen = config.server.listen.parse::<SocketAddr>().map(|address| address.ip());
    names.extend(listen.ok().filter(|ip| !ip.is_unspecified() && !ip.is_loopback()).map(|ip: IpAddr| ip.to_string()));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "barrage");
    let now = SystemTime::now();
    params.not_before = (now - EARLIER).into();
    params.not_after = (now + VALID_FOR).into();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    let hash = Sha256::digest(certificate.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    let tls = ServerTls::from_der(certificate.der().to_vec(), key.serialize_der())?;
    Ok(Certificate { tls: Some(Arc::new(tls)), hash: Some(hash) })
}

//! Who vouches for the servers that a node leans on: files of certificates, read and looked at before anything is connected.
//!
//! Used by the wiring and by `check-config`.

use std::path::Path;

use anyhow::{Context, ensure};
use redis_client::Address;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{Config, Redis};

/// What is wrong with the files that the addresses of Redis and MySQL go by, or with those addresses.
pub fn check_authorities(config: &Config) -> anyhow::Result<()> {
    if config.redis.url.is_empty() {
        return Ok(());
    }
    redis_address(&config.redis)?;
    mysql_authorities(&config.store.url)
}

/// Where Redis is, and whom to believe that it is Redis.
pub(super) fn redis_address(redis: &Redis) -> anyhow::Result<Address> {
    let address: Address = redis.url.parse().context("redis.url")?;
    if redis.ca_file.as_os_str().is_empty() {
        return Ok(address);
    }
    let pem = read(&redis.ca_file).context("redis.ca_file")?;
    address.trusting(pem).with_context(|| format!("redis.ca_file: {}", redis.ca_file.display()))
}

/// Sees that the authorities of MySQL can be read; each connection reads them anew.
pub(super) fn mysql_authorities(url: &str) -> anyhow::Result<()> {
    match store::mysql::authorities_file(url).context("store.url")? {
        Some(file) => read(&file).map(drop).context("store.url: ssl-ca"),
        None => Ok(()),
    }
}

/// A file of certificates: at least one, and none that could vouch for nobody.
fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let pem = std::fs::read(file).with_context(|| file.display().to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots
            .add(certificate.with_context(|| file.display().to_string())?)
            .with_context(|| file.display().to_string())?;
    }
    ensure!(!roots.is_empty(), "{}: no certificate in PEM", file.display());
    Ok(pem)
}

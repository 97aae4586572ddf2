//! The store of several nodes: MySQL, MariaDB or TiDB.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use model::Metrics;
use store::mysql::{MySqlStore, TlsFiles};

use super::authorities;

/// Opens the database at `url`.
pub(super) async fn open(url: &str, now_ms: i64, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<MySqlStore>> {
    check_files(url)?;
    Ok(Arc::new(MySqlStore::open(url, now_ms, metrics.clone()).await.context("store.url")?))
}

/// The certificates that the address names, by what names them.
pub fn mysql_certificates(url: &str) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    if url.is_empty() {
        return Ok(Vec::new());
    }
    let TlsFiles { authorities, identity } = store::mysql::tls_files(url).context("store.url")?;
    let authorities = authorities.map(|file| ("store.url: ssl-ca", file));
    let identity = identity.map(|(certificate, _)| ("store.url: ssl-cert", certificate));
    Ok(authorities.into_iter().chain(identity).collect())
}

/// Checks that the files of TLS can be used; each connection reads them anew.
pub(super) fn check_files(url: &str) -> anyhow::Result<()> {
    let TlsFiles { authorities, identity } = store::mysql::tls_files(url).context("store.url")?;
    if let Some(file) = authorities {
        authorities::read(&file).context("store.url: ssl-ca")?;
    }
    if let Some((certificate, key)) = identity {
        authorities::read_identity("store", &certificate, &key).context("store.url: ssl-cert and ssl-key")?;
    }
    Ok(())
}

//! Files of certificates: of the authorities that verify the servers a node connects to, and what the node shows these servers.
//!
//! The backends and `check-config` read them before anything connects.

use std::path::Path;

use anyhow::{Context, ensure};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Reads a PEM file that has to hold at least one certificate; each has to be able to verify another.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
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

/// Reads a certificate chain and its key, which have to belong together, as they stand in their files. Nothing when none is set.
pub(super) fn read_identity(
    section: &str,
    certificate_file: &Path,
    key_file: &Path,
) -> anyhow::Result<Option<(Vec<u8>, Vec<u8>)>> {
    if certificate_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let of = |key: &str, file: &Path| format!("{section}.{key}: {}", file.display());
    let certificate = std::fs::read(certificate_file).with_context(|| of("certificate_file", certificate_file))?;
    let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| of("certificate_file", certificate_file))?;
    ensure!(!chain.is_empty(), "{}: no certificate in PEM", of("certificate_file", certificate_file));
    let key = std::fs::read(key_file).with_context(|| of("key_file", key_file))?;
    let parsed = PrivateKeyDer::from_pem_slice(&key).with_context(|| of("key_file", key_file))?;
    CertifiedKey::from_der(chain, parsed, &aws_lc_rs::default_provider()).with_context(|| of("key_file", key_file))?;
    Ok(Some((certificate, key)))
}

//! What a TLS 1.3 handshake costs the server, by certificate and key exchange: `cargo bench -p gateway --bench handshake`.
//!
//! Client and server meet in memory, with the server's settings of `transport::tls`; only the server's time counts, so system
//! calls and the WebSocket handshake are not in it.
#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::client::Resumption;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection};

const WARM_UP: usize = 200;
const ROUNDS: usize = 2_000;

fn main() {
    let certificates = [("P-256", &PKCS_ECDSA_P256_SHA256), ("RSA-2048", &PKCS_RSA_SHA256)];
    let groups = [("X25519MLKEM768", kx_group::X25519MLKEM768), ("X25519", kx_group::X25519)];
    for (certificate, kind) in certificates {
        let (server, roots) = server(kind);
        for (exchange, group) in groups {
            for resumes in [false, true] {
                let client = client(roots.clone(), group, resumes);
                (0..WARM_UP).for_each(|_| _ = handshake(&server, &client));
                let mut times: Vec<_> = (0..ROUNDS).map(|_| handshake(&server, &client)).collect();
                times.sort_unstable();
                let (median, bytes, resumed) = times[ROUNDS / 2];
                assert_eq!(resumed, resumes, "{exchange}");
                let how = if resumes { "resumed" } else { "full" };
                let us = median.as_secs_f64() * 1e6;
                println!("{certificate:<9} {exchange:<15} {how:<8} {us:>6.1} us, {bytes} bytes both ways");
            }
        }
    }
}

/// A server with a certificate of this kind, and clients' trust in it.
fn server(kind: &'static SignatureAlgorithm) -> (Arc<ServerConfig>, RootCertStore) {
    let key = rcgen::KeyPair::generate_for(kind).expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a root");
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let mut server = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
    server.send_tls13_tickets = 1;
    (Arc::new(server), roots)
}

fn client(roots: RootCertStore, group: &'static dyn SupportedKxGroup, resumes: bool) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![group];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    if !resumes {
        client.resumption = Resumption::disabled();
    }
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(client)
}

/// The server's time, the bytes that both sent, and whether it was resumed.
fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> (Duration, usize, bool) {
    let mut client = ClientConnection::new(client.clone(), "localhost".try_into().expect("a name")).expect("a client");
    let begun = Instant::now();
    let mut server = ServerConnection::new(server.clone()).expect("a server");
    let (mut took, mut bytes) = (begun.elapsed(), 0);
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut there).expect("written");
        }
        let (begun, mut unread) = (Instant::now(), &*there);
        while !unread.is_empty() {
            server.read_tls(&mut unread).expect("read");
            server.process_new_packets().expect("TLS");
        }
        while server.wants_write() {
            server.write_tls(&mut back).expect("written");
        }
        took += begun.elapsed();
        bytes += there.len() + back.len();
        let mut unread = &*back;
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("read");
            client.process_new_packets().expect("TLS");
        }
    }
    (took, bytes, client.handshake_kind() == Some(HandshakeKind::Resumed))
}

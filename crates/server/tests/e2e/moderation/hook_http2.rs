//! The hook over https: the service and the server agree on HTTP/2, and keep one connection.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::routing::post;
use axum::{Json, Router};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use testkit::{Certificate, Options};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::hook::by_text;
use crate::{BIN, NO_LIMITS};

/// Accepts TLS, and offers HTTP/2 before HTTP/1.1.
struct Encrypted {
    tcp: TcpListener,
    tls: TlsAcceptor,
    accepted: Arc<AtomicUsize>,
}

impl Encrypted {
    async fn bind(certificate: &Certificate) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { tcp, tls: TlsAcceptor::from(Arc::new(config)), accepted: Arc::default() }
    }
}

impl axum::serve::Listener for Encrypted {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (socket, address) = self.tcp.accept().await.unwrap();
            if let Ok(socket) = self.tls.accept(socket).await {
                self.accepted.fetch_add(1, Ordering::SeqCst);
                return (socket, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

#[tokio::test]
async fn a_hook_over_https_is_asked_by_http_2_on_one_connection() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let certificate = Certificate::new();
    let listener = Encrypted::bind(&certificate).await;
    let (port, accepted) = (listener.tcp.local_addr().unwrap().port(), listener.accepted.clone());
    let versions: Arc<Mutex<Vec<axum::http::Version>>> = Arc::default();
    let noted = versions.clone();
    let hook = post(async move |version: axum::http::Version, Json(call): Json<Value>| {
        noted.lock().unwrap().push(version);
        Json(json!({ "items": by_text(&call, |text| match text {
            "bad" => json!({ "verdict": "deny" }),
            _ => json!({ "verdict": "allow" }),
        }) }))
    });
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", hook)).await.unwrap() });

    let dir = tempfile::tempdir().unwrap();
    certificate.write(dir.path());
    let authorities = dir.path().join("certificate.pem").display().to_string();
    let config = format!(
        "{NO_LIMITS}[moderation.hook]\nurl = \"https://localhost:{port}/hook\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
         allow_private = true\n"
    );
    let server = Options::new(BIN).config(&config).env("SSL_CERT_FILE", &authorities).start().await;
    for n in 0..20 {
        server.user("alice").say("lobby", &format!("question {n}")).await;
    }
    server.user("alice").comment("lobby", "bad").await.fails(422, "content_blocked");
    let versions = versions.lock().unwrap().clone();
    assert_eq!(versions, vec![axum::http::Version::HTTP_2; 21]);
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "one connection, kept alive");
}

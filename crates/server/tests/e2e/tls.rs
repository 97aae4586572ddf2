//! TLS on the one port: pages and API by https, sockets by wss, and certificates replaced while it runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testkit::{Certificate, Options, Server, TlsClient};

use crate::BIN;

/// A server with this certificate.
async fn secure(certificate: &Certificate) -> Server {
    Options::new(BIN)
        .dev()
        .config("[tls]\ncertificate_file = \"{dir}/certificate.pem\"\nkey_file = \"{dir}/key.pem\"\n")
        .file("certificate.pem", &certificate.certificate_pem)
        .file("key.pem", &certificate.key_pem)
        .start()
        .await
}

/// The answer to a request, head and body, after which the server hangs up.
fn get(client: &TlsClient, address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = client.connect(TcpStream::connect(address)?)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn https_and_wss_are_served_on_one_port() {
    let certificate = Certificate::new();
    let server = secure(&certificate).await;
    let address = server.address().to_owned();
    tokio::task::block_in_place(|| {
        let client = certificate.trusted();
        let health = get(&client, &address, "/healthz").unwrap();
        assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
        let page = get(&client, &address, "/rooms/lobby").unwrap();
        assert!(page.contains("</html>"), "{page}");

        let stream = client.connect(TcpStream::connect(&address).unwrap()).unwrap();
        let url = format!("wss://{address}/ws?room_id=lobby&user_id=ann");
        let (mut socket, _) = tungstenite::client(url, stream).unwrap();
        socket.send(tungstenite::Message::text(r#"{"content":"secret"}"#)).unwrap();
        while !socket.read().unwrap().to_text().unwrap().contains("\"content\":\"secret\"") {}
    });
    assert!(TcpStream::connect(&address).is_ok_and(|mut plain| {
        plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        plain.read_to_end(&mut answer).unwrap();
        !answer.starts_with(b"HTTP")
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_taken_up_and_open_sockets_stay() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let server = secure(&old).await;
    let address = server.address().to_owned();
    tokio::task::block_in_place(|| {
        let stream = old.trusted().connect(TcpStream::connect(&address).unwrap()).unwrap();
        let (mut socket, _) = tungstenite::client(format!("wss://{address}/ws?user_id=ann"), stream).unwrap();
        new.write(server.dir());
        let (client, deadline) = (new.trusted(), Instant::now() + Duration::from_secs(20));
        while get(&client, &address, "/healthz").is_err() {
            assert!(Instant::now() < deadline, "the new certificate was not taken up\n{}", server.log());
            std::thread::yield_now();
        }
        assert!(get(&old.trusted(), &address, "/healthz").is_err(), "the old one is still shown");
        socket.send(tungstenite::Message::text(r#"{"type":"heartbeat"}"#)).unwrap();
        while !socket.read().unwrap().to_text().unwrap().contains("heartbeat_ack") {}
    });
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let check = async |toml: String| {
        let file = dir.path().join("barrage.toml");
        std::fs::write(&file, toml).unwrap();
        let ran = tokio::process::Command::new(BIN).arg("check-config").arg(&file).output().await.unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let (code, said) = check("[tls]\ncertificate_file = \"a.pem\"\n".into()).await;
    assert!(code == Some(1) && said.contains("tls.key_file"), "{said}");
    Certificate::new().write(dir.path());
    std::fs::write(dir.path().join("other.pem"), Certificate::new().key_pem).unwrap();
    let here = dir.path().display();
    let files =
        |key: &str| format!("[tls]\ncertificate_file = \"{here}/certificate.pem\"\nkey_file = \"{here}/{key}\"\n");
    let (code, said) = check(files("other.pem")).await;
    assert!(code == Some(1) && said.contains("other.pem"), "{said}");
    let (code, said) = check(files("missing.pem")).await;
    assert!(code == Some(1) && said.contains("missing.pem"), "{said}");
    assert_eq!(check(files("key.pem")).await.0, Some(0));
}

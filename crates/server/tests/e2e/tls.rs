//! TLS on the one port: pages and API by https, sockets by wss, and certificates replaced while it runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::{Authority, Certificate, Options, Server, TlsClient};

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

/// What `check-config` makes of this file.
async fn check(dir: &Path, toml: &str) -> (Option<i32>, String) {
    let file = dir.join("barrage.toml");
    std::fs::write(&file, toml).unwrap();
    let ran = tokio::process::Command::new(BIN).arg("check-config").arg(&file).output().await.unwrap();
    (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let check = async |toml: String| check(dir.path(), &toml).await;
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

#[tokio::test]
async fn what_redis_and_mysql_are_to_be_believed_by_is_checked_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(file("ca.pem"), Authority::new("ours").pem).unwrap();
    std::fs::write(file("none.pem"), "no certificate\n").unwrap();
    std::fs::write(file("broken.pem"), "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n").unwrap();
    let config = |redis: &str, ca: &str, wishes: &str| {
        let ca_file = if ca.is_empty() { String::new() } else { file(ca) };
        let secret = "[auth]\nhmac_secret = \"a secret of sixteen bytes\"\n";
        let store = format!("[store]\nurl = \"mysql://u:p@h:1/d{wishes}\"\n");
        format!("{secret}{store}[redis]\nurl = \"{redis}\"\nca_file = \"{ca_file}\"\n")
    };
    let verify = |mode: &str, ca: &str| format!("?ssl-mode={mode}&ssl-ca={}", file(ca));
    let identity = verify("VERIFY_IDENTITY", "ca.pem");
    for (toml, complaint) in [
        (config("redis://h:1", "ca.pem", ""), "redis.ca_file must be empty when redis.url does not begin with rediss"),
        (config("rediss://h:1", "missing.pem", ""), "missing.pem: No such file"),
        (config("rediss+cluster://h:1", "none.pem", ""), "none.pem: no certificate in PEM"),
        (config("rediss+sentinel://h:1/m", "broken.pem", ""), "redis.ca_file: "),
        (config("rediss://h:1/0#insecure", "", ""), "redis.url must be "),
        (config("redis://h:1", "", "?ssl-mode=SOMETIMES"), "store.url: "),
        (
            config("redis://h:1", "", &verify("REQUIRED", "ca.pem")),
            "ssl-ca is only looked at with ssl-mode=VERIFY_IDENTITY",
        ),
        (config("redis://h:1", "", &verify("VERIFY_IDENTITY", "missing.pem")), "missing.pem: No such file"),
        (config("redis://h:1", "", &verify("VERIFY_CA", "none.pem")), "none.pem: no certificate in PEM"),
    ] {
        let (code, said) = check(dir.path(), &toml).await;
        assert!(code == Some(1) && said.contains(complaint), "{complaint}: {said}");
    }
    for scheme in ["rediss://h:1/2", "rediss+sentinel://h:1,i:2/m", "rediss+cluster://h:1,i:2"] {
        let (code, said) = check(dir.path(), &config(scheme, "ca.pem", &identity)).await;
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(check(dir.path(), &config("rediss://h:1", "", "?ssl-mode=REQUIRED")).await.0, Some(0));
}

//! TLS between nodes, and to servers that ask a node for its certificate.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Authority, Cluster, OwnServer, Server, eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::BINARY;
use crate::trouble::stands;

/// What the certificates of all nodes are for.
const NAME: &str = "barrage-node";
/// Brokers elect, groups form, and certificates are looked at every two seconds.
const LONG: Duration = Duration::from_secs(60);

/// The environment of a node with these files.
fn environment(section: &str, ca: &Path, identity: &Path) -> Vec<(String, String)> {
    let file = |key: &str, path: &Path| (format!("BARRAGE__{section}__{key}"), path.display().to_string());
    vec![
        file("CA_FILE", ca),
        file("CERTIFICATE_FILE", &identity.join("certificate.pem")),
        file("KEY_FILE", &identity.join("key.pem")),
    ]
}

fn borrowed(env: &[(String, String)]) -> Vec<(&str, &str)> {
    env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Says something until it is taken: roles find each other in a moment. Returns what was taken.
async fn says(node: &Server, who: &str) -> String {
    let mut viewer = node.viewer(who, "hall").await;
    let mut attempt = 0;
    within(LONG, "a comment to be taken", async || {
        attempt += 1;
        let content = format!("hello from {who}, {attempt}");
        let answer = viewer.comment(&content).await;
        (answer["status"] == "accepted").then_some(content)
    })
    .await
}

async fn logs(node: &Server, what: &str, why: &str) {
    let logged = || node.log().lines().any(|line| line.contains(what) && line.contains(why));
    within(LONG, what, async || logged().then_some(())).await;
}

/// Where the node listens for others.
fn peer_address(node: &Server) -> String {
    let log = node.log();
    let line = log.lines().find(|line| line.contains("other nodes are heard")).expect("it listens");
    let line: Value = serde_json::from_str(line).expect("JSON");
    line["fields"]["address"].as_str().expect("its address").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_roles_talk_by_tls_and_a_foreign_certificate_is_refused_in_a_clear_line() {
    let (dir, ours, foreign) = (tempfile::tempdir().unwrap(), Authority::new("ours"), Authority::new("a stranger's"));
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &ours.pem).unwrap();
    let identity = |name: &str, authority: &Authority| {
        let folder = dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        authority.certify(NAME).write(&folder);
        let mut env = environment("NODES", &ca, &folder);
        env.push(("BARRAGE__NODES__TLS_NAME".into(), NAME.into()));
        env
    };
    let Some(mut nodes) = Cluster::kafka(BINARY, &[]).await else { return };
    nodes.join_with("ingest,worker,persist", &borrowed(&identity("one", &ours))).await;
    nodes.join_with("gateway,api", &borrowed(&identity("two", &ours))).await;

    // A comment goes from the gateway to ingest, and its batch from the worker back.
    let mut reader = nodes[1].viewer("reader", "hall").await;
    let said = says(&nodes[1], "ann").await;
    reader.sees(&said).await;
    for node in &nodes.nodes {
        assert!(node.log().contains("\"tls\":true"), "{}", node.log());
    }

    // Without TLS nobody is heard.
    let mut plain = TcpStream::connect(peer_address(&nodes[0])).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut rest = Vec::new();
    // It is closed, with or without a word of TLS.
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"\0\0"), "no HTTP/2: {rest:?}");
    logs(&nodes[0], "a connection without TLS was refused", "127.0.0.1").await;

    // A node whose certificate somebody else signed takes part in nothing, and both sides say why.
    nodes.join_with("gateway,api", &borrowed(&identity("three", &foreign))).await;
    let mut outsider = nodes[2].viewer("eve", "hall").await;
    assert_eq!(outsider.comment("let me in").await["code"], "unavailable");
    logs(&nodes[0], "a node was refused", "UnknownIssuer").await;
    logs(&nodes[0], "no TLS with another node", "UnknownIssuer").await;
    logs(&nodes[2], "a node was refused", "UnknownCA").await;
    assert!(!reader.contents().contains(&"let me in"), "{:?}", reader.contents());

    // It is given the right one while it runs.
    identity("three", &ours);
    logs(&nodes[2], "certificates taken up", "nodes").await;
    let said = says(&nodes[2], "eve").await;
    reader.sees(&said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_certificates_are_introduced_nodes_with_and_without_them_talk() {
    let (dir, ours) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &ours.pem).unwrap();
    // For the address, as without `tls_name`.
    ours.certify("127.0.0.1").write(dir.path());
    let mut env = environment("NODES", &ca, dir.path());
    env.push(("BARRAGE__NODES__TLS_OPTIONAL".into(), "true".into()));
    let Some(mut nodes) = Cluster::kafka(BINARY, &["gateway,api"]).await else { return };
    nodes.join_with("ingest,worker,persist", &borrowed(&env)).await;
    nodes.join_with("gateway,api", &borrowed(&env)).await;
    let mut of_old = nodes[0].viewer("bo", "hall").await;
    let mut of_new = nodes[2].viewer("cy", "hall").await;
    for node in [0, 2] {
        let said = says(&nodes[node], "ann").await;
        of_old.sees(&said).await;
        of_new.sees(&said).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_and_redis_that_ask_for_a_certificate_are_shown_one() {
    let authority = Authority::new("ours");
    let Some(etcd) = OwnServer::start_secure("etcd", &authority) else { return };
    let Some(redis) = OwnServer::start_mutual("redis", &authority) else { return };
    let Some(mysql) = testkit::service("BARRAGE_TEST_MYSQL") else { return };
    let dir = tempfile::tempdir().unwrap();
    authority.certify("a-node").write(dir.path());
    let mut env = environment("ETCD", &etcd.authority_file(), dir.path());
    env.extend(environment("REDIS", &redis.authority_file(), dir.path()));
    env.push(("BARRAGE__ETCD__ENDPOINTS".into(), etcd.address()));
    let mut nodes = Cluster::start(BINARY, 0, &redis.address(), &mysql, "").await;
    nodes.join_as(|node| env.iter().fold(node, |node, (name, value)| node.env(name, value))).await;
    stands(&nodes[0], "ready").await;
    let ready = nodes[0].http().get("/readyz").await;
    assert_eq!(ready.body["dependencies"]["etcd"], json!({ "state": "ok" }), "{}", ready.body);
    nodes[0].viewer("ann", "hall").await.say("hello").await;

    // etcd shows another's certificate: it is away, and the log says why.
    etcd.kill();
    etcd.show(&Authority::new("another").certify("127.0.0.1"));
    etcd.restart();
    logs(&nodes[0], "no TLS with etcd", "UnknownIssuer").await;
    etcd.kill();
    etcd.show(&authority.certify("127.0.0.1"));
    etcd.restart();
    eventually("etcd again", async || {
        let ready = nodes[0].http().get("/readyz").await;
        (ready.body["dependencies"]["etcd"]["state"] == "ok").then_some(())
    })
    .await;
}

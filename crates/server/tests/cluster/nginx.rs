//! Nodes behind nginx, with the configuration that is shipped.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;
use testkit::{Cluster, Http, PATIENCE, Viewer, eventually, now_s, token};

use crate::cluster;

/// Ends with the test, its workers too.
struct Nginx {
    process: Child,
    address: String,
    dir: TempDir,
}

impl Nginx {
    /// In front of three nodes; `change` is what its operator would edit. `None` when it is not installed.
    async fn start(nodes: &Cluster, change: impl Fn(String) -> String) -> Option<Self> {
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            eprintln!("SKIPPED: nginx is not installed; scripts/setup does that");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // An address that no client's own end of a connection has, so that nothing takes the port meanwhile.
        let address = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap().to_string();
        std::fs::write(dir.path().join("barrage.conf"), change(shipped(nodes, &address, dir.path()))).unwrap();
        std::fs::write(dir.path().join("nginx.conf"), "events {}\nhttp { include barrage.conf; }\n").unwrap();
        let process = Command::new("nginx")
            .args(["-e", "stderr", "-g", "daemon off; pid nginx.pid;", "-c", "nginx.conf", "-p"])
            .arg(dir.path())
            .spawn()
            .unwrap();
        let nginx = Self { process, address, dir };
        eventually("nginx", async || tokio::net::TcpStream::connect(&nginx.address).await.ok()).await;
        Some(nginx)
    }

    /// What it has logged.
    fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        read("barrage.log") + &read("barrage-error.log")
    }

    fn user(&self, user: &str) -> Http {
        Http::new(&format!("http://{}", self.address), Some(&token_of(user)))
    }

    /// A viewer, and the node it came to.
    async fn viewer(&self, user: &str, room: &str) -> (Viewer, String) {
        let query = format!("room_id={room}&token={}", token_of(user));
        let mut viewer = Viewer::open(&self.address, &query, &[]).await.unwrap();
        let node = viewer.wait_for("connected").await["node_id"].as_str().unwrap().to_owned();
        viewer.wait_for("room_joined").await;
        (viewer, node)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: kill takes no pointers; the process is our child and has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let _ = self.process.wait(); // It is ours, so this only fails when it was waited for.
    }
}

fn token_of(user: &str) -> String {
    token(&json!({ "sub": user, "level": "owner", "exp": now_s() + 3_600 }))
}

/// The shipped file, on this test's ports and in its folder.
fn shipped(nodes: &Cluster, address: &str, dir: &Path) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx/barrage.conf");
    let mut text = std::fs::read_to_string(file).unwrap();
    for (n, node) in nodes.nodes.iter().enumerate() {
        text = text.replace(&format!("127.0.0.1:808{}", n + 1), node.address());
    }
    text.replace("listen 80;", &format!("listen {address};")).replace("/var/log/nginx", &dir.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_streams_and_polls_pass_and_spread() {
    let Some(nodes) = cluster(3).await else { return };
    let Some(nginx) = Nginx::start(&nodes, |shipped| shipped).await else { return };
    let (mut ann, first) = nginx.viewer("ann", "hall").await;
    let (mut bo, second) = nginx.viewer("bo", "hall").await;
    let (mut cy, third) = nginx.viewer("cy", "hall").await;
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3, "each goes where fewest are");

    let reader = nginx.user("reader");
    let mut stream = reader.events("hall", "", None).await;
    assert_eq!(stream.status, 200);
    let said = ann.say("through the proxy").await;
    for viewer in [&mut bo, &mut cy] {
        assert_eq!(viewer.sees("through the proxy").await["id"], json!(said));
    }
    stream.sees("through the proxy").await;

    let mut latest = said;
    let polled = tokio::time::timeout(PATIENCE, async {
        // Another node may give the last five seconds again.
        loop {
            let path = format!("rooms/hall/comments?since_id={latest}&wait_s=30");
            let (page, ()) = tokio::join!(async { reader.get(&path).await.expect(200) }, async {
                bo.say(&format!("after {latest}")).await;
            });
            latest = page["latest_id"].as_str().unwrap().to_owned();
            let comments = page["comments"].as_array().unwrap();
            if let Some(found) = comments.iter().find(|comment| comment["content"] != "through the proxy") {
                return found.clone();
            }
        }
    })
    .await;
    assert_eq!(polled.expect("a poll is answered")["user_id"], "bo");
    reader.get("/readyz").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_room_its_viewers_meet_on_one_node_until_that_dies() {
    let Some(mut nodes) = cluster(3).await else { return };
    let by_room = |shipped: String| shipped.replace("    least_conn;", "    hash $barrage_room consistent;");
    let Some(nginx) = Nginx::start(&nodes, by_room).await else { return };
    let mut met = BTreeSet::new();
    for n in 0..8 {
        let room = format!("room-{n}");
        let (_ann, here) = nginx.viewer("ann", &room).await;
        let (_bo, there) = nginx.viewer("bo", &room).await;
        assert_eq!(here, there, "{room}");
        met.insert(here);
    }
    assert!(met.len() > 1, "rooms are spread: {met:?}");

    let (mut ann, home) = nginx.viewer("ann", "hall").await;
    let said = ann.say("the last words here").await;
    for node in &mut nodes.nodes {
        let mut asking = node.connect(&format!("token={}", token_of("asking"))).await;
        if asking.wait_for("connected").await["node_id"] == json!(home) {
            node.kill9().await;
        }
    }
    ann.wait_close().await;
    let (mut ann, elsewhere) = nginx.viewer("ann", "hall").await;
    assert_ne!(home, elsewhere);
    assert_eq!(ann.sees("the last words here").await["id"], json!(said));
    let log = nginx.log();
    assert!(log.contains("GET /ws") && !log.contains("token"), "{log}");
}

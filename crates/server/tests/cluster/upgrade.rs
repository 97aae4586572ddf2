//! Nodes of a cluster hand over to new binaries, or are restarted in turn: nobody is disconnected, nobody looks offline.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Cluster, Server, Viewer, eventually};
use tokio::process::Command;
use tokio::sync::watch;

use crate::trouble::stands;
use crate::{BINARY, cluster};

/// A node that was upgraded is a process that the test did not start; this ends it.
#[derive(Default)]
struct Upgraded(Vec<i32>);

impl Drop for Upgraded {
    fn drop(&mut self) {
        let is_ours =
            |pid: &&i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(BINARY));
        for pid in self.0.iter().filter(is_ours) {
            // SAFETY: kill takes no pointers; the process runs the binary under test, at a number that its own file named.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
    }
}

impl Upgraded {
    /// `barrage upgrade`, which has to succeed. Returns the new process.
    async fn upgrade(&mut self, node: &Server) {
        let data = node.dir().join("data");
        let output = Command::new(BINARY).args(["upgrade", "--data"]).arg(&data).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(90), output).await.expect("it returns").unwrap();
        let pid = std::fs::read_to_string(data.join("barrage.pid")).unwrap();
        self.0.push(pid.trim().parse().unwrap());
        assert!(output.status.success(), "{output:?}");
    }
}

/// Comments until it is told to stop, in words that nobody else uses: equal ones would be shown as one with a count.
/// Every comment is accepted. Returns what was said.
async fn keeps_talking(mut viewer: Viewer, name: &str, mut stop: watch::Receiver<bool>) -> (Viewer, Vec<String>) {
    let mut said = Vec::new();
    while !*stop.borrow_and_update() {
        let content = format!("{name} {}", said.len());
        let answer = viewer.comment(&content).await;
        assert_eq!(answer["status"], "accepted", "{answer}");
        said.push(content);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    (viewer, said)
}

/// Somebody who is told of the presence of these, all of whom are here.
async fn watcher(node: &Server, users: &[&str]) -> Viewer {
    let mut socket = node.device("watcher", "phone").await;
    eventually("all of them to be here", async || {
        let list = socket.ask(json!({ "type": "watch_presence", "user_ids": users })).await;
        list["users"].as_array().unwrap().iter().all(|user| user["status"] == "online").then_some(())
    })
    .await;
    socket
}

fn presences(watcher: &mut Viewer) -> Vec<Value> {
    watcher.take(&["presence"])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_upgraded_while_people_talk_and_no_socket_closes() {
    let (Some(redis), Some(mysql)) = (testkit::service("BARRAGE_TEST_REDIS"), testkit::service("BARRAGE_TEST_MYSQL"))
    else {
        return;
    };
    let mut nodes = Cluster::start(BINARY, 0, &redis, &mysql, "").await;
    for _ in 0..2 {
        nodes.join_as(|node| node.env("BARRAGE__LIMITS__NORMAL_PER_S", "10000")).await;
    }
    let mut upgraded = Upgraded::default();
    let mut viewers = Vec::new();
    for n in 0..6 {
        viewers.push(nodes[n % 2].viewer(&format!("v{n}"), "hall").await);
    }
    let speakers = [("ann", nodes[0].viewer("ann", "hall").await), ("bo", nodes[1].viewer("bo", "hall").await)];
    let mut watching = watcher(&nodes[0], &["ann", "bo", "v0", "v1"]).await;
    let (stop, stopped) = watch::channel(false);
    let talking = speakers.map(|(name, speaker)| tokio::spawn(keeps_talking(speaker, name, stopped.clone())));
    viewers[0].sees("ann 3").await;
    for node in &nodes.nodes {
        upgraded.upgrade(node).await;
        stands(node, "ready").await;
    }
    // Both nodes are new. A second round hands over what was handed over.
    upgraded.upgrade(&nodes[0]).await;
    stands(&nodes[0], "ready").await;
    stop.send_replace(true);
    let mut all = 0;
    for (n, talk) in talking.into_iter().enumerate() {
        let (mut speaker, said) = talk.await.unwrap();
        all += said.len();
        assert!(said.len() > 5, "{}", said.len());
        speaker.say(&format!("my last words, {n}")).await;
    }
    for viewer in &mut viewers {
        viewer.given_when("everything", |given| (given.len() >= all + 2).then_some(())).await;
        assert!(!viewer.is_closed());
        assert_eq!(viewer.contents().len(), all + 2, "each comment once");
        assert_eq!(viewer.comment("and I still speak").await["status"], "accepted");
    }
    watching.settled().await;
    // A node that took longer than its lease says again who is there; of nobody may anyone say that they went.
    let told = presences(&mut watching);
    assert!(told.iter().all(|presence| presence["status"] == "online"), "{told:?}");
    let pauses: Vec<_> = nodes
        .nodes
        .iter()
        .flat_map(|node| {
            node.log().lines().filter(|line| line.contains("paused_ms")).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    println!("{all} comments\n{}", pauses.join("\n"));
}

/// A device that comes back to the other node when its own tells it to, as clients do.
async fn stays_on(mut socket: Viewer, nodes: Vec<String>, user: String, mut stop: watch::Receiver<bool>) -> usize {
    let (mut at, mut moves) = (0, 0);
    loop {
        let (code, reason) = tokio::select! {
            closed = socket.wait_close_within(Duration::from_secs(600)) => closed,
            _ = stop.wait_for(|stop| *stop) => return moves,
        };
        assert_eq!(code, 1012, "{reason}");
        let delay: u64 = reason.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok()).unwrap();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        moves += 1;
        at = (at + 1) % nodes.len();
        let token = testkit::token(&json!({ "sub": user, "exp": testkit::now_s() + 86_400 }));
        let query = format!("device_id=phone&token={token}");
        socket = loop {
            if let Ok(socket) = Viewer::open(&nodes[at], &query, &[]).await {
                break socket;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_shows_nobody_as_offline() {
    let Some(mut nodes) = cluster(3).await else { return };
    // Whoever watches is on the node that stays; the two others are restarted in turn.
    let users = ["ann", "bo"];
    let elsewhere: Vec<String> = vec![nodes[1].address().to_owned(), nodes[0].address().to_owned()];
    let (stop, stopped) = watch::channel(false);
    let mut staying = Vec::new();
    for user in users {
        let socket = nodes[1].device(user, "phone").await;
        staying.push(tokio::spawn(stays_on(socket, elsewhere.clone(), user.to_owned(), stopped.clone())));
    }
    let mut watching = watcher(&nodes[0], &users).await;
    for node in [1, 2] {
        let ended = nodes[node].terminate().await;
        assert!(ended.status.success(), "{ended:?}");
        nodes[node].restart().await;
        stands(&nodes[node], "ready").await;
    }
    eventually("both to be back", async || {
        let mut online = true;
        for user in users {
            let shown = nodes[2].user("carol").get(&format!("users/{user}/presence")).await.expect(200);
            online &= shown["status"] == "online";
        }
        online.then_some(())
    })
    .await;
    // Longer than the delay that a draining node asks for, so a late "offline" would have come.
    tokio::time::sleep(Duration::from_secs(8)).await;
    watching.settled().await;
    let said = presences(&mut watching);
    assert!(said.iter().all(|presence| presence["status"] != "offline"), "{said:?}");
    stop.send_replace(true);
    for socket in staying {
        assert_eq!(socket.await.unwrap(), 1, "told to move once");
    }
}

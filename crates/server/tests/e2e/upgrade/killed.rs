//! One of the two processes dies in between: within ten seconds one of them serves, or none is left.

use std::time::Duration;

use serde_json::json;
use testkit::{Viewer, eventually, within};

use super::{Deployment, is_running, signal};

/// The new process, as soon as it is there.
async fn newcomer(old: i32) -> i32 {
    within(Duration::from_secs(20), "the new process", async || {
        let children = std::fs::read_to_string(format!("/proc/{old}/task/{old}/children")).unwrap_or_default();
        let others = std::fs::read_dir(format!("/proc/{old}/task"))
            .ok()?
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        let all: Vec<String> = std::iter::once(children).chain(others).collect();
        all.iter().flat_map(|some| some.split_whitespace()).find_map(|pid| pid.parse().ok())
    })
    .await
}

/// Kills the new process after a while, and again until an upgrade was hit before it was done. The old one serves on, unless
/// the new one had begun to serve; then none is left, and who comes to the next one finds all that was acknowledged.
#[tokio::test]
async fn the_new_process_is_killed_at_many_moments() {
    let mut deployment = Deployment::start().await;
    let mut viewer = deployment.server.viewer("viewer", "lobby").await;
    let mut said = Vec::new();
    for step in 0..14u64 {
        let old = deployment.serving().await;
        let after = Duration::from_millis(step * 90);
        let data = deployment.data().display().to_string();
        let place = ["--data", data.as_str()];
        let asked = deployment.ask(&place);
        let (output, ()) = tokio::join!(asked, async {
            let new = newcomer(old).await;
            tokio::time::sleep(after).await;
            if is_running(old) {
                signal(new, libc::SIGKILL);
            }
        });
        let survivor = eventually("one that serves, or none", async || {
            let pid = std::fs::read_to_string(deployment.data().join("barrage.pid")).ok()?.trim().parse().ok()?;
            if is_running(pid) { Some(Some(pid)) } else { (!is_running(old)).then_some(None) }
        })
        .await;
        println!("after {after:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        if let Some(survivor) = survivor {
            deployment.pids.push(survivor);
            assert_eq!(output.status.success(), survivor != old);
        } else {
            assert!(!output.status.success());
            deployment.restore();
            deployment.server.restart().await;
            let next = deployment.serving().await;
            deployment.pids.push(next);
            viewer = deployment.server.viewer("viewer", "lobby").await;
            assert_eq!(viewer.contents(), said, "what was acknowledged is there");
        }
        let content = format!("after {step}");
        assert_eq!(viewer.comment(&content).await["status"], "accepted", "the socket is open");
        said.push(content);
    }
    viewer.sees(said.last().unwrap()).await;
    assert_eq!(viewer.contents(), said, "once and in order");
}

/// Kills the old process after a while: the new one serves, or none is left.
#[tokio::test]
async fn the_old_process_is_killed_at_many_moments() {
    for step in 0..6u64 {
        let mut deployment = Deployment::start().await;
        let mut viewer = deployment.server.viewer("viewer", "lobby").await;
        let id = viewer.say("acknowledged").await;
        let old = deployment.pids[0];
        let data = deployment.data().display().to_string();
        let place = ["--data", data.as_str()];
        let asked = deployment.ask(&place);
        let (output, new) = tokio::join!(asked, async {
            let new = newcomer(old).await;
            tokio::time::sleep(Duration::from_millis(step * 150)).await;
            signal(old, libc::SIGKILL);
            new
        });
        deployment.pids.push(new);
        println!("after {} ms: {} {}", step * 150, output.status, String::from_utf8_lossy(&output.stderr).trim());
        let address = deployment.server.address().to_owned();
        let serves = within(Duration::from_secs(12), "one that serves, or none", async || {
            if !is_running(new) {
                return Some(false);
            }
            let answered = is_healthy(&address).await;
            answered.then_some(true)
        })
        .await;
        if serves {
            assert_eq!(viewer.comment("goes on").await["status"], "accepted");
        } else {
            deployment.restore();
            deployment.server.restart().await;
            let pid = deployment.serving().await;
            deployment.pids.push(pid);
        }
        let mut reader =
            Viewer::open(deployment.server.address(), &format!("room_id=lobby&history=50&token={}", token()), &[])
                .await
                .unwrap();
        let joined = reader.wait_for("room_joined").await;
        let history = joined["history"].as_array().unwrap();
        assert!(history.iter().any(|comment| comment["id"] == json!(id)), "what was acknowledged is there: {joined}");
    }
}

fn token() -> String {
    testkit::token(&json!({ "sub": "reader", "iat": testkit::now_s() - 5, "exp": testkit::now_s() + 3_600 }))
}

/// Whether a request is answered.
async fn is_healthy(address: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut socket = tokio::net::TcpStream::connect(address).await?;
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    tokio::time::timeout(Duration::from_secs(5), asked).await.is_ok_and(|answered| answered.unwrap_or(false))
}

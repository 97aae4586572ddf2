//! New binaries that fail: the old process serves on, no socket closes, and the command says why in one line.

use super::{Deployment, is_running};

/// A socket that is open still, and can be spoken on.
async fn still_open(viewer: &mut testkit::Viewer) {
    assert_eq!(viewer.comment("still here").await["status"], "accepted");
}

#[tokio::test]
async fn a_binary_that_is_missing_not_executable_or_no_server_changes_nothing() {
    let mut deployment = Deployment::start().await;
    let mut viewer = deployment.server.viewer("viewer", "lobby").await;
    std::fs::remove_file(deployment.path()).unwrap();
    deployment.refused("cannot start").await;
    std::fs::write(deployment.path(), "").unwrap();
    deployment.refused("cannot start").await;
    deployment.replace_by_script("exit 3");
    deployment.refused("ended before it was ready").await;
    deployment.replace_by_script("head -c 100 /dev/zero >&$BARRAGE_UPGRADE_CHANNEL");
    deployment.refused("").await;
    still_open(&mut viewer).await;
    // Another version of the hand-over, and something else that begins like one.
    let hello = |json: &str| {
        format!(
            "printf '\\001\\000\\000\\000\\000\\{:03o}%s' '{json}' >&$BARRAGE_UPGRADE_CHANNEL; exec sleep 60",
            json.len()
        )
    };
    deployment.replace_by_script(&hello(r#"{"magic":"barrage upgrade","version":999}"#));
    deployment.refused("version 999").await;
    deployment.replace_by_script(&hello(r#"{"magic":"something else","version":1}"#));
    deployment.refused("no barrage").await;
    still_open(&mut viewer).await;
    deployment.restore();
    deployment.upgraded().await;
    still_open(&mut viewer).await;
}

#[tokio::test]
async fn a_binary_that_hangs_is_ended_after_ten_seconds() {
    let mut deployment = Deployment::start().await;
    let mut viewer = deployment.server.viewer("viewer", "lobby").await;
    let marker = deployment.directory.path().join("hung");
    deployment.replace_by_script(&format!("echo $$ >{}; exec sleep 600", marker.display()));
    let begun = std::time::Instant::now();
    let speaking = async {
        for _ in 0..20 {
            still_open(&mut viewer).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::join!(deployment.refused("not ready within 10 s"), speaking);
    assert!(begun.elapsed().as_secs() >= 9);
    let hung = std::fs::read_to_string(marker).unwrap().trim().parse().unwrap();
    assert!(!is_running(hung), "it was ended");
}

#[tokio::test]
async fn a_configuration_that_is_wrong_by_now_is_told() {
    let mut deployment = Deployment::start().await;
    let mut viewer = deployment.server.viewer("viewer", "lobby").await;
    let file = deployment.server.dir().join("barrage.toml");
    std::fs::write(&file, "[limits]\nnormal_per_s = \"many\"\n").unwrap();
    deployment.refused("limits.normal_per_s").await;
    still_open(&mut viewer).await;
}

#[tokio::test]
async fn what_fails_after_the_sockets_were_parked_is_taken_back() {
    let mut deployment = Deployment::start().await;
    let mut viewer = deployment.server.viewer("viewer", "lobby").await;
    viewer.say("before").await;
    // The port that the new configuration asks for is taken: the new process notices it after the hand-over.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = deployment.server.dir().join("barrage.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n[doors.irc]\nlisten = \"{}\"\n", taken.local_addr().unwrap())).unwrap();
    for _ in 0..2 {
        deployment.refused("doors.irc.listen").await;
        still_open(&mut viewer).await;
    }
    viewer.sees("still here").await;
    let mut other = deployment.server.viewer("other", "lobby").await;
    other.say("new ones are accepted").await;
    viewer.sees("new ones are accepted").await;
    std::fs::write(&file, good).unwrap();
    deployment.upgraded().await;
    still_open(&mut viewer).await;
    assert_eq!(viewer.contents().iter().filter(|content| **content == "before").count(), 1);
}

#[tokio::test]
async fn a_foreign_process_is_refused_and_left_alone() {
    let mut foreign = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let deployment = Deployment::start().await;
    let pid = foreign.id().unwrap();
    let output = deployment.ask(&["--pid", &pid.to_string()]).await;
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(line.contains("no barrage server") && line.trim_end().lines().count() == 1, "{line}");
    assert!(foreign.try_wait().unwrap().is_none(), "it runs on");
    let nowhere = deployment.ask(&["--data", &deployment.directory.path().display().to_string()]).await;
    assert_eq!(nowhere.status.code(), Some(1));
    // A directory that names a process which is somebody else's by now.
    let stale = tempfile::tempdir().unwrap();
    std::fs::write(stale.path().join("barrage.pid"), format!("{pid}\n")).unwrap();
    let output = deployment.ask(&["--data", &stale.path().display().to_string()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(foreign.try_wait().unwrap().is_none(), "it runs on");
}

#[tokio::test]
async fn a_second_request_waits_for_nobody() {
    let mut deployment = Deployment::start().await;
    deployment.replace_by_script("exec sleep 600");
    let data = deployment.data().display().to_string();
    let place = ["--data", data.as_str()];
    let (first, second) = tokio::join!(deployment.ask(&place), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let one = deployment.ask(&place);
        let another = deployment.ask(&place);
        tokio::join!(one, another)
    });
    assert_eq!(first.status.code(), Some(1));
    assert_eq!((second.0.status.code(), second.1.status.code()), (Some(1), Some(1)));
    deployment.restore();
    deployment.upgraded().await;
}

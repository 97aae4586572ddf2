//! Commands for operators: doctor, plan, backup, admin, completions, man.

use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::{ADMIN_KEY, Options, Server};

use crate::{BIN, fast_server};

fn run(args: &[&str]) -> Output {
    Command::new(BIN).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `barrage admin … --json` against this server.
fn admin(server: &Server, args: &[&str]) -> Value {
    let url = server.url();
    let mut command = Command::new(BIN);
    command.args(["admin", "--url", &url, "--json"]).args(args).env("BARRAGE__AUTH__ADMIN_KEY", ADMIN_KEY);
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{args:?}: {}", err(&ran));
    serde_json::from_str(&out(&ran)).unwrap()
}

#[test]
fn doctor_names_each_check_and_fails_when_the_port_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (file, data) = (dir.path().join("b.toml"), dir.path().join("data"));
    let config = format!("[server]\nlisten = \"{}\"\ndata = {data:?}\n", taken.local_addr().unwrap());
    std::fs::write(&file, config).unwrap();
    let doctor = || run(&["doctor", "--json", "--config", file.to_str().unwrap()]);
    let checks = |ran: &Output| serde_json::from_str::<Value>(&out(ran)).unwrap()["checks"].clone();
    let status = |checks: &Value, name: &str| {
        let found = checks.as_array().unwrap().iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check {name}: {checks}"))["status"].as_str().unwrap().to_owned()
    };

    let sick = doctor();
    assert_eq!(sick.status.code(), Some(1));
    let found = checks(&sick);
    assert_eq!(status(&found, "port"), "fail");
    for name in ["redis", "mysql", "kafka", "certificate"] {
        assert_eq!(status(&found, name), "skip", "{name}");
    }
    for name in ["open_files", "somaxconn", "clock", "disk", "data", "object_store", "versions"] {
        assert_ne!(status(&found, name), "fail", "{name}: {found}");
    }
    drop(taken);
    let well = doctor();
    assert_eq!((well.status.code(), status(&checks(&well), "port")), (Some(0), "ok".into()));

    let broken = run(&["doctor", "--config", "/nowhere/b.toml"]);
    assert_eq!((broken.status.code(), err(&broken).lines().count()), (Some(1), 1), "{}", err(&broken));
}

#[test]
fn each_line_of_a_plan_follows_from_its_formula_and_bad_input_names_its_flag() {
    let flags = ["--viewers", "1e6", "--comments-per-s", "1e5", "--rooms", "1000", "--messages-per-day", "1e7"];
    let ran = run(&[&["plan", "--retention-days", "90", "--json"][..], &flags].concat());
    assert!(ran.status.success(), "{}", err(&ran));
    let plan: Value = serde_json::from_str(&out(&ran)).unwrap();
    assert_eq!(plan["inputs"]["viewers"], 1e6);
    for name in
        ["gateway_nodes", "socket_memory_bytes", "bandwidth_bits_per_s", "kafka_brokers", "redis_shards", "cost"]
    {
        let line = plan["lines"].as_array().unwrap().iter().find(|line| line["name"] == name);
        assert!(line.is_some_and(|line| line["value"].as_f64().unwrap() > 0.0), "{name}: {line:?}");
    }
    // 100 comments a second in each room, 1,000 viewers in each.
    let deliveries = plan["lines"].as_array().unwrap().iter().find(|line| line["name"] == "deliveries_per_s").unwrap();
    assert_eq!(
        (&deliveries["value"], &deliveries["formula"]),
        (&json!(1e8), &json!("viewers * delivered_per_viewer_s"))
    );
    for (flag, value) in [("--viewers", "-1"), ("--rooms", "0"), ("--comments-per-s", "NaN"), ("--viewers", "")] {
        let mut args = vec!["plan", "--retention-days", "90"];
        let replaced = flags.chunks(2).flat_map(|pair| [pair[0], if pair[0] == flag { value } else { pair[1] }]);
        args.extend(replaced);
        let refused = run(&args);
        assert!(!refused.status.success() && err(&refused).contains(flag), "{flag} {value}: {}", err(&refused));
    }
}

#[tokio::test]
async fn a_backup_is_the_database_of_one_moment_and_serves_when_restored() {
    let server = fast_server().await;
    let alice = server.user("alice");
    let before = alice.say("lobby", "before the backup").await;
    let file = server.dir().join("copy.sqlite");
    let made = server.command(&["backup", file.to_str().unwrap()]).await;
    assert!(made.status.success(), "{}", err(&made));
    alice.say("lobby", "after it").await;
    let again = server.command(&["backup", file.to_str().unwrap()]).await;
    assert!(!again.status.success() && err(&again).contains("exists"), "{}", err(&again));

    let mut restored = Options::new(BIN).start().await;
    restored.kill9().await;
    let data = restored.dir().join("data");
    for name in ["barrage.sqlite-wal", "barrage.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    std::fs::copy(&file, data.join("barrage.sqlite")).unwrap();
    restored.restart().await;
    let comments = restored.user("bo").get("rooms/lobby/comments").await.expect(200);
    let ids: Vec<_> = comments["comments"].as_array().unwrap().iter().map(|comment| comment["id"].clone()).collect();
    assert_eq!(ids, [json!(before)], "what was said later is not in it");
}

#[tokio::test]
async fn admin_lists_bans_kicks_and_announces() {
    let server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    alice.say("hello").await;
    assert_eq!(admin(&server, &["rooms"])["rooms"][0]["room_id"], "lobby");
    assert_eq!(admin(&server, &["sessions", "lobby"])["sessions"][0]["comment_count"], 1);

    admin(&server, &["announce", "lobby", "in five minutes"]);
    alice.event("announcement").await;
    admin(&server, &["kick", "alice"]);
    assert_eq!(alice.wait_close().await, (4003, "kicked".into()));
    let mut alice = server.viewer("alice", "lobby").await;
    alice.say("a kick is no ban").await;

    admin(&server, &["ban", "alice", "--duration-s", "60"]);
    assert_eq!(alice.wait_close().await.0, 4003);
    assert_eq!(admin(&server, &["bans"])["bans"][0]["user_id"], "alice");
    server.user("bo").post("admin/users/alice/kick", json!({})).await.fails(403, "forbidden");
    server.user("bo").post("admin/drain", json!({})).await.fails(403, "forbidden");
}

#[tokio::test]
async fn admin_drains_a_server_as_sigterm_does() {
    let mut server = fast_server().await;
    let mut alice = server.viewer("alice", "lobby").await;
    let begun = tokio::time::Instant::now();
    admin(&server, &["drain"]);
    assert_eq!(alice.wait_close().await.0, 1012);
    assert_eq!(server.ended(begun).await.status.code(), Some(0));
}

#[test]
fn completions_and_the_manual_page_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&run(&["completions", shell]));
        assert!(script.contains("check-config") && script.contains("doctor"), "{shell}");
    }
    let page = out(&run(&["man"]));
    for command in ["serve", "plan", "backup", "admin", "completions"] {
        assert!(page.to_lowercase().contains(command), "{command}");
    }
}

//! The command line: every command as an operator types it.

use std::process::{Command, Output};

use serde_json::json;
use testkit::{SECRET, eventually, xml};

use crate::{BIN, fast_server};

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(BIN).args(args).envs(env.iter().copied()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version() {
    let help = run(&["--help"], &[]);
    assert!(help.status.success());
    for command in ["serve", "token", "import", "play", "check-config", "default-config"] {
        assert!(out(&help).contains(command), "{}", out(&help));
        let help = run(&[command, "--help"], &[]);
        assert!(help.status.success() && !out(&help).is_empty(), "{command}");
    }
    let version = run(&["--version"], &[]);
    assert!(version.status.success());
    assert!(out(&version).contains(env!("CARGO_PKG_VERSION")), "{}", out(&version));
    assert!(!run(&["dance"], &[]).status.success());
}

#[test]
fn the_default_configuration_is_printed_with_comments_and_is_valid() {
    let printed = run(&["default-config"], &[]);
    assert!(printed.status.success());
    let text = out(&printed);
    for part in ["[server]", "[auth]", "[limits]", "[rooms]", "[sockets]", "# ", "127.0.0.1:8080"] {
        assert!(text.contains(part), "{part}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.toml");
    std::fs::write(&file, text).unwrap();
    let checked = run(&["check-config", file.to_str().unwrap()], &[]);
    assert!(checked.status.success(), "{}", err(&checked));
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_with_its_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.toml");
    for (text, line, key) in [
        ("[server]\nlistn = \"x\"\n", ":2", "server.listn"),
        ("# first\n\n[sockets]\nheartbeat_s = \"30s\"\n", ":4", "sockets.heartbeat_s"),
        ("[limits]\nnormal_per_s = 1\nroom_per_s = 0\n", ":3", "limits.room_per_s"),
        ("[rooms]\nhistory_default = 90\nhistory_max = 50\n", ":2", "rooms.history_default"),
        ("[server]\nlisten = \n", ":2", ""),
    ] {
        std::fs::write(&file, text).unwrap();
        let checked = run(&["check-config", file.to_str().unwrap()], &[]);
        let said = err(&checked) + &out(&checked);
        assert_eq!(checked.status.code(), Some(1), "{text}: {said}");
        assert!(said.contains(&format!("b.toml{line}")) && said.contains(key), "{text}: {said}");
        let served = run(&["serve", "--config", file.to_str().unwrap(), "--data", dir.path().to_str().unwrap()], &[]);
        assert!(!served.status.success() && err(&served).contains(key), "serve refuses it too: {}", err(&served));
    }
    let missing = run(&["check-config", "/nowhere/b.toml"], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("/nowhere/b.toml"), "{}", err(&missing));
}

#[test]
fn an_unknown_variable_of_ours_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for (name, value, expected) in [
        ("BARRAGE__LIMITS__NORMAL_PER_SS", "1", "limits.normal_per_ss"),
        ("BARRAGE__NOWHERE__KEY", "1", "nowhere"),
        ("BARRAGE__LIMITS__NORMAL_PER_S", "fast", "limits.normal_per_s"),
        ("BARRAGE__AUTH__HMAC_SECRET", "short", "auth.hmac_secret"),
    ] {
        let served = run(&["serve", "--data", data, "--listen", "127.0.0.1:0"], &[(name, value)]);
        assert!(!served.status.success(), "{name}");
        assert!(err(&served).contains(name) && err(&served).contains(expected), "{name}: {}", err(&served));
        assert!(
            !err(&served).contains("short") || name != "BARRAGE__AUTH__HMAC_SECRET",
            "a secret is not printed: {}",
            err(&served)
        );
    }
}

#[test]
fn a_development_server_does_not_listen_to_the_world() {
    let dir = tempfile::tempdir().unwrap();
    let served = run(&["serve", "--dev", "--listen", "0.0.0.0:0", "--data", dir.path().to_str().unwrap()], &[]);
    assert!(!served.status.success());
    assert!(err(&served).contains("loopback"), "{}", err(&served));
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let server = fast_server().await;
    let data = server.dir().join("data");
    let second = run(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()], &[]);
    assert!(!second.status.success() && !err(&second).is_empty(), "{}", out(&second));
    server.user("alice").say("lobby", "the first goes on").await;
}

#[tokio::test]
async fn a_token_is_the_last_line_and_says_what_was_asked_for() {
    let server = fast_server().await;
    let made = server
        .command(&[
            "token",
            "--user",
            "alice",
            "--name",
            "Alice",
            "--level",
            "moderator",
            "--room",
            "lobby",
            "--room",
            "attic",
            "--ttl",
            "1h",
        ])
        .await;
    assert!(made.status.success(), "{}", err(&made));
    let text = out(&made);
    let token = text.lines().last().unwrap();
    let alice = server.bearing(token);
    alice.say("lobby", "hi").await;
    alice.comment("cellar", "hi").await.fails(403, "forbidden");
    alice.put("admin/rooms/attic", json!({ "name": "Attic" })).await.is(200);
    let seen = alice.get("rooms/lobby/comments?since_id=0").await.expect(200);
    assert_eq!(
        (&seen["comments"][0]["username"], &seen["comments"][0]["level"]),
        (&json!("Alice"), &json!("moderator"))
    );
    for args in [["--user", "a b"], ["--level", "king"], ["--ttl", "soon"]] {
        let args = [&["token", "--user", "alice"][..if args[0] == "--user" { 1 } else { 3 }], &args].concat();
        assert!(!server.command(&args).await.status.success(), "{args:?}");
    }
}

#[tokio::test]
async fn without_configuration_a_secret_is_made_once_and_shared_with_the_token_command() {
    let options = testkit::Options::new(BIN).env("BARRAGE__AUTH__HMAC_SECRET", "");
    let mut server = options.start().await;
    let data = server.dir().join("data");
    let token = || {
        let made = run(&["token", "--user", "alice", "--data", data.to_str().unwrap()], &[]);
        assert!(made.status.success(), "{}", err(&made));
        out(&made).lines().last().unwrap().to_owned()
    };
    let first = token();
    server.bearing(&first).say("lobby", "hi").await;
    server.restart().await;
    server.bearing(&first).get("rooms/lobby").await.is(200);
    server.bearing(&token()).get("rooms/lobby").await.is(200);
    server.user("alice").get("rooms/lobby").await.fails(401, "unauthorized");
    assert_ne!(std::fs::read_to_string(data.join("secret")).unwrap().trim(), SECRET);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(data.join("secret")).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "nobody else reads the secret: {mode:o}");
}

#[tokio::test]
async fn recorded_comments_are_imported_into_a_replay() {
    let server = fast_server().await;
    let file = server.dir().join("film.xml");
    let comments = [(1.5, "aaa", "第一"), (0.25, "bbb", "zero < one & two"), (61.0, "aaa", "last")];
    std::fs::write(&file, xml(&comments)).unwrap();
    let url = server.url();
    let done = server.command(&["import", file.to_str().unwrap(), "--room", "film", "--server", &url]).await;
    assert!(done.status.success(), "{}", err(&done));
    assert!(out(&done).contains("imported 3"), "{}", out(&done));
    let replay = server.user("bob").get("rooms/film/replay").await.expect(200);
    let told: Vec<_> = replay["comments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["offset_ms"].as_i64().unwrap(), c["content"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(250, "zero < one & two"), (1_500, "第一"), (61_000, "last")]);
    assert_eq!(replay["comments"][1]["user_id"], replay["comments"][2]["user_id"], "one sender stays one");
    assert_ne!(replay["comments"][0]["user_id"], replay["comments"][1]["user_id"]);

    std::fs::write(&file, "<i><d p=\"broken").unwrap();
    let failed = server.command(&["import", file.to_str().unwrap(), "--room", "film", "--server", &url]).await;
    assert!(!failed.status.success() && err(&failed).contains("film.xml"), "{}", err(&failed));
}

#[tokio::test]
async fn recorded_comments_are_played_as_live_clients() {
    let server = fast_server().await;
    server.admin().put("admin/words", json!({ "mask": ["rude"], "block": ["never"] })).await.is(200);
    let mut bob = server.viewer("bob", "film").await;
    let file = server.dir().join("film.xml");
    let comments =
        [(0.0, "aaa", "first of all"), (5.0, "bbb", "how rude"), (10.0, "ccc", "never ever"), (20.0, "aaa", "the end")];
    std::fs::write(&file, xml(&comments)).unwrap();
    let url = server.url();
    let done =
        server.command(&["play", file.to_str().unwrap(), "--room", "film", "--speed", "10", "--server", &url]).await;
    assert!(done.status.success(), "{}", err(&done));
    bob.sees("the end").await;
    assert_eq!(bob.contents(), ["first of all", "how ****", "the end"]);
    assert_eq!(bob.given[0]["user_id"], bob.given[2]["user_id"]);
    let figures = |name: &str| {
        let text = out(&done);
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap_or_else(|| panic!("no {name}: {text}"))
            .to_owned();
        line.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap()
    };
    assert_eq!(
        (figures("sent"), figures("accepted"), figures("refused: content_blocked"), figures("delivered")),
        (4, 3, 1, 3)
    );
}

#[tokio::test]
async fn start_up_prints_the_address_the_mode_and_where_the_pages_are() {
    for (dev, mode) in [(false, "alone"), (true, "development")] {
        let options = testkit::Options::new(BIN);
        let server = if dev { options.dev() } else { options }.start().await;
        let told = eventually("what start-up prints", async || {
            Some(server.log()).filter(|log| log.contains("/api/openapi.json"))
        })
        .await;
        for part in [mode, &server.url(), "/rooms/", "/admin"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}

#[test]
fn roles_are_all_of_them_in_this_shape() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for roles in ["gateway", "king"] {
        let served = run(&["serve", "--roles", roles, "--data", data, "--listen", "127.0.0.1:0"], &[]);
        assert!(!served.status.success() && !err(&served).is_empty(), "{roles}");
    }
}

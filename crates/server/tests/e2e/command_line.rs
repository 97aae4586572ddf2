//! The command line: every command as an operator types it.

use std::process::{Command, Output, Stdio};

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
    for command in ["serve", "token", "import", "export", "play", "check-config", "default-config"] {
        assert!(out(&help).contains(command), "{}", out(&help));
        let help = run(&[command, "--help"], &[]);
        assert!(help.status.success() && !out(&help).is_empty(), "{command}");
    }
    let version = run(&["--version"], &[]);
    assert!(version.status.success());
    assert!(out(&version).contains(env!("CARGO_PKG_VERSION")), "{}", out(&version));
    assert!(!run(&["dance"], &[]).status.success());
}

/// As `barrage … | head -1` does: the reader leaves before everything is printed.
#[test]
fn a_reader_that_leaves_ends_a_command_without_a_panic() {
    for args in [&["default-config"][..], &["completions", "bash"], &["man"]] {
        let mut child = Command::new(BIN).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(!err(&output).contains("panicked"), "{args:?}: {}", err(&output));
    }
}

#[test]
fn a_value_out_of_its_range_is_refused_in_one_line() {
    let base = ["--comments-per-s", "1", "--rooms", "1", "--messages-per-day", "1", "--retention-days", "1"];
    for wrong in ["-1", "nan", "inf", "1e13", ""] {
        let output = run(&[&["plan", "--viewers", wrong][..], &base].concat(), &[]);
        assert!(!output.status.success(), "{wrong:?}");
        assert_eq!(err(&output).trim_end().lines().count(), 1, "{}", err(&output));
        assert!(err(&output).contains("--viewers"), "{}", err(&output));
    }
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
        ("[limits]\nmessage_bytes_max = 2048\ncomment_chars_max = 1000\n", ":2", "limits.message_bytes_max"),
        ("[limits]\nbody_bytes_max = 4096\ncomment_chars_max = 400\n", ":2", "limits.body_bytes_max"),
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
async fn a_dirty_file_comes_in_and_what_was_left_out_is_named() {
    let server = fast_server().await;
    let file = server.dir().join("dirty.xml");
    let text = "<i>\n<d p=\"1,1,25,0\">A&B 1 < 2</d>\n<d p=\"2,8,25,0\">code()</d>\n<d p=\"3,1,25,-65536\">red</d>\n<d p=\"4,1,25,0\">cut o";
    std::fs::write(&file, text).unwrap();
    let (url, file) = (server.url(), file.to_str().unwrap().to_owned());
    let tried = server.command(&["import", &file, "--room", "film", "--dry-run"]).await;
    assert!(tried.status.success(), "{}", err(&tried));
    let said = out(&tried);
    assert!(said.ends_with("2 comments would come in, 2 would be skipped; nothing was written\n"), "{said}");
    for line in [
        "  1 × it is a program (mode 8 or 9): line 3 (byte 34)\n",
        "  1 × the file ends inside it: line 5 (byte 90)\n",
        "  1 × a raw & or < was taken as text: line 2 (byte 4)\n",
        "  1 × the colour was in another form: line 4 (byte 61)\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    assert_eq!(server.user("bob").get("rooms/film/sessions").await.expect(200)["sessions"], json!([]));

    let done = server.command(&["import", &file, "--room", "film", "--server", &url]).await;
    let last = out(&done).lines().last().unwrap().to_owned();
    assert!(last.starts_with("imported 2 comments, skipped 2, into room film as session "), "{last}");
    let replay = server.user("bob").get("rooms/film/replay").await.expect(200);
    let told: Vec<_> = replay["comments"].as_array().unwrap().iter().map(|c| c["content"].as_str().unwrap()).collect();
    assert_eq!(told, ["A&B 1 < 2", "red"]);
    assert_eq!(replay["comments"][1]["style"]["color"], "#FF0000");
}

#[tokio::test]
async fn a_file_of_several_parts_is_one_session_that_has_ended() {
    let server = fast_server().await;
    let file = server.dir().join("long.xml");
    let comments: Vec<_> = (0..=5_000).map(|n| (f64::from(n), "aaa", "again")).collect();
    std::fs::write(&file, xml(&comments)).unwrap();
    let url = server.url();
    let done = server.command(&["import", file.to_str().unwrap(), "--room", "film", "--server", &url]).await;
    assert!(out(&done).contains("imported 5001 comments, skipped 0"), "{}{}", out(&done), err(&done));
    let sessions = server.user("bob").get("rooms/film/sessions").await.expect(200);
    let [session] = sessions["sessions"].as_array().unwrap().as_slice() else { panic!("{sessions}") };
    assert_eq!((&session["comment_count"], &session["duration_s"]), (&json!(5_001), &json!(5_000)));
    let ended: jiff::Timestamp = session["ended_at"].as_str().unwrap().parse().unwrap();
    assert!(ended <= jiff::Timestamp::now(), "{session}");
}

#[tokio::test]
async fn a_recording_is_exported_and_comes_back() {
    let server = fast_server().await;
    let url = server.url();
    let import = |file: String, room: &'static str| {
        let (server, url) = (&server, &url);
        async move {
            let done = server.command(&["import", &file, "--room", room, "--server", url]).await;
            assert!(done.status.success(), "{}", err(&done));
            let last = out(&done).lines().last().unwrap().to_owned();
            last.split("as session ").nth(1).unwrap().to_owned()
        }
    };
    let told = |room: &'static str| {
        let reader = server.user("bob");
        async move {
            let replay = reader.get(&format!("rooms/{room}/replay?limit=1000")).await.expect(200);
            let told = |c: &serde_json::Value| (c["offset_ms"].clone(), c["content"].clone(), c["username"].clone());
            replay["comments"].as_array().unwrap().iter().map(told).collect::<Vec<_>>()
        }
    };
    let file = server.dir().join("film.xml");
    let comments: Vec<_> = (0..1_200).map(|n| (f64::from(n) / 2.0, "aaa", "a \"quoted\" <b>, & 好")).collect();
    std::fs::write(&file, xml(&comments)).unwrap();
    let session = import(file.to_str().unwrap().to_owned(), "film").await;
    let expected = told("film").await;
    assert_eq!(expected.len(), 1_000, "a page");
    for (format, room) in
        [("xml", "x"), ("jsonl", "j"), ("csv", "c"), ("dandanplay", "d"), ("dplayer", "p"), ("ass", "")]
    {
        let args = ["export", "--room", "film", "--session", &session, "--format", format, "--server", &url];
        let written = server.command(&args).await;
        assert!(written.status.success(), "{}", err(&written));
        assert!(err(&written).contains("1200 comments"), "{}", err(&written));
        if format == "ass" {
            assert_eq!(out(&written).matches("Dialogue: ").count(), 1_200);
            continue;
        }
        let copy = server.dir().join(format!("copy.{format}"));
        std::fs::write(&copy, &written.stdout).unwrap();
        import(copy.to_str().unwrap().to_owned(), room).await;
        assert_eq!(told(room).await, expected, "{format}");
    }
    let none =
        server.command(&["export", "--room", "film", "--session", "12345", "--format", "xml", "--server", &url]).await;
    assert!(!none.status.success() && err(&none).contains("no such session"), "{}", err(&none));
}

#[tokio::test]
async fn other_files_are_named_for_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("film.ass");
    std::fs::write(&file, "[Script Info]\nTitle: x\n").unwrap();
    let refused = run(&["import", file.to_str().unwrap(), "--room", "r"], &[]);
    assert!(!refused.status.success());
    assert!(err(&refused).contains("film.ass"), "{}", err(&refused));
    assert!(err(&refused).contains("this is ASS subtitles, which import does not read yet"), "{}", err(&refused));
    let played = run(&["play", file.to_str().unwrap(), "--room", "r"], &[]);
    assert!(!played.status.success() && err(&played).contains("ASS"), "{}", err(&played));
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

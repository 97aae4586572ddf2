//! `barrage bench` against servers that it starts itself.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// Runs a scenario with a few sockets and returns its report, one run for each target.
fn bench(dir: &Path, args: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_barrage"));
    command.arg("bench").args(args).args(["--preset", "smoke", "--warm-up", "0.5", "--out"]).arg(dir);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap();
    report["runs"].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn every_delivery_of_a_room_is_counted_on_the_server_and_on_the_floor() {
    let dir = tempfile::tempdir().unwrap();
    let runs = bench(dir.path(), &["room", "--floor", "message,20"]);
    assert_eq!(runs.len(), 3);
    for run in runs {
        let round = &run["round"];
        assert_eq!((number(&round["offered"]), number(&round["expected"])), (20.0, 1_000.0), "{run}");
        assert_eq!((number(&round["arrived_share"]), number(&round["lost"])), (1.0, 0.0), "{run}");
        assert_eq!(number(&round["delivery"]["count"]), 1_000.0);
        assert_eq!(number(&round["last_socket"]["count"]), 20.0);
        assert!(number(&round["last_socket"]["p50_ms"]) >= number(&round["delivery"]["p50_ms"]));
        assert!(number(&round["server"]["us_per_delivery"]) > 0.0);
    }
    assert!(std::fs::read_to_string(dir.path().join("report.html")).unwrap().contains("<svg"));
}

#[test]
fn every_form_of_a_room_is_read() {
    for protocol in ["json", "proto", "bin"] {
        let dir = tempfile::tempdir().unwrap();
        let runs = bench(dir.path(), &["room", "--protocol", protocol, "--floor", "20", "--heartbeat", "1"]);
        let compressed = bench(dir.path(), &["room", "--protocol", protocol, "--deflate", "--payload", "600"]);
        for run in runs.iter().chain(&compressed) {
            let round = &run["round"];
            assert_eq!((number(&round["arrived_share"]), number(&round["lost"])), (1.0, 0.0), "{protocol}: {run}");
            assert_eq!(number(&round["delivery"]["count"]), 1_000.0, "{protocol}: {run}");
        }
        // Six hundred bytes of text, which are less once compressed.
        let bytes = number(&compressed.first().unwrap()["round"]["bytes_per_delivery"]);
        assert!(bytes < 600.0, "{protocol}: {bytes}");
    }
}

#[test]
fn several_generators_count_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let runs = bench(dir.path(), &["room", "--generators", "3"]);
    let round = &runs.first().unwrap()["round"];
    assert_eq!((number(&round["expected"]), number(&round["arrived_share"])), (1_000.0, 1.0), "{round}");
    assert_eq!((number(&round["delivery"]["count"]), number(&round["last_socket"]["count"])), (1_000.0, 20.0));
    assert_eq!(number(&round["lost"]), 0.0);
}

#[test]
fn cut_sockets_come_back_and_miss_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runs = bench(dir.path(), &["reconnect", "--seconds", "2"]);
    let run = runs.first().unwrap();
    assert_eq!(number(&run["back"]["sockets"]), 50.0);
    assert_eq!((number(&run["round"]["arrived_share"]), number(&run["round"]["lost"])), (1.0, 0.0), "{run}");
}

#[test]
fn senders_are_answered_as_fast_as_it_goes() {
    for protocol in ["json", "proto", "bin"] {
        let dir = tempfile::tempdir().unwrap();
        let load = ["publish", "--sockets", "0", "--rate", "0", "--in-flight", "16", "--protocol", protocol];
        let runs = bench(dir.path(), &load);
        let round = &runs.first().unwrap()["round"];
        assert!(number(&round["accepted_per_s"]) > 10.0, "{protocol}: {round}");
        assert_eq!(number(&round["total"]["refused"]), 0.0, "{protocol}");
        assert_eq!(number(&round["total"]["accepted"]), number(&round["total"]["sent"]), "{protocol}");
    }
}

/// The least of goim: packets over TCP for those who read, an HTTP push for what is published.
struct Goim {
    sockets: TcpListener,
    pushes: TcpListener,
    readers: Arc<Mutex<Vec<TcpStream>>>,
}

impl Goim {
    fn start() -> (String, String) {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let goim = Self { sockets: listen(), pushes: listen(), readers: Arc::default() };
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let urls = (url(&goim.sockets), url(&goim.pushes));
        let Self { sockets, pushes, readers } = goim;
        let room = readers.clone();
        thread::spawn(move || sockets.incoming().for_each(|socket| Self::let_in(socket.unwrap(), &room)));
        thread::spawn(move || {
            for client in pushes.incoming().map(Result::unwrap) {
                let readers = readers.clone();
                thread::spawn(move || Self::push(client, &readers));
            }
        });
        urls
    }

    /// Operation 7 is answered by operation 8.
    fn let_in(mut socket: TcpStream, room: &Mutex<Vec<TcpStream>>) {
        let mut header = [0; 16];
        socket.read_exact(&mut header).unwrap();
        assert_eq!(header[8..12], [0, 0, 0, 7]);
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 16];
        socket.read_exact(&mut body).unwrap();
        let who: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(who["room_id"], "live://bench-0");
        socket.write_all(&packet(8, b"")).unwrap();
        room.lock().unwrap().push(socket);
    }

    fn push(client: TcpStream, room: &Mutex<Vec<TcpStream>>) {
        let mut lines = BufReader::new(client.try_clone().unwrap());
        let mut client = client;
        let mut head = String::new();
        while lines.read_line(&mut head).is_ok_and(|read| read > 0) {
            if !head.ends_with("\r\n\r\n") {
                continue;
            }
            assert!(head.starts_with("POST /goim/push/room?operation=1000&type=live&room=bench-0 HTTP/1.1\r\n"));
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            lines.read_exact(&mut body).unwrap();
            for reader in room.lock().unwrap().iter_mut() {
                reader.write_all(&packet(1_000, &body)).unwrap();
            }
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"code\":0}").unwrap();
            head.clear();
        }
    }
}

fn packet(operation: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    packet[..4].copy_from_slice(&u32::try_from(16 + body.len()).unwrap().to_be_bytes());
    packet[10..12].copy_from_slice(&operation.to_be_bytes());
    packet.extend(body);
    packet
}

#[test]
fn a_server_that_speaks_goims_packets_is_driven_like_our_own() {
    let dir = tempfile::tempdir().unwrap();
    let (sockets, pushes) = Goim::start();
    let runs = bench(dir.path(), &["room", "--adapter", "goim-tcp", "--server", &sockets, "--publish-to", &pushes]);
    let round = &runs.first().unwrap()["round"];
    assert_eq!((number(&round["offered"]), number(&round["arrived_share"])), (20.0, 1.0), "{round}");
    assert_eq!(number(&round["answer"]["count"]), 20.0);
}

#[test]
fn sockets_with_tls_come_back_and_miss_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runs = bench(dir.path(), &["reconnect", "--seconds", "2", "--tls", "resumed"]);
    let run = runs.first().unwrap();
    assert_eq!(number(&run["back"]["sockets"]), 50.0);
    assert_eq!((number(&run["round"]["arrived_share"]), number(&run["round"]["lost"])), (1.0, 0.0), "{run}");
}

#[test]
fn bandwidth_is_told_for_every_form_and_every_compact_form_is_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let texts: Vec<String> = (0..300).map(|n| format!("comment number {n}")).collect();
    let said: Vec<_> = texts.iter().map(|text| (1.0, "5fd1", text.as_str())).collect();
    let file = dir.path().join("recorded.xml");
    std::fs::write(&file, testkit::xml(&said)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_barrage"));
    let output = command.args(["bench", "bandwidth"]).arg(&file).arg("--out").arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Value = serde_json::from_slice(&std::fs::read(dir.path().join("bandwidth.json")).unwrap()).unwrap();
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 18);
    for line in lines.iter().filter(|line| line["batch"] == 100 && line["protocol"] != "barrage.v1.json") {
        assert!(number(&line["share_of_json"]) < 0.4, "{line}");
    }
}

#[test]
fn a_calibration_has_figures_that_the_plan_takes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("here.json");
    let begun = std::time::Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_barrage"))
        .args(["bench", "--calibrate", "--out"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Each run is bounded, but a machine that does much else is slow to start four servers.
    assert!(begun.elapsed() < std::time::Duration::from_secs(90), "{:?}", begun.elapsed());
    let calibration: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let measured = calibration["measured"].as_object().unwrap();
    assert!(measured.len() >= 5, "{calibration}");
    let plan = Command::new(env!("CARGO_BIN_EXE_barrage"))
        .args(["plan", "--json", "--viewers", "1000", "--comments-per-s", "10", "--rooms", "1"])
        .args(["--messages-per-day", "0", "--retention-days", "1", "--calibration"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(plan.status.success(), "{}", String::from_utf8_lossy(&plan.stderr));
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    for (name, figure) in measured {
        assert!(number(&figure["value"]) > 0.0 && figure["unit"].is_string(), "{name}: {figure}");
        assert_eq!(plan["measured"][name]["value"], figure["value"], "{name}");
        assert_eq!(plan["measured"][name]["unit"], figure["unit"], "{name}");
    }
}

#[test]
#[cfg(feature = "quic")]
fn transports_are_compared_in_one_run() {
    for protocol in ["json", "proto"] {
        let dir = tempfile::tempdir().unwrap();
        let all = ["room", "--transport", "ws,wss,wt,wt-datagrams", "--protocol", protocol, "--heartbeat", "1"];
        let runs = bench(dir.path(), &all);
        assert_eq!(runs.len(), 4);
        for run in runs {
            let round = &run["round"];
            assert_eq!((number(&round["arrived_share"]), number(&round["lost"])), (1.0, 0.0), "{protocol}: {run}");
            assert_eq!(number(&round["delivery"]["count"]), 1_000.0, "{protocol}: {run}");
            assert!(number(&run["opened"]["us_per_handshake"]) > 0.0, "{run}");
        }
    }
}

#[test]
#[cfg(feature = "quic")]
fn senders_publish_over_every_transport() {
    let dir = tempfile::tempdir().unwrap();
    let load = ["publish", "--sockets", "0", "--rate", "0", "--in-flight", "16", "--transport", "wss,wt"];
    for run in bench(dir.path(), &load) {
        let total = &run["round"]["total"];
        assert!(number(&total["accepted"]) > 0.0, "{run}");
        assert_eq!(number(&total["accepted"]), number(&total["sent"]), "{run}");
    }
}

#[test]
#[cfg(feature = "quic")]
fn sockets_that_move_go_on_or_come_back_and_miss_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let moves = ["reconnect", "--seconds", "2", "--transport", "wss,wt", "--move-to", "127.0.9.9"];
    let runs = bench(dir.path(), &moves);
    for run in &runs {
        assert_eq!((number(&run["round"]["arrived_share"]), number(&run["round"]["lost"])), (1.0, 0.0), "{run}");
        assert_eq!(number(&run["round"]["resumed"]["count"]), 50.0, "{run}");
    }
    // A WebSocket connects anew; a session goes on.
    let anew: Vec<_> = runs.iter().map(|run| number(&run["back"]["sockets"])).collect();
    assert_eq!(anew, [50.0, 0.0]);
}

#[test]
fn flags_that_contradict_a_transport_are_refused() {
    for (args, why) in [
        (&["room", "--transport", "wt", "--protocol", "bin"][..], "json or proto"),
        (&["room", "--transport", "wt", "--slow", "5"], "no slow sockets"),
        (&["room", "--transport", "wt", "--deflate"], "no --deflate"),
        (&["room", "--transport", "wt", "--adapter", "ws", "--server", "http://127.0.0.1:1"], "no --adapter"),
        (&["room", "--transport", "wt", "--secret", "s", "--server", "http://127.0.0.1:1"], "https://"),
        (&["room", "--move-to", "127.0.0.9"], "reconnect"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_barrage"));
        let output = command.arg("bench").args(args).args(["--preset", "smoke"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{args:?}: {said}");
    }
}

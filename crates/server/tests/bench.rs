//! `barrage bench` against servers that it starts itself.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

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
fn cut_sockets_come_back_and_miss_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runs = bench(dir.path(), &["reconnect", "--seconds", "2"]);
    let run = runs.first().unwrap();
    assert_eq!(number(&run["back"]["sockets"]), 50.0);
    assert_eq!((number(&run["round"]["arrived_share"]), number(&run["round"]["lost"])), (1.0, 0.0), "{run}");
}

#[test]
fn senders_are_answered_as_fast_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let runs = bench(dir.path(), &["publish", "--sockets", "0", "--rate", "0", "--in-flight", "16"]);
    let round = &runs.first().unwrap()["round"];
    assert!(number(&round["accepted_per_s"]) > 10.0, "{round}");
    assert_eq!(number(&round["total"]["refused"]), 0.0);
    assert_eq!(number(&round["total"]["accepted"]), number(&round["total"]["sent"]));
}

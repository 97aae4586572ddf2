//! Standard error once the log is JSON: panics are objects like every other line.
#![allow(clippy::panic)] // That is what is tested.

use std::process::Command;

use model::panics::{EXIT_CODE, contain, end_on_panic};
use model::stderr;
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;

/// Ends a child process: this test, run again.
#[test]
fn panics_are_lines_of_the_same_schema() {
    const CHILD: &str = "BARRAGE_TEST_JSON";
    if std::env::var_os(CHILD).is_some() {
        stderr::write_json();
        stderr::name_node("barrage-7");
        end_on_panic(Counter::default());
        assert_eq!(contain(|| panic!("contained, with \"quotes\" and\na second line")), None::<()>);
        let _ = std::thread::spawn(|| panic!("not contained")).join();
        unreachable!("the process has ended");
    }
    let test = ["--exact", "panics_are_lines_of_the_same_schema"];
    let child = Command::new(std::env::current_exe().expect("this program")).args(test).env(CHILD, "1").output();
    let child = child.expect("a child");
    assert_eq!(child.status.code(), Some(EXIT_CODE));
    let text = String::from_utf8(child.stderr).expect("text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    for line in &lines {
        let keys: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["fields", "level", "node_id", "target", "timestamp"], "{line}");
        assert_eq!(
            (&line["level"], &line["target"], &line["node_id"]),
            (&"ERROR".into(), &"panic".into(), &"barrage-7".into())
        );
    }
    let messages: Vec<_> = lines.iter().filter_map(|line| line["fields"]["message"].as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(
        messages[0].contains("with \"quotes\" and\na second line") && messages[2].contains("restarted"),
        "{messages:?}"
    );
}

//! The real servers that `scripts/services` started.

use std::path::Path;

/// The address of one, by its name in the file that `scripts/services up` writes (or in the environment):
/// `BARRAGE_TEST_REDIS` and so on. `None`, and a line that says so, when it does not run: the test has nothing
/// to test against.
#[must_use]
pub fn service(name: &str) -> Option<String> {
    let address = std::env::var(name).ok().or_else(|| from_file(name));
    if address.is_none() {
        eprintln!("SKIPPED: {name} is not known; start it with scripts/services up");
    }
    address
}

fn from_file(name: &str) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services/env");
    let lines = std::fs::read_to_string(file).ok()?;
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

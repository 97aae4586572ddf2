//! The real servers that `scripts/services` started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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
    let lines = std::fs::read_to_string(shared().join("env")).ok()?;
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

fn shared() -> PathBuf {
    repository().join("target/services")
}

/// A server, or several of one service, that was killed.
#[must_use]
pub struct Killed {
    service: &'static str,
}

/// Kills a master of the Redis Cluster (`cluster`) or the one behind Sentinel (`sentinel`), as a crash would.
///
/// # Panics
/// When it does not run under `scripts/services`.
pub fn kill_a_redis_master(service: &'static str) -> Killed {
    let nodes = if service == "sentinel" { "sentinel-redis" } else { service };
    let folders: Vec<_> = (1..=6).map(|node| shared().join(format!("{nodes}-{node}"))).collect();
    // One that another can take the place of: a replica that was killed before may not be back in step yet.
    let find = || folders.iter().find(|folder| has_replica(folder));
    let master = (0..300).find_map(|_| find().or_else(a_moment));
    kill(master.expect("there is a master with a replica in step"));
    Killed { service }
}

/// A moment goes by, and there is nothing yet. What is waited for says nothing by itself.
#[allow(clippy::disallowed_methods)]
fn a_moment<T>() -> Option<T> {
    std::thread::sleep(Duration::from_millis(100));
    None
}

/// Kills these of the three Kafka brokers (from 1), as a crash would.
///
/// # Panics
/// When one does not run under `scripts/services`.
pub fn kill_kafka_brokers(brokers: &[u8]) -> Killed {
    brokers.iter().for_each(|broker| kill(&shared().join(format!("kafka-{broker}"))));
    Killed { service: "kafka" }
}

fn kill(folder: &Path) {
    let pid = std::fs::read_to_string(folder.join("pid")).expect("a pid");
    let pid: i32 = pid.trim().parse().expect("a pid");
    // SAFETY: kill(2) touches no memory; the process is one that scripts/services started.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

fn has_replica(folder: &Path) -> bool {
    let Ok(ports) = std::fs::read_to_string(folder.join("port")) else { return false };
    let port = ports.lines().next().expect("a port");
    let asked = Command::new("redis-cli").args(["-p", port, "info", "replication"]).output();
    let told = asked.expect("redis-cli is installed").stdout;
    let told = String::from_utf8_lossy(&told);
    told.contains("role:master") && told.contains("state=online")
}

impl Killed {
    /// Starts it again, with what it had, and waits until the service is whole. A test that fails before it gets here does
    /// so too, for the sake of the others.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn bring_back(self) {
        drop(self);
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let up = Command::new(repository().join("scripts/services")).args(["up", self.service]).output();
        let up = up.expect("scripts/services");
        assert!(std::thread::panicking() || up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

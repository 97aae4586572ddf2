//! The real servers that `scripts/services` started.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The address of one, by its name in the file that `scripts/services up` writes (or in the environment):
/// `BARRAGE_TEST_REDIS` and so on. `None`, and a line that says so, when it does not run: the test has nothing
/// to test against.
#[must_use]
pub fn service(name: &str) -> Option<String> {
    let address = std::env::var(name).ok().or_else(|| from_file(&shared(), name));
    if address.is_none() {
        eprintln!("SKIPPED: {name} is not known; start it with scripts/services up");
    }
    address
}

fn from_file(state: &Path, name: &str) -> Option<String> {
    let lines = std::fs::read_to_string(state.join("env")).ok()?;
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

fn shared() -> PathBuf {
    repository().join("target/services")
}

/// Servers that one test has for itself, so that it may kill them. Ended when it is dropped.
pub struct Services {
    dir: TempDir,
    names: Vec<&'static str>,
}

impl Services {
    /// Starts these, as `scripts/services up` names them.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start(names: &[&'static str]) -> Self {
        let services = Self { dir: tempfile::tempdir().expect("a directory"), names: names.to_vec() };
        services.up(names);
        services
    }

    /// The address of one, see [`service`].
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        from_file(self.dir.path(), name).unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// Starts again what was killed, with what it had, and waits until it is there.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn up(&self, names: &[&str]) {
        run("up", names, Some(self.dir.path()));
    }

    /// Kills a process, by its folder (`redis`, `mysql/data`, `kafka-2`), as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self, folder: &str) {
        signal(&self.dir.path().join(folder), libc::SIGKILL);
    }

    /// Stops a process where it stands, as an overloaded machine would, or lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self, folder: &str, frozen: bool) {
        signal(&self.dir.path().join(folder), if frozen { libc::SIGSTOP } else { libc::SIGCONT });
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let down = script("down", &self.names, Some(self.dir.path())).output();
        if !down.is_ok_and(|down| down.status.success()) {
            eprintln!("{:?} may still run", self.names);
        }
    }
}

fn script(what: &str, names: &[&str], state: Option<&Path>) -> Command {
    let mut command = Command::new(repository().join("scripts/services"));
    command.arg(what).args(names);
    if let Some(state) = state {
        command.env("BARRAGE_SERVICES", state);
    }
    command
}

fn run(what: &str, names: &[&str], state: Option<&Path>) {
    let ran = script(what, names, state).output().expect("scripts/services");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn signal(folder: &Path, signal: i32) {
    let pid = std::fs::read_to_string(folder.join("pid")).expect("a pid");
    let pid: i32 = pid.trim().parse().expect("a pid");
    // SAFETY: kill(2) touches no memory; the process is one that scripts/services started.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// A Redis server that was killed.
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
    let folders = (1..=6).map(|node| shared().join(format!("{nodes}-{node}"))).filter(|folder| folder.exists());
    let master = folders.into_iter().find(|folder| is_master(folder)).expect("there is a master");
    signal(&master, libc::SIGKILL);
    Killed { service }
}

fn is_master(folder: &Path) -> bool {
    let ports = std::fs::read_to_string(folder.join("port")).expect("a port");
    let port = ports.lines().next().expect("a port");
    let asked = Command::new("redis-cli").args(["-p", port, "role"]).output().expect("redis-cli is installed");
    String::from_utf8_lossy(&asked.stdout).starts_with("master")
}

impl Killed {
    /// Starts it again, with what it had, and waits until the service is whole.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn bring_back(self) {
        run("up", &[self.service], None);
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

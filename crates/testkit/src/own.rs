//! A server of a test's own, which it may kill and hang.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::str::FromStr;

use tempfile::TempDir;

use crate::services::repository;

/// A server under `scripts/services` in a folder of its own; ended, and its data deleted, when it is dropped.
pub struct OwnServer {
    name: &'static str,
    state: TempDir,
}

impl OwnServer {
    /// Starts one: `redis` or `mysql`. `None` when the common one is not known either: there is nothing to test with.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(name: &'static str) -> Option<Self> {
        crate::service(&variable(name))?;
        let server = Self { name, state: tempfile::tempdir().expect("a folder") };
        server.restart();
        Some(server)
    }

    /// Its address.
    ///
    /// # Panics
    /// When it was never up.
    #[must_use]
    pub fn address(&self) -> String {
        let env = std::fs::read_to_string(self.state.path().join("env")).expect("it was started");
        let line = env.lines().find_map(|line| line.strip_prefix(&variable(self.name))?.strip_prefix('='));
        line.expect("its address").to_owned()
    }

    /// Kills it, as a crash would, and waits until it is gone.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
        let process = PathBuf::from(format!("/proc/{}/cwd", self.pid().expect("it was started")));
        while process.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Makes it hang: it is there and does not answer.
    pub fn hang(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Ends what [`OwnServer::hang`] began.
    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Starts it again, with its data, and waits until it is up.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self) {
        let up = self.services("up");
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    }

    fn services(&self, verb: &str) -> Output {
        let mut command = Command::new(repository().join("scripts/services"));
        command.args([verb, self.name]).env("BARRAGE_SERVICES", self.state.path());
        command.output().expect("scripts/services")
    }

    fn pid(&self) -> Option<i32> {
        let folder = if self.name == "mysql" { "mysql/data" } else { self.name };
        let pid = std::fs::read_to_string(self.state.path().join(folder).join("pid")).ok()?;
        i32::from_str(pid.trim()).ok()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: kill(2) touches no memory; the process is one that this server started.
        assert_eq!(unsafe { libc::kill(self.pid().expect("it was started"), signal) }, 0);
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // A server that hangs does not hear that it is to end. One that never started has no pid.
        if let Some(pid) = self.pid() {
            // SAFETY: as above.
            unsafe { libc::kill(pid, libc::SIGCONT) };
        }
        self.services("down");
    }
}

fn variable(name: &str) -> String {
    format!("BARRAGE_TEST_{}", name.to_uppercase())
}

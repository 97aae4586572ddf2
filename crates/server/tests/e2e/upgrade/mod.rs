//! A new binary takes over from a running one, as the clients of the server see it. Each test has a server of its own.

mod failures;
mod killed;
mod moved;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;
use testkit::{Options, Server, eventually};

use crate::{BIN, NO_LIMITS};

/// A server at a path of its own, at which another file can be put.
struct Deployment {
    server: Server,
    directory: TempDir,
    /// Processes that were seen to serve.
    pids: Vec<i32>,
}

impl Deployment {
    async fn start() -> Self {
        Self::start_with(|options| options.config(NO_LIMITS)).await
    }

    async fn start_with(change: impl FnOnce(Options) -> Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("barrage");
        std::os::unix::fs::symlink(BIN, &path).unwrap();
        let server = change(Options::new(path)).start().await;
        let mut this = Self { server, directory, pids: Vec::new() };
        this.pids = vec![this.serving().await];
        this
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("barrage")
    }

    fn data(&self) -> PathBuf {
        self.server.dir().join("data")
    }

    /// Puts a script where the binary was.
    fn replace_by_script(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let partial = self.directory.path().join("partial");
        std::fs::write(&partial, format!("#!/bin/bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(partial, self.path()).unwrap();
    }

    /// Puts the binary back.
    fn restore(&self) {
        let _ = std::fs::remove_file(self.path());
        std::os::unix::fs::symlink(BIN, self.path()).unwrap();
    }

    /// The process that says it serves.
    async fn serving(&self) -> i32 {
        let file = self.data().join("barrage.pid");
        eventually("the process id", async || std::fs::read_to_string(&file).ok()?.trim().parse().ok()).await
    }

    /// `barrage upgrade`.
    async fn upgrade(&mut self) -> Output {
        let output = self.ask(&["--data", &self.data().display().to_string()]).await;
        let pid = self.serving().await;
        if !self.pids.contains(&pid) {
            self.pids.push(pid);
        }
        output
    }

    async fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(BIN);
        command.arg("upgrade").args(arguments).kill_on_drop(true);
        tokio::time::timeout(Duration::from_secs(90), command.output()).await.expect("it returns").unwrap()
    }

    /// Upgrades; it has to succeed.
    async fn upgraded(&mut self) {
        let before = *self.pids.last().unwrap();
        let output = self.upgrade().await;
        assert!(output.status.success(), "{output:?}");
        let now = *self.pids.last().unwrap();
        assert_ne!(before, now);
        assert!(!is_running(before), "the old process has ended");
    }

    /// Upgrades; it has to fail, in one line that says why, and the same process serves on.
    async fn refused(&mut self, why: &str) {
        let before = self.serving().await;
        let output = self.upgrade().await;
        let line = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(line.trim_end().lines().count(), 1, "one line: {line}");
        assert!(line.contains(why), "{why:?}: {line}");
        assert_eq!(self.serving().await, before);
        assert!(is_running(before));
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let file = self.data().join("barrage.pid");
        let serving = std::fs::read_to_string(file).ok().and_then(|pid| pid.trim().parse().ok());
        for pid in self.pids.iter().copied().chain(serving).filter(|pid| is_ours(*pid)) {
            signal(pid, libc::SIGKILL);
        }
    }
}

/// Whether the process is there and has not ended.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

/// Whether the process runs the binary under test.
fn is_ours(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(BIN))
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: kill takes no pointers; the process was started by the test.
    unsafe { libc::kill(pid, signal) };
}

//! A server of a test's own, which it may kill and hang.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::str::FromStr;

use tempfile::TempDir;

use crate::services::repository;
use crate::{Authority, Certificate};

/// A server under `scripts/services` in a folder of its own; ended, and its data deleted, when it is dropped.
pub struct OwnServer {
    name: &'static str,
    state: TempDir,
    tls: bool,
    /// It asks clients for a certificate of its authority.
    asks_clients: bool,
}

impl OwnServer {
    /// Starts one: `redis`, `mysql`, `etcd` or `s3`. `None` when the common one is not known either: there is nothing to test with.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(name: &'static str) -> Option<Self> {
        crate::service(variable(name))?;
        let state = tempfile::tempdir().expect("a folder");
        let server = Self { name, state, tls: false, asks_clients: false };
        server.restart();
        Some(server)
    }

    /// Starts one, or all those of a `sentinel` or a `cluster`, that speak TLS alone, with a certificate of this authority.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_secure(name: &'static str, authority: &Authority) -> Option<Self> {
        Self::start_with_tls(name, authority, false)
    }

    /// The same, and Redis asks its clients for a certificate too; etcd and Kafka always do.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_mutual(name: &'static str, authority: &Authority) -> Option<Self> {
        Self::start_with_tls(name, authority, true)
    }

    fn start_with_tls(name: &'static str, authority: &Authority, asks_clients: bool) -> Option<Self> {
        crate::service(variable(name))?;
        let server = Self { name, state: tempfile::tempdir().expect("a folder"), tls: true, asks_clients };
        std::fs::create_dir(server.tls()).expect("a folder");
        std::fs::write(server.authority_file(), &authority.pem).expect("written");
        server.show(&authority.certify("127.0.0.1"));
        std::fs::create_dir(server.tls().join("client")).expect("a folder");
        authority.certify("client").write(&server.tls().join("client"));
        server.restart();
        Some(server)
    }

    /// The authority's certificate, which is in the address of a MySQL already.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.tls().join("ca.pem")
    }

    /// From its next start on it has another certificate.
    pub fn show(&self, certificate: &Certificate) {
        certificate.write(&self.tls());
    }

    fn tls(&self) -> PathBuf {
        self.state.path().join("tls")
    }

    /// Its address.
    ///
    /// # Panics
    /// When it was never up.
    #[must_use]
    pub fn address(&self) -> String {
        let env = std::fs::read_to_string(self.state.path().join("env")).expect("it was started");
        let line = env.lines().find_map(|line| line.strip_prefix(variable(self.name))?.strip_prefix('='));
        line.expect("its address").trim_matches('\'').to_owned()
    }

    /// Kills it, as a crash would, and waits until it is gone.
    pub fn kill(&self) {
        let process = Process::of(self.pid().expect("it was started"));
        self.signal(libc::SIGKILL);
        process.ends();
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
        if self.tls {
            command.env("BARRAGE_SERVICES_TLS", self.tls());
            command.env("BARRAGE_SERVICES_TLS_CLIENTS", if self.asks_clients { "yes" } else { "no" });
        }
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

/// A process that is no child of ours, by a descriptor that can be waited on (`pidfd_open(2)`).
struct Process(OwnedFd);

impl Process {
    fn of(pid: i32) -> Self {
        // SAFETY: it makes a new descriptor, or fails, and touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).expect("it runs");
        // SAFETY: the descriptor is new, so nobody else has it.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Waits for its end.
    fn ends(&self) {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one struct, which lives here.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 60_000) }, 1, "a killed process ends");
    }
}

fn variable(name: &str) -> &'static str {
    match name {
        "redis" => "BARRAGE_TEST_REDIS",
        "sentinel" => "BARRAGE_TEST_REDIS_SENTINEL",
        "cluster" => "BARRAGE_TEST_REDIS_CLUSTER",
        "mysql" => "BARRAGE_TEST_MYSQL",
        "etcd" => "BARRAGE_TEST_ETCD",
        "kafka" => "BARRAGE_TEST_KAFKA",
        "s3" => "BARRAGE_TEST_S3",
        unknown => panic!("there is no own {unknown}"),
    }
}

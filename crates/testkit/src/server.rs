//! One running server: its process, its data directory, its log.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::{Http, Viewer, now_s, token};

/// The shared secret of a server's tokens, unless [`Options`] say otherwise.
pub const SECRET: &str = "a secret of at least thirty-two bytes!";
/// The admin key of every server that is not a development server.
pub const ADMIN_KEY: &str = "the-admin-key-of-tests";
/// A start that has not come up by then has failed; slow machines compile beside it.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct Options {
    binary: PathBuf,
    behind: Vec<String>,
    listen: String,
    dev: bool,
    roles: Option<String>,
    args: Vec<String>,
    config: String,
    env: Vec<(String, String)>,
    files: Vec<(String, String)>,
}

impl Options {
    /// A server of this binary (`env!("CARGO_BIN_EXE_barrage")`) with [`SECRET`] and [`ADMIN_KEY`].
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            behind: Vec::new(),
            listen: "127.0.0.1:0".into(),
            dev: false,
            roles: None,
            args: Vec::new(),
            config: String::new(),
            env: Vec::new(),
            files: Vec::new(),
        }
        .env("BARRAGE__AUTH__HMAC_SECRET", SECRET)
        .env("BARRAGE__AUTH__ADMIN_KEY", ADMIN_KEY)
    }

    /// Started by this command, which becomes it.
    #[must_use]
    pub fn behind(self, command: &[&str]) -> Self {
        Self { behind: command.iter().map(|&word| word.to_owned()).collect(), ..self }
    }

    /// Listening there, rather than on a free port of loopback.
    #[must_use]
    pub fn listen(self, address: &str) -> Self {
        Self { listen: address.into(), ..self }
    }

    /// With `--dev`.
    #[must_use]
    pub fn dev(self) -> Self {
        Self { dev: true, ..self }
    }

    /// With these roles.
    #[must_use]
    pub fn roles(self, roles: &str) -> Self {
        Self { roles: Some(roles.into()), ..self }
    }

    /// With this argument of `serve`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With this configuration file. `{dir}` stands for the directory of [`Options::file`].
    #[must_use]
    pub fn config(self, toml: &str) -> Self {
        Self { config: toml.into(), ..self }
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With this file beside its configuration.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Starts it on a directory of its own.
    pub async fn start(self) -> Server {
        Server::start(self).await
    }
}

/// How a server ended.
#[derive(Debug)]
pub struct Ended {
    /// What the process said.
    pub status: ExitStatus,
    /// How long that took, from the signal on.
    pub took: Duration,
}

/// A running server. Dropping it kills it; while a test fails, its log is printed.
pub struct Server {
    options: Options,
    dir: TempDir,
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub async fn start(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in &options.files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let config = options.config.replace("{dir}", &dir.path().display().to_string());
        std::fs::write(dir.path().join("barrage.toml"), config).unwrap();
        let log = Arc::default();
        let (child, address) = spawn(&options, dir.path(), &log).await;
        Self { options, dir, child, address, log }
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The directory with the configuration (`barrage.toml`), the data (`data`) and the test's own files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged and, after the first line, printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server has ended")
    }

    /// HTTP without an identity.
    #[must_use]
    pub fn http(&self) -> Http {
        Http::new(&self.url(), None)
    }

    /// HTTP with the admin key.
    #[must_use]
    pub fn admin(&self) -> Http {
        Http::new(&self.url(), Some(ADMIN_KEY))
    }

    /// HTTP with a token.
    #[must_use]
    pub fn bearing(&self, token: &str) -> Http {
        Http::new(&self.url(), Some(token))
    }

    /// HTTP as a normal user.
    #[must_use]
    pub fn user(&self, user: &str) -> Http {
        self.bearing(&token_of(user, "normal"))
    }

    /// Opens a socket; see [`Viewer::open`].
    pub async fn connect(&self, query: &str) -> Viewer {
        Viewer::open(&self.address, query, &[]).await.unwrap_or_else(|refused| panic!("{query}: {refused:?}"))
    }

    /// A normal user who has joined a room by query; `connected` and `room_joined` have come.
    pub async fn viewer(&self, user: &str, room: &str) -> Viewer {
        self.viewer_of_level(user, "normal", room).await
    }

    /// A socket of a user's device without any room; `connected` has come.
    pub async fn device(&self, user: &str, device: &str) -> Viewer {
        let mut socket = self.connect(&format!("device_id={device}&token={}", token_of(user, "normal"))).await;
        socket.wait_for("connected").await;
        socket
    }

    /// The same with a level.
    pub async fn viewer_of_level(&self, user: &str, level: &str, room: &str) -> Viewer {
        self.viewer_who_wishes(user, level, &format!("room_id={room}")).await
    }

    /// The same with more in the query, such as `max_per_s`.
    pub async fn viewer_who_wishes(&self, user: &str, level: &str, query: &str) -> Viewer {
        let mut viewer = self.connect(&format!("{query}&token={}", token_of(user, level))).await;
        viewer.wait_for("connected").await;
        viewer.wait_for("room_joined").await;
        viewer
    }

    /// A bare TCP connection, for bytes that no client library would send.
    pub async fn raw(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Runs a command of the binary beside the server, on the same data and without its environment.
    pub async fn command(&self, args: &[&str]) -> std::process::Output {
        let data = self.dir().join("data");
        let mut command = clean(&self.options.binary, &[]);
        command.args(args).arg("--data").arg(data).env("BARRAGE__AUTH__HMAC_SECRET", SECRET);
        timeout(STARTS_WITHIN, command.output()).await.expect("the command did not end").unwrap()
    }

    /// Replaces its configuration file; [`Server::restart`] takes it up.
    pub fn configure(&self, toml: &str) {
        std::fs::write(self.dir().join("barrage.toml"), toml).unwrap();
    }

    /// `kill -9`.
    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; waits for the end.
    pub async fn terminate(&mut self) -> Ended {
        let begun = Instant::now();
        self.signal(libc::SIGTERM);
        self.ended(begun).await
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.pid()).unwrap();
        // SAFETY: kill takes no pointers; the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for the end after a signal that was sent at `begun`.
    pub async fn ended(&mut self, begun: Instant) -> Ended {
        let status = timeout(Duration::from_secs(60), self.child.wait()).await;
        Ended { status: status.expect("the server does not end").unwrap(), took: begun.elapsed() }
    }

    /// Starts again on the same data, after [`Server::kill9`] or [`Server::terminate`]; the port is another.
    pub async fn restart(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.terminate().await;
        }
        (self.child, self.address) = spawn(&self.options, self.dir.path(), &self.log).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server on {}\n{}---", self.address, self.log());
        }
    }
}

/// A day's token of a user with a name of their own.
pub(crate) fn token_of(user: &str, level: &str) -> String {
    let claims: Value = json!({ "sub": user, "level": level, "iat": now_s() - 5, "exp": now_s() + 86_400 });
    token(&claims)
}

/// The binary, behind another command or not, without any configuration from outside.
fn clean(binary: &Path, behind: &[String]) -> Command {
    let mut words = behind.iter().map(Path::new).chain([binary]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BARRAGE__")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn spawn(options: &Options, dir: &Path, log: &Arc<Mutex<String>>) -> (Child, String) {
    let mut command = clean(&options.binary, &options.behind);
    command.args(["serve", "--listen", &options.listen]);
    command.arg("--config").arg(dir.join("barrage.toml")).arg("--data").arg(dir.join("data"));
    if options.dev {
        command.arg("--dev");
    }
    if let Some(roles) = &options.roles {
        command.args(["--roles", roles]);
    }
    command.args(&options.args);
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    keep(BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = timeout(STARTS_WITHIN, lines.next_line()).await;
    let first = first.expect("the server does not start").unwrap().unwrap_or_default();
    let address = first.rsplit_once("://").map(|(_, address)| address.trim().to_owned());
    let address = address.unwrap_or_else(|| {
        // Not under the lock: the servers that are dropped by this panic print their logs.
        let log = log.lock().unwrap().clone();
        panic!("no address in {first:?}; log:\n{log}")
    });
    keep(lines, log.clone());
    (child, address)
}

fn keep(mut lines: Lines<impl AsyncBufRead + Unpin + Send + 'static>, log: Arc<Mutex<String>>) {
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

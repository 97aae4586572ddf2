//! What is measured: a server that runs already, one started for the purpose, or the floor. Those started
//! here live on CPUs of their own, in a directory that is removed, and end with their handle.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::options::{CpuList, Floor, Options};
use crate::scenario::{Plan, room_id};

/// Secret and admin key of a server that is started here; it listens on loopback and lives for a measurement.
const SECRET: &str = "a secret for as long as it is measured";
/// What lifts every limit that one load generator would run into.
const LIFTED: [(&str, &str); 12] = [
    ("LIMITS__NORMAL_PER_S", "1000000"),
    ("LIMITS__VIP_PER_S", "1000000"),
    ("LIMITS__OWNER_PER_S", "1000000"),
    ("LIMITS__ROOM_PER_S", "100000000"),
    ("LIMITS__GLOBAL_PER_S", "100000000"),
    ("LIMITS__LIKES_PER_S", "1000000"),
    ("LIMITS__DUPLICATE_WINDOW_MS", "0"),
    ("LIMITS__COOL_DOWN_REFUSALS", "0"),
    ("LIMITS__COMMENT_CHARS_MAX", "2000"),
    ("ROOMS__VIEWER_PER_S_MAX", "100000"),
    ("AUTH__ADMIN_KEY", SECRET),
    ("LOG__LEVEL", "warn"),
];

/// A server to measure.
pub struct Target {
    /// What it is, for the report.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its `Host`.
    pub host: String,
    /// Its process, when it is one of this host.
    pub pid: Option<u32>,
    secret: Option<String>,
    _child: Option<Running>,
    _dir: Option<TempDir>,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Target {
    /// The server of `--server`, or one that is started.
    ///
    /// # Errors
    /// When it does not start, or nothing says how its tokens are signed.
    pub fn server(options: &Options, cpus: &CpuList) -> anyhow::Result<Self> {
        match &options.server {
            Some(url) => Self::running(url, options),
            None => Self::start(options, cpus),
        }
    }

    fn running(url: &str, options: &Options) -> anyhow::Result<Self> {
        let host = url.strip_prefix("http://").context("--server must begin with http://")?.trim_end_matches('/');
        let mut addresses = host.to_socket_addrs().with_context(|| format!("cannot find {host}"))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        let file = options.data.as_ref().map(|data| data.join("secret"));
        let secret = match (&options.secret, file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(file)) => std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?
                .trim()
                .to_owned(),
            (None, None) => bail!("--server needs --secret, or --data with the server's data directory"),
        };
        let (name, host) = (format!("server {url}"), host.to_owned());
        Ok(Self { name, address, host, pid: options.pid, secret: Some(secret), _child: None, _dir: None })
    }

    fn start(options: &Options, cpus: &CpuList) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("no temporary directory")?;
        let mut command = this_binary()?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path());
        command.env("BARRAGE__AUTH__HMAC_SECRET", SECRET);
        command.env("BARRAGE__SERVER__SHARDS", cpus.0.len().min(128).to_string());
        command.envs(LIFTED.iter().map(|(key, value)| (format!("BARRAGE__{key}"), *value)));
        command.envs(options.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let (child, address) = spawn(command, cpus)?;
        let name = format!("barrage {}", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            name,
            address,
            host: address.to_string(),
            pid: Some(child.0.id()),
            secret: Some(SECRET.into()),
            _child: Some(child),
            _dir: Some(dir),
        })
    }

    /// The floor, in a process of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn floor(floor: Floor, cpus: &CpuList) -> anyhow::Result<Self> {
        let mut command = this_binary()?;
        command.args(["bench", "--serve-floor", &floor.to_string()]).stdin(Stdio::piped());
        let (child, address) = spawn(command, cpus)?;
        let name = match floor {
            Floor::Message => "floor, a send for each comment".into(),
            Floor::Tick(ms) => format!("floor, a send each {ms} ms"),
        };
        let (host, pid) = (address.to_string(), Some(child.0.id()));
        Ok(Self { name, address, host, pid, secret: None, _child: Some(child), _dir: None })
    }

    /// A user's token for a day; empty where nobody asks for one.
    ///
    /// # Errors
    /// When the secret cannot sign.
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        let Some(secret) = &self.secret else { return Ok(String::new()) };
        let now_s = model::Clock::now_ms(&model::SystemClock) / 1_000;
        let claims = json!({ "sub": user, "level": "normal", "iat": now_s - 5, "exp": now_s + 86_400 });
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .context("cannot sign a token")
    }

    /// Makes the plan's rooms keep nothing.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn store_nothing(&self, plan: &Plan) -> anyhow::Result<()> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let now_s = model::Clock::now_ms(&model::SystemClock) / 1_000;
        let claims = json!({ "sub": "barrage-bench", "level": "admin", "iat": now_s - 5, "exp": now_s + 3_600 });
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).context("cannot sign a token")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::new();
        runtime.block_on(async {
            for room in 0..plan.rooms.count {
                let url = format!("http://{}/api/v1/admin/rooms/{}", self.host, room_id(room));
                let answer = client.put(url).bearer_auth(&token).json(&json!({ "store": false })).send().await?;
                let status = answer.status();
                let body: Value = answer.json().await.unwrap_or_default();
                ensure!(status.is_success(), "the server answered {status}: {}", body["error"]["message"]);
            }
            Ok(())
        })
    }
}

/// This program, without any configuration from outside.
fn this_binary() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BARRAGE__") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Starts it on its CPUs and reads where it listens from its first line.
fn spawn(mut command: Command, cpus: &CpuList) -> anyhow::Result<(Running, SocketAddr)> {
    let set = cpus.clone();
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(move || pin(&set)) };
    let mut child = Running(command.stdout(Stdio::piped()).spawn().context("cannot start the server")?);
    let mut lines = BufReader::new(child.0.stdout.take().context("no standard output")?);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let address = first.rsplit_once("http://").and_then(|(_, address)| address.trim().parse().ok());
    // What else it prints is let go, so that it never blocks on it.
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    let address = address.with_context(|| format!("the server did not say where it listens: {first:?}"))?;
    Ok((child, address))
}

/// Puts the calling thread, and what it starts, on these CPUs.
///
/// # Errors
/// When they do not exist or are not ours.
pub fn pin(cpus: &CpuList) -> std::io::Result<()> {
    // SAFETY: an empty set is a valid one; the list holds numbers below CPU_SETSIZE; the kernel only reads it.
    let done = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        cpus.0.iter().for_each(|cpu| libc::CPU_SET(*cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// The CPUs this process may use.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: the kernel fills the set, which lives here.
    let set = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        set
    };
    // SAFETY: every number is below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

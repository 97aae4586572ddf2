//! What is measured: a server that runs already, one started for the purpose, or the floor. Those started
//! here live on CPUs of their own, in a directory that is removed, and end with their handle.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jsonwebtoken::{EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;

use crate::adapter::Adapter;
use crate::conn::Role;
use crate::options::{CpuList, Floor, Handshakes, Options, Transport};
use crate::tls;

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

/// How long a server of `--start` may take until it listens.
const STARTING: Duration = Duration::from_secs(20);

/// A server to measure, or several that sockets are spread over.
pub struct Target {
    /// What it is, for the report.
    pub name: String,
    /// How to reach it.
    pub address: Address,
    /// Its processes, when they are of this host; their children count as well.
    pub pids: Vec<u32>,
    _child: Option<Running>,
    _dir: Option<TempDir>,
}

/// What a generator has to know of a target.
#[derive(Clone, Serialize, Deserialize)]
pub struct Address {
    /// What it speaks.
    pub adapter: Adapter,
    servers: Vec<Endpoint>,
    publish_to: Option<Endpoint>,
    secret: Option<String>,
    /// How sockets with TLS begin.
    pub handshakes: Handshakes,
    /// What carries its reading sockets, if that was asked for.
    pub transport: Option<Transport>,
    /// Ids of the groups that were founded.
    pub groups: Vec<String>,
}

impl Address {
    /// Where the `i`-th socket of a role connects.
    ///
    /// # Errors
    /// When there is no server.
    pub fn server(&self, role: Role, i: usize) -> anyhow::Result<&Endpoint> {
        match (role, &self.publish_to) {
            (Role::Sender, Some(endpoint)) => Ok(endpoint),
            _ => self.servers.get(i % self.servers.len().max(1)).context("there is no server"),
        }
    }

    /// The id of the `i`-th group; empty where there is none.
    #[must_use]
    pub fn group(&self, i: usize) -> String {
        self.groups.get(i).cloned().unwrap_or_default()
    }

    /// The key of its HTTP API; empty where nobody asks for one.
    #[must_use]
    pub fn key(&self) -> String {
        self.secret.clone().unwrap_or_default()
    }

    /// A user's token for a day; empty where nobody asks for one.
    ///
    /// # Errors
    /// When the secret cannot sign.
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        self.token_of(user, "normal")
    }

    /// The same of somebody with a level.
    ///
    /// # Errors
    /// When the secret cannot sign.
    pub fn token_of(&self, user: &str, level: &str) -> anyhow::Result<String> {
        let Some(secret) = &self.secret else { return Ok(String::new()) };
        let now_s = model::Clock::now_ms(&model::SystemClock) / 1_000;
        let claims = json!({ "sub": user, "level": level, "iat": now_s - 5, "exp": now_s + 86_400 });
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .context("cannot sign a token")
    }
}

/// Where to connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// `Host` of requests.
    pub host: Arc<str>,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl Endpoint {
    fn of(url: &str) -> anyhow::Result<Self> {
        let (tls, host) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(host), _) => (false, host),
            (None, Some(host)) => (true, host),
            (None, None) => bail!("a server's URL must begin with http:// or https://"),
        };
        let host = host.trim_end_matches('/');
        let mut addresses = host.to_socket_addrs().with_context(|| format!("cannot find {host}"))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        Ok(Self { address, host: host.into(), tls })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address, host: address.to_string().into(), tls: false }
    }
}

/// A process group started here. It ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: kill takes no pointers. The group is the child's own, so that what it started ends with it.
        unsafe { libc::kill(-self.0.id().cast_signed(), libc::SIGKILL) };
        // It may have ended by itself; then there is nothing to wait for.
        let _ = self.0.wait();
    }
}

impl Target {
    /// The servers of `--server`, the one of `--start`, or a Barrage that is started.
    ///
    /// # Errors
    /// When it does not start, or nothing says how its tokens are signed.
    pub fn measured(options: &Options, cpus: &CpuList, transport: Option<Transport>) -> anyhow::Result<Self> {
        let mut target = match (&options.start, options.server.is_empty()) {
            (Some(command), _) => Self::start(command, options.adapter, cpus)?,
            (None, false) => Self::running(options, transport)?,
            (None, true) if options.adapter == Adapter::Barrage => Self::barrage(options, cpus, transport)?,
            (None, true) => bail!("--adapter needs --server, or --start with a command that starts the server"),
        };
        if let Some(url) = &options.publish_to {
            target.address.publish_to = Some(Endpoint::of(url)?);
        }
        if let Some(name) = &options.name {
            target.name.clone_from(name);
        }
        if let Some(transport) = transport {
            target.name = format!("{}, {}", target.name, crate::name(transport));
        }
        target.address.transport = transport;
        target.address.handshakes = options.tls.unwrap_or(Handshakes::Full);
        Ok(target)
    }

    fn running(options: &Options, transport: Option<Transport>) -> anyhow::Result<Self> {
        let file = options.data.as_ref().map(|data| data.join("secret"));
        let secret = match (&options.secret, file) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Some(file)) => Some(
                std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?
                    .trim()
                    .to_owned(),
            ),
            (None, None) if options.adapter != Adapter::Barrage => None,
            (None, None) => bail!("--server needs --secret, or --data with the server's data directory"),
        };
        let servers: Vec<Endpoint> =
            options.server.iter().map(|url| Endpoint::of(url)).collect::<anyhow::Result<_>>()?;
        let fits = |transport| servers.iter().all(|server| server.tls == (transport != Transport::Ws));
        ensure!(transport.is_none_or(fits), "ws needs a --server of http://, the other transports one of https://");
        Ok(Self {
            name: format!("server {}", options.server.join(" ")),
            address: Address {
                adapter: options.adapter,
                servers,
                publish_to: None,
                secret,
                handshakes: Handshakes::Full,
                transport: None,
                groups: Vec::new(),
            },
            pids: options.pid.clone(),
            _child: None,
            _dir: None,
        })
    }

    /// A server of any kind, started by a command and told its ports.
    fn start(command: &str, adapter: Adapter, cpus: &CpuList) -> anyhow::Result<Self> {
        let (port, publish_port) = (free_port()?, free_port()?);
        let dir = tempfile::tempdir().context("no temporary directory")?;
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {command}")]).stdin(Stdio::null()).stdout(Stdio::null());
        shell.env("PORT", port.to_string()).env("PUBLISH_PORT", publish_port.to_string()).env("SECRET", SECRET);
        shell.env("DIR", dir.path());
        let mut child = pinned(shell, cpus)?;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let publish_to = adapter.publishes_elsewhere().then(|| at(publish_port));
        for address in [Some(at(port)), publish_to].into_iter().flatten() {
            child.await_listening(address).with_context(|| format!("{command:?}"))?;
        }
        Ok(Self {
            name: crate::name(adapter),
            address: Address {
                adapter,
                servers: vec![at(port).into()],
                publish_to: publish_to.map(Endpoint::from),
                secret: Some(SECRET.into()),
                handshakes: Handshakes::Full,
                transport: None,
                groups: Vec::new(),
            },
            pids: vec![child.0.id()],
            _child: Some(child),
            _dir: Some(dir),
        })
    }

    fn barrage(options: &Options, cpus: &CpuList, transport: Option<Transport>) -> anyhow::Result<Self> {
        let tls = transport.map_or(options.tls.is_some(), |transport| transport != Transport::Ws);
        let quic = transport.is_some_and(Transport::is_quic) || options.flood.is_some();
        let dir = tempfile::tempdir().context("no temporary directory")?;
        let mut command = this_binary()?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path());
        command.env("BARRAGE__AUTH__HMAC_SECRET", SECRET);
        command.env("BARRAGE__SERVER__SHARDS", cpus.0.len().min(128).to_string());
        command.envs(LIFTED.iter().map(|(key, value)| (format!("BARRAGE__{key}"), *value)));
        command.env("BARRAGE__SERVER__QUIC", quic.to_string());
        if tls {
            command.envs(tls::certificate(dir.path())?);
        }
        command.envs(options.settings().iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let (child, address) = spawn(command, cpus)?;
        let name = format!("barrage {}", env!("CARGO_PKG_VERSION"));
        let mut target = Self::started(name, child, address);
        (target.address.secret, target._dir) = (Some(SECRET.into()), Some(dir));
        target.address.servers.iter_mut().for_each(|server| server.tls = tls);
        Ok(target)
    }

    fn started(name: String, child: Running, address: SocketAddr) -> Self {
        Self {
            name,
            address: Address {
                adapter: Adapter::Barrage,
                servers: vec![address.into()],
                publish_to: None,
                secret: None,
                handshakes: Handshakes::Full,
                transport: None,
                groups: Vec::new(),
            },
            pids: vec![child.0.id()],
            _child: Some(child),
            _dir: None,
        }
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
        Ok(Self::started(name, child, address))
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

impl Running {
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing tells when another program listens; this thread has no runtime"
    )]
    fn await_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.0.try_wait()? {
                bail!("it ended before it listened: {status}");
            }
            ensure!(begun.elapsed() < STARTING, "it does not listen on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// A port of loopback that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?.local_addr()?.port())
}

/// Starts it on its CPUs, in a group of its own.
fn pinned(mut command: Command, cpus: &CpuList) -> anyhow::Result<Running> {
    let set = cpus.clone();
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(move || pin(&set)) };
    Ok(Running(command.process_group(0).spawn().context("cannot start the server")?))
}

/// The same, and reads where it listens from its first line.
fn spawn(mut command: Command, cpus: &CpuList) -> anyhow::Result<(Running, SocketAddr)> {
    command.stdout(Stdio::piped());
    let mut child = pinned(command, cpus)?;
    let mut lines = BufReader::new(child.0.stdout.take().context("no standard output")?);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let address = first.rsplit_once("://").and_then(|(_, address)| address.trim().parse().ok());
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

//! `doctor`: looks at everything a node depends on and says what is wrong, why it matters and what mends it.
//!
//! Changes nothing and needs no running server; one that runs is asked for its version. Checks of this host are here; [`crate::backends::diagnose`] asks Redis, MySQL and
//! Kafka. `main` turns a failed check into exit code 1.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use archive::objects::Location;
use serde::Serialize;
use serde_json::json;
use x509_parser::public_key::PublicKey;

use crate::backends;
use crate::cli::Doctor;
use crate::config::{self, Config};
use crate::telemetry;

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing to do.
    Ok,
    /// It works, but will not under load or after a crash.
    Warn,
    /// The server cannot work so.
    Fail,
    /// Not configured, so there is nothing to check.
    Skip,
}

/// One finding.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was checked; stable.
    pub name: &'static str,
    /// The outcome.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// Why it matters; empty when all is well.
    pub why: &'static str,
    /// The command or setting that mends it; empty when all is well.
    pub fix: String,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), why: "", fix: String::new() }
    }

    /// Not configured.
    pub fn skip(name: &'static str, found: impl Into<String>) -> Self {
        Self { status: Status::Skip, ..Self::ok(name, found) }
    }

    /// Works, with a weakness.
    pub fn warn(name: &'static str, found: impl Into<String>, why: &'static str, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, found: found.into(), why, fix: fix.into() }
    }

    /// Does not work.
    pub fn fail(name: &'static str, found: impl Into<String>, why: &'static str, fix: impl Into<String>) -> Self {
        Self { status: Status::Fail, ..Self::warn(name, found, why, fix) }
    }
}

/// Prints the findings. Returns whether one of them is a failure.
pub fn run(args: &Doctor) -> anyhow::Result<bool> {
    let config = config::load(args.config.as_deref(), std::env::vars())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut checks = vec![
        open_files(),
        somaxconn(),
        port(&config.server.listen),
        clock(),
        disk(&config.server.data),
        data(&config.server.data),
    ];
    checks.extend(runtime.block_on(backends::diagnose(&config)));
    checks.extend([object_store(&config), certificate(&config), runtime.block_on(versions(&config))]);
    checks.extend(config.server.quic.then(|| udp(&config.server)));
    let report = match args.json {
        true => serde_json::to_string_pretty(&json!({ "checks": checks }))?,
        false => checks.iter().map(shown).collect::<Vec<_>>().join("\n"),
    };
    super::say(&report)?;
    Ok(checks.iter().any(|check| check.status == Status::Fail))
}

fn shown(check: &Check) -> String {
    let Check { name, status, found, why, fix } = check;
    let mark = match status {
        Status::Ok => "ok  ",
        Status::Warn => "WARN",
        Status::Fail => "FAIL",
        Status::Skip => "skip",
    };
    let reason = if why.is_empty() { String::new() } else { format!("\n{:20}why: {why}\n{:20}fix: {fix}", "", "") };
    format!("{mark}  {name:<13} {found}{reason}")
}

/// Each viewer is a file.
fn open_files() -> Check {
    const NAME: &str = "open_files";
    const WHY: &str = "each viewer's socket is an open file";
    const FIX: &str = "LimitNOFILE=1048576 in the systemd unit, or `ulimit -n 1048576` before the start";
    let Some(limit) = telemetry::open_files_max() else {
        return Check::warn(NAME, "the limit cannot be read", WHY, FIX);
    };
    let found = format!("{limit} open files a process");
    match limit {
        ..1_024 => Check::fail(NAME, found, WHY, FIX),
        1_024..65_536 => Check::warn(NAME, found, WHY, FIX),
        _ => Check::ok(NAME, found),
    }
}

fn somaxconn() -> Check {
    const NAME: &str = "somaxconn";
    let value = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    match value.and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(value) if value >= 4_096 => Check::ok(NAME, format!("{value} connections may wait for accept")),
        Some(value) => Check::warn(
            NAME,
            format!("{value} connections may wait for accept"),
            "when everybody reconnects at once, connections beyond it are dropped and retried seconds later",
            "sysctl -w net.core.somaxconn=16384",
        ),
        None => Check::skip(NAME, "not Linux"),
    }
}

fn port(listen: &str) -> Check {
    const NAME: &str = "port";
    match TcpListener::bind(listen) {
        Ok(_) => Check::ok(NAME, format!("{listen} is free")),
        Err(error) => Check::fail(
            NAME,
            format!("cannot listen on {listen}: {error}"),
            "the server would not start",
            "stop the program that listens there (`ss -ltnp`), or change server.listen",
        ),
    }
}

/// WebTransport's port, and the kernel's buffers for it.
fn udp(server: &config::Server) -> Check {
    const NAME: &str = "udp";
    const BUFFER_BYTES: u64 = 4 * 1024 * 1024;
    let listen = if server.quic_listen.is_empty() { &server.listen } else { &server.quic_listen };
    if let Err(error) = UdpSocket::bind(listen) {
        return Check::fail(
            NAME,
            format!("cannot listen on UDP {listen}: {error}"),
            "the server would not start",
            "stop the program that listens there (`ss -lunp`), or change server.quic_listen",
        );
    }
    let limit = |name: &str| fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse::<u64>().ok();
    match limit("rmem_max").zip(limit("wmem_max")).map(|(read, write)| read.min(write)) {
        Some(bytes) if bytes >= BUFFER_BYTES => Check::ok(NAME, format!("{listen} is free, buffers of {bytes} bytes")),
        Some(bytes) => Check::warn(
            NAME,
            format!("{listen} is free, but a socket gets buffers of {bytes} bytes at most"),
            "QUIC loses datagrams when many viewers are served at once",
            format!("sysctl -w net.core.rmem_max={BUFFER_BYTES} net.core.wmem_max={BUFFER_BYTES}"),
        ),
        None => Check::skip(NAME, "not Linux"),
    }
}

fn clock() -> Check {
    const NAME: &str = "clock";
    // SAFETY: an all-zero timex asks for nothing to be changed, and the kernel fills it.
    let (state, timex) = unsafe {
        let mut timex = std::mem::MaybeUninit::<libc::timex>::zeroed().assume_init();
        (libc::adjtimex(&raw mut timex), timex)
    };
    let year_2024 = 1_704_067_200;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now < year_2024 {
        return Check::fail(NAME, format!("{now} s since 1970"), "ids and tokens carry the time", "set the clock");
    }
    match state {
        -1 | 5 => Check::warn(
            NAME,
            "not synchronised",
            "tokens expire by the clock, and ids of nodes with different clocks sort differently",
            "systemctl enable --now systemd-timesyncd (or chrony)",
        ),
        _ => Check::ok(NAME, format!("synchronised, error at most {} ms", timex.maxerror / 1_000)),
    }
}

/// Free space, and how long the disk takes to make a write durable.
fn disk(data: &Path) -> Check {
    const NAME: &str = "disk";
    let existing = data.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let free = match free_bytes(existing) {
        Ok(free) => free,
        Err(error) => return Check::warn(NAME, error.to_string(), "free space is unknown", "check the data directory"),
    };
    let sync = match sync_time(existing) {
        Ok(sync) => sync,
        Err(error) => {
            let found = format!("cannot write in {}: {error}", existing.display());
            return Check::fail(
                NAME,
                found,
                "comments are acknowledged when they are on disk",
                "check rights and space",
            );
        }
    };
    let found = format!("{:.1} GB free, fsync in {:.2} ms", free as f64 / 1e9, sync.as_secs_f64() * 1e3);
    if free < 100_000_000 {
        return Check::fail(NAME, found, "a full disk refuses comments", "free some space");
    }
    if free < 2_000_000_000 {
        return Check::warn(NAME, found, "a full disk refuses comments", "free some space");
    }
    if sync > Duration::from_millis(20) {
        return Check::warn(
            NAME,
            found,
            "each acknowledgement waits for one fsync",
            "use a local SSD for server.data, or the Redis shape",
        );
    }
    if sync < Duration::from_micros(5) {
        return Check::warn(
            NAME,
            found,
            "no disk is that fast: what is acknowledged may be lost in a power cut",
            "use a disk or volume that honours fsync",
        );
    }
    Check::ok(NAME, found)
}

fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut stats = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the name ends with a zero byte, and statvfs fills the struct it is given.
    let stats = unsafe {
        if libc::statvfs(name.as_ptr(), stats.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        stats.assume_init()
    };
    Ok(stats.f_bavail * stats.f_frsize)
}

/// The median of some small durable writes.
fn sync_time(directory: &Path) -> std::io::Result<Duration> {
    let path = directory.join(format!(".barrage-doctor-{}", std::process::id()));
    let measured = (|| {
        let mut file = fs::File::create(&path)?;
        file.write_all(&[0; 4_096])?;
        file.sync_all()?;
        let mut times = Vec::new();
        for round in 0..15_u8 {
            let started = Instant::now();
            file.write_all_at(&[round; 512], 0)?;
            file.sync_data()?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    })();
    // Nothing is lost when it stays: it is a few kilobytes of ours.
    let _ = fs::remove_file(&path);
    measured
}

fn data(data: &Path) -> Check {
    const NAME: &str = "data";
    let shown = data.display();
    let Ok(metadata) = fs::metadata(data) else {
        return Check::ok(NAME, format!("{shown} does not exist yet; the first start creates it"));
    };
    if !metadata.is_dir() {
        let found = format!("{shown} is not a directory");
        return Check::fail(NAME, found, "the database and the secret live there", "change server.data");
    }
    if metadata.mode() & 0o077 != 0 {
        let found = format!("{shown} can be read by others (mode {:o})", metadata.mode() & 0o777);
        return Check::warn(NAME, found, "it holds the secret that signs tokens", format!("chmod 700 {shown}"));
    }
    Check::ok(NAME, format!("{shown}, mode {:o}", metadata.mode() & 0o777))
}

/// Where archived comments and uploads lie.
fn object_store(config: &Config) -> Check {
    const NAME: &str = "object_store";
    const WHY: &str = "past comments, and pictures and files of messages, are stored there";
    let uploads = Some(&config.uploads.directory).filter(|directory| !directory.as_os_str().is_empty());
    let archive = match config::archive_location(config) {
        Some(bucket @ Location::Bucket { .. }) => match bucket.open() {
            Ok(_) => Some(config.archive.url.clone()),
            Err(error) => return Check::fail(NAME, error.to_string(), WHY, "set AWS_ACCESS_KEY_ID and its like"),
        },
        Some(Location::Directory(directory)) if directory.exists() => {
            if let Err(check) = writable(NAME, &directory, WHY) {
                return check;
            }
            Some(format!("{} can be written", directory.display()))
        }
        Some(Location::Directory(directory)) => Some(format!("the first start creates {}", directory.display())),
        None => None,
    };
    let uploads = match uploads.map(|directory| writable(NAME, directory, WHY).map(|()| directory)) {
        Some(Err(check)) => return check,
        Some(Ok(directory)) => Some(format!("{} can be written", directory.display())),
        None => None,
    };
    if config::archive_is_one_nodes(config) {
        let found = format!("{} is a directory of each node alone, so nothing is archived", config.archive.url);
        return Check::warn(NAME, found, WHY, "archive.url = \"s3://…\", a directory that all nodes mount, or \"\"");
    }
    let found: Vec<_> = [archive, uploads].into_iter().flatten().collect();
    if found.is_empty() {
        Check::skip(NAME, "comments stay in the database")
    } else {
        Check::ok(NAME, found.join(", "))
    }
}

fn writable(name: &'static str, directory: &Path, why: &'static str) -> Result<(), Check> {
    let fix = "create it and give the server the right to write";
    let failed = |error| Check::fail(name, format!("{}: {error}", directory.display()), why, fix);
    sync_time(directory).map(drop).map_err(failed)
}

/// Every certificate that the configuration names: the one for browsers, this node's for other servers, and the authorities that
/// these are checked by. The one that ends first decides.
fn certificate(config: &Config) -> Check {
    const NAME: &str = "certificate";
    let files = match certificate_files(config) {
        Ok(files) => files,
        Err(error) => return Check::fail(NAME, error, "the server would not start", "mend the setting"),
    };
    if files.is_empty() {
        return Check::skip(NAME, "no TLS here; a proxy may do it");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let judged = files.iter().map(|(key, file)| judge_certificates(key, file, now));
    let mut judged: Vec<(i64, Check)> = judged.collect();
    judged.sort_by_key(|(days, _)| *days);
    let found: Vec<_> = judged.iter().map(|(_, check)| check.found.clone()).collect();
    let first = judged.swap_remove(0).1;
    Check { found: found.join(", "), ..first }
}

/// The settings that name certificates, and their files.
fn certificate_files(config: &Config) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let Config { tls, nodes, etcd, redis, kafka, .. } = config;
    let mysql = backends::mysql_certificates(&config.store.url).map_err(|error| format!("{error:#}"))?;
    let named = [
        ("tls.certificate_file", &tls.certificate_file),
        ("nodes.certificate_file", &nodes.certificate_file),
        ("nodes.ca_file", &nodes.ca_file),
        ("etcd.certificate_file", &etcd.certificate_file),
        ("etcd.ca_file", &etcd.ca_file),
        ("redis.certificate_file", &redis.certificate_file),
        ("redis.ca_file", &redis.ca_file),
        ("kafka.certificate_file", &kafka.certificate_file),
        ("kafka.ca_file", &kafka.ca_file),
    ];
    let named = named.into_iter().map(|(key, file)| (key, file.clone())).chain(mysql);
    Ok(named.filter(|(_, file)| !file.as_os_str().is_empty()).collect())
}

/// What is to be said of a file, and the days until the first certificate in it ends.
fn judge_certificates(key: &str, file: &Path, now: i64) -> (i64, Check) {
    const NAME: &str = "certificate";
    let why = match key {
        "tls.certificate_file" => "browsers refuse the connection",
        _ => "connections with other servers are refused",
    };
    let shown = file.display();
    let fail = |found: String| (i64::MIN, Check::fail(NAME, found, why, format!("renew {key}")));
    let pem = match fs::read(file) {
        Ok(pem) => pem,
        Err(error) => return fail(format!("{key}: {shown}: {error}")),
    };
    let (mut days, mut is_rsa) = (i64::MAX, false);
    for pem in x509_parser::pem::Pem::iter_from_buffer(&pem) {
        let Ok(pem) = pem else { return fail(format!("{key}: {shown} is not PEM")) };
        // A key may be in the same file.
        if pem.label != "CERTIFICATE" {
            continue;
        }
        let Ok(certificate) = pem.parse_x509() else { return fail(format!("{key}: {shown} is not a certificate")) };
        is_rsa |= matches!(certificate.public_key().parsed(), Ok(PublicKey::RSA(_))) && days == i64::MAX;
        days = days.min((certificate.validity().not_after.timestamp() - now).div_euclid(86_400));
    }
    // The first one is the server's own.
    let kind = match key {
        "tls.certificate_file" if is_rsa => " (RSA: an ECDSA one needs a third of the CPU in a handshake)",
        _ => "",
    };
    let check = match days {
        i64::MAX => return fail(format!("{key}: {shown} holds no certificate in PEM")),
        ..0 => Check::fail(NAME, format!("{key} expired {} days ago", -days), why, format!("renew {shown}")),
        0..14 => Check::warn(NAME, format!("{key} expires in {days} days"), why, format!("renew {shown}")),
        _ => Check::ok(NAME, format!("{key} is valid for {days} days{kind}")),
    };
    (days, check)
}

/// The versions of this program, of the server that runs at the address, and of all nodes of the deployment.
async fn versions(config: &Config) -> Check {
    const NAME: &str = "versions";
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let mut nodes = match backends::node_versions(config).await {
        Ok(nodes) => nodes,
        Err(error) => {
            let found = format!("barrage {OWN} here; the other nodes cannot be asked: {error:#}");
            let why = "nodes of different versions are meant to meet during an upgrade alone";
            return Check::warn(NAME, found, why, "mend redis.url or etcd.endpoints, and ask again");
        }
    };
    if let Some(running) = running_version(config).await {
        nodes.push((format!("the server at {}", config.server.listen), running));
    }
    judge_versions(OWN, &nodes)
}

fn judge_versions(own: &'static str, nodes: &[(String, String)]) -> Check {
    const NAME: &str = "versions";
    let shown = |(name, version): &(String, String)| match version.as_str() {
        "" => format!("{name} does not say"),
        version => format!("{name} {version}"),
    };
    let others: Vec<String> = nodes.iter().map(shown).collect();
    let found = std::iter::once(format!("barrage {own} here")).chain(others).collect::<Vec<_>>().join(", ");
    if nodes.iter().all(|(_, version)| version == own) {
        return Check::ok(NAME, found);
    }
    let why = "nodes of different versions are meant to meet during an upgrade alone";
    Check::warn(NAME, found, why, "finish the upgrade: restart the nodes of the other version, one after the other")
}

/// What the server at the configured address says, if one runs there.
async fn running_version(config: &Config) -> Option<String> {
    let mut address: SocketAddr = config.server.listen.parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    // A certificate is for the name that clients use, not for this address.
    if !config.tls.certificate_file.as_os_str().is_empty() || address.port() == 0 {
        return None;
    }
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().ok()?;
    let answer = client.get(format!("http://{address}/api/v1/server")).send().await.ok()?;
    let server: serde_json::Value = answer.json().await.ok()?;
    Some(server["version"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_fails_and_a_free_one_is_well() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        assert_eq!(port(&address).status, Status::Fail);
        drop(taken);
        assert_eq!(port(&address).status, Status::Ok);
    }

    #[test]
    fn nodes_of_another_version_are_warned_of() {
        let node = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(judge_versions("1.2.0", &[]).status, Status::Ok);
        assert_eq!(judge_versions("1.2.0", &[node("barrage-1", "1.2.0")]).status, Status::Ok);
        let check = judge_versions("1.2.0", &[node("barrage-1", "1.2.0"), node("barrage-2", "1.1.9")]);
        assert_eq!(check.status, Status::Warn);
        assert!(check.found.contains("barrage-2 1.1.9"), "{}", check.found);
        assert_eq!(judge_versions("1.2.0", &[node("barrage-3", "")]).status, Status::Warn);
    }

    #[test]
    fn a_data_directory_that_others_can_read_is_warned_of() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
        assert_eq!(data(directory.path()).status, Status::Warn);
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("set");
        assert_eq!(data(directory.path()).status, Status::Ok);
        assert_eq!(data(&directory.path().join("none")).status, Status::Ok);
    }

    #[test]
    fn an_expired_certificate_fails_and_one_that_ends_soon_is_warned_of() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = |from: (i32, u8, u8), until: (i32, u8, u8)| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("parameters");
            params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
            let file = directory.path().join("certificate.pem");
            fs::write(&file, params.self_signed(&key).expect("signed").pem()).expect("written");
            judge_certificates("tls.certificate_file", &file, 1_800_000_000).1
        };
        let expired = made((2001, 1, 1), (2002, 1, 1));
        assert_eq!(expired.status, Status::Fail);
        assert!(expired.found.starts_with("tls.certificate_file expired"), "{}", expired.found);
        assert_eq!(made((2001, 1, 1), (2101, 1, 1)).status, Status::Ok);
        assert_eq!(made((2001, 1, 1), (2027, 1, 20)).status, Status::Warn);
    }

    #[test]
    fn the_certificate_that_ends_first_decides_and_each_is_named() {
        let (directory, key) = (tempfile::tempdir().expect("a directory"), rcgen::KeyPair::generate().expect("a key"));
        let write = |name: &str, until: i32| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("parameters");
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
            let file = directory.path().join(name);
            fs::write(&file, params.self_signed(&key).expect("signed").pem()).expect("written");
            file.display().to_string()
        };
        let env = [
            ("BARRAGE__AUTH__HMAC_SECRET", "a-secret-of-some-length".to_owned()),
            ("BARRAGE__REDIS__URL", "rediss://127.0.0.1:1".to_owned()),
            ("BARRAGE__REDIS__CA_FILE", write("redis.pem", 2002)),
            (
                "BARRAGE__STORE__URL",
                format!("mysql://a@127.0.0.1/b?ssl-mode=VERIFY_CA&ssl-ca={}", write("mysql.pem", 2102)),
            ),
            ("BARRAGE__NODES__CA_FILE", write("ca.pem", 2101)),
            ("BARRAGE__NODES__CERTIFICATE_FILE", write("node.pem", 2101)),
            ("BARRAGE__NODES__KEY_FILE", "key.pem".to_owned()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value));
        let check = certificate(&config::load(None, env).expect("a configuration"));
        assert_eq!(check.status, Status::Fail, "{check:?}");
        assert!(check.found.starts_with("redis.ca_file expired"), "{check:?}");
        for key in ["nodes.ca_file is valid", "nodes.certificate_file is valid", "store.url: ssl-ca is valid"] {
            assert!(check.found.contains(key), "{key}: {check:?}");
        }
    }
}

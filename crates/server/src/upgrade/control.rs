//! How `barrage upgrade` reaches a running server: an abstract Unix socket that is named by the server's process id.
//!
//! The name alone shows that a process is a barrage server, and the kernel tells each side who the other is; a process that
//! does not listen there is never signalled. Only root and the server's own user are answered.

use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

/// The request.
const UPGRADE: &[u8] = b"upgrade\n";
/// How long a client may take to send it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an upgrade takes at most, as its client sees it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A request to upgrade: by SIGUSR2, or from a client who waits for the outcome.
pub struct Request(Option<UnixStream>);

impl Request {
    /// A request that nobody waits for.
    pub fn by_signal() -> Self {
        Self(None)
    }

    /// Tells the client the outcome: the new process's id, or why there is none.
    pub fn answer(self, outcome: Result<u32, &anyhow::Error>) {
        let line = match outcome {
            Ok(pid) => format!("ok {pid}\n"),
            Err(error) => format!("failed {}\n", format!("{error:#}").replace('\n', " ")),
        };
        if let Some(mut client) = self.0 {
            // A client that is gone does not wait.
            let _ = client.write_all(line.as_bytes());
        }
    }
}

fn address(pid: u32) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("barrage-upgrade-{pid}"))
}

/// Starts to listen for this process. Without it SIGUSR2 still works. Must be called within a Tokio runtime.
pub fn listen(requests: mpsc::Sender<Request>) {
    let bound = address(std::process::id()).and_then(|address| UnixListener::bind_addr(&address));
    let listener = bound.and_then(|listener| {
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener)
    });
    match listener {
        Ok(listener) => drop(tokio::spawn(serve(listener, requests))),
        Err(error) => tracing::warn!(%error, "`barrage upgrade` cannot reach this process; SIGUSR2 can"),
    }
}

async fn serve(listener: tokio::net::UnixListener, requests: mpsc::Sender<Request>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let requests = requests.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(REQUEST_TIMEOUT, read(client)).await {
                Ok(Ok(request)) => pass_on(request, &requests),
                Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "a request to upgrade was refused"),
                Err(_) => {}
            }
        });
    }
}

fn pass_on(request: Request, requests: &mpsc::Sender<Request>) {
    if let Err(error) = requests.try_send(request) {
        let (mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request)) = error;
        request.answer(Err(&anyhow::anyhow!("another upgrade is under way, or the server ends")));
    }
}

async fn read(mut client: tokio::net::UnixStream) -> anyhow::Result<Request> {
    let peer = client.peer_cred()?;
    // SAFETY: geteuid takes no argument and cannot fail.
    let own = unsafe { libc::geteuid() };
    ensure!(peer.uid() == own || peer.uid() == 0, "user {} may not upgrade this server", peer.uid());
    let mut request = [0; UPGRADE.len()];
    client.read_exact(&mut request).await?;
    ensure!(request == UPGRADE, "it asks for something unknown");
    let client = client.into_std()?;
    client.set_nonblocking(false)?;
    Ok(Request(Some(client)))
}

/// Asks the server with this process id to upgrade, and waits for the outcome: the new process's id.
pub fn ask(pid: u32) -> anyhow::Result<u32> {
    let no_server = || format!("process {pid} is no barrage server that can be upgraded; it was left alone");
    let mut server = UnixStream::connect_addr(&address(pid)?).with_context(no_server)?;
    ensure!(peer_pid(&server)? == pid, no_server());
    server.write_all(UPGRADE)?;
    server.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).context("the server did not answer")?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", pid)) => pid.parse().context("an answer that makes no sense"),
        Some(("failed", why)) => bail!("{why}"),
        _ => bail!("the server ended during the upgrade; its log says why"),
    }
}

fn peer_pid(stream: &UnixStream) -> anyhow::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>())?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(stream);
    // SAFETY: the option stores one ucred, for which there is space, and both pointers outlive the call.
    let done = unsafe {
        let to = (&raw mut peer).cast();
        libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut length)
    };
    ensure!(done == 0, std::io::Error::last_os_error());
    Ok(u32::try_from(peer.pid)?)
}

//! The old process's side: starts the new one, hands over, and takes everything back when that fails.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use gateway::handover::{Goodbye, Inherited, Parked};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::Deserialize;

use super::channel::{Channel, DESCRIPTORS_MAX, Kind, Message};
use super::control::Request;
use super::{CHANNEL_VARIABLE, Inheritance, Listeners, MAGIC, Program, VERSION, systemd};

/// A new process that has not loaded its configuration by then has failed, and so has one that has not opened everything as
/// long after the hand-over began.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long the new process may take to serve once it was told to.
const SERVING_WITHIN: Duration = Duration::from_secs(5);
/// States that go into one message.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long sockets that cannot move have to take their close.
const GOODBYE: Duration = Duration::from_secs(2);
const GOODBYE_INTERVAL: Duration = Duration::from_millis(10);

/// What a new process says first.
#[derive(Deserialize)]
struct Hello {
    magic: String,
    version: u32,
}

/// The new process. Dropped before it serves, it is ended.
pub struct Successor {
    child: Option<Child>,
    channel: Channel,
}

impl Successor {
    /// Starts the program and waits until it has loaded its configuration. Blocks; this process serves on meanwhile.
    ///
    /// # Errors
    /// When there is no such program, it ends, it is no barrage of this version of the protocol, or it takes too long. It
    /// has been ended then.
    pub fn start(program: &Program) -> anyhow::Result<Self> {
        let deadline = Instant::now() + READY_WITHIN;
        let (ours, theirs) = UnixStream::pair()?;
        // Only the new process is started while it can be inherited.
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let mut command = program.command();
        command.env(CHANNEL_VARIABLE, theirs.as_raw_fd().to_string());
        tracing::info!(program = %program.path().display(), "upgrading: starting the new process");
        let child = command.spawn().with_context(|| format!("cannot start {}", program.path().display()))?;
        drop(theirs);
        let mut successor = Self { child: Some(child), channel: Channel::new(ours, deadline) };
        let hello = successor.expect(Kind::Hello)?;
        let hello: Hello = serde_json::from_slice(&hello.payload).context("the new process is no barrage")?;
        ensure!(hello.magic == MAGIC, "the new process is no barrage");
        ensure!(
            hello.version == VERSION,
            "the new process hands over by version {} of the protocol, this one by {VERSION}: restart instead",
            hello.version
        );
        Ok(successor)
    }

    /// The new process's id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The next message, which has to be this one.
    fn expect(&mut self, kind: Kind) -> anyhow::Result<Message> {
        match self.channel.receive() {
            Ok(Some(message)) if message.kind == kind => Ok(message),
            Ok(Some(Message { kind: Kind::Failed, payload, .. })) => {
                bail!("the new process failed: {}", String::from_utf8_lossy(&payload))
            }
            Ok(Some(message)) => bail!("the new process said {:?} instead of {kind:?}", message.kind),
            Ok(None) => bail!("the new process ended before it was ready{}", self.exit()),
            Err(error) if is_timeout(&error) => {
                bail!("the new process was not ready within {} s", READY_WITHIN.as_secs())
            }
            Err(error) => Err(error),
        }
    }

    /// How the new process ended, if it did so a moment ago.
    fn exit(&mut self) -> String {
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        status.map_or_else(String::new, |status| format!(" ({status})"))
    }

    fn hand_over(&mut self, listeners: &Listeners, inherited: &Inherited) -> anyhow::Result<()> {
        let names: Vec<_> = listeners.inherited.iter().map(|open| (&open.setting, &open.address)).collect();
        let sockets: Vec<_> = listeners.inherited.iter().map(|open| open.socket.as_fd()).collect();
        self.channel.send(Kind::Listeners, &serde_json::to_vec(&names)?, &sockets)?;
        let mut batch = Batch::default();
        for parked in &inherited.sockets {
            let Some((socket, state)) = parked.to_wire()? else { continue };
            batch.add(socket, &state)?;
            if batch.is_full() {
                std::mem::take(&mut batch).send(&mut self.channel)?;
            }
        }
        batch.send(&mut self.channel)?;
        self.channel.send(Kind::Complete, &serde_json::to_vec(&inherited.state)?, &[])
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_timeout(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock))
}

/// Sockets of one message.
#[derive(Default)]
struct Batch<'a> {
    sockets: Vec<BorrowedFd<'a>>,
    states: Vec<u8>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, socket: BorrowedFd<'a>, state: &[u8]) -> anyhow::Result<()> {
        self.sockets.push(socket);
        self.states.extend_from_slice(&u32::try_from(state.len())?.to_be_bytes());
        self.states.extend_from_slice(state);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.sockets.len() == DESCRIPTORS_MAX || self.states.len() >= BATCH_BYTES
    }

    fn send(self, channel: &mut Channel) -> anyhow::Result<()> {
        if self.sockets.is_empty() { Ok(()) } else { channel.send(Kind::Sockets, &self.states, &self.sockets) }
    }
}

/// Everything that this process hands over, after it has let go of its store.
pub struct Parting {
    pub successor: Successor,
    pub request: Request,
    pub listeners: Listeners,
    pub gateway: Inherited,
    /// When it stopped reading its sockets.
    pub frozen: Instant,
}

/// How a parting ended.
pub enum Parted {
    /// The new process serves. This one may end.
    Done,
    /// The new process failed and is gone. This one takes everything back.
    TakenBack(Box<Inheritance>),
}

impl Parting {
    /// Hands over. Blocks until the new process serves or has failed.
    ///
    /// # Errors
    /// When the new process failed after it was told to serve: the sockets may be half written by then, and are lost.
    pub fn finish(self) -> anyhow::Result<Parted> {
        let Self { mut successor, request, listeners, gateway, frozen } = self;
        successor.channel.set_deadline(Instant::now() + READY_WITHIN);
        // What it says by then tells more than that it does not take what it is sent.
        let sent = successor.hand_over(&listeners, &gateway);
        let ready =
            successor.expect(Kind::Ready).and_then(|_| sent.context("the new process did not take the sockets"));
        if let Err(error) = ready {
            // Gone before the store is opened again.
            drop(successor);
            tracing::error!(error = format!("{error:#}"), "the upgrade failed; this process serves on");
            request.answer(Err(&error));
            return Ok(Parted::TakenBack(Box::new(Inheritance { listeners, gateway, predecessor: None })));
        }
        successor.channel.set_deadline(Instant::now() + SERVING_WITHIN);
        let serving = successor.channel.send(Kind::Go, &[], &[]).and_then(|()| successor.expect(Kind::Serving));
        if let Err(error) = serving {
            let error = error.context("the new process failed as it began to serve; start the server again");
            request.answer(Err(&error));
            return Err(error);
        }
        let (pid, sockets) = (successor.pid(), gateway.sockets.len());
        let paused_ms = u64::try_from(frozen.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(pid, sockets, paused_ms, "the new process serves; this one ends");
        systemd::notify(&format!("MAINPID={pid}"));
        successor.child = None;
        say_goodbye(gateway.sockets);
        request.answer(Ok(pid));
        Ok(Parted::Done)
    }
}

/// Tells the sockets that cannot move to connect again; the others are only closed here, and live on.
fn say_goodbye(sockets: Vec<Parked>) {
    let stay = sockets.into_iter().filter_map(|parked| match parked.to_wire() {
        Ok(None) => parked.say_goodbye(),
        _ => None,
    });
    let mut stay: Vec<Goodbye> = stay.collect();
    let until = Instant::now() + GOODBYE;
    while !stay.is_empty() && Instant::now() < until {
        stay.retain_mut(Goodbye::advance);
        #[expect(clippy::disallowed_methods, reason = "nothing else runs in this process any more")]
        std::thread::sleep(GOODBYE_INTERVAL);
    }
}

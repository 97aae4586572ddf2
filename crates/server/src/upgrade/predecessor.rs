//! The new process's side: says what it is, takes everything in, and serves when it is told to.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use gateway::handover::{Inherited, Parked};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;

use super::channel::{Channel, Kind};
use super::{CHANNEL_VARIABLE, Inheritance, Listener, Listeners, MAGIC, VERSION};

/// How long the old process may take to hand over, and then to say that this one serves. The old one gives up sooner.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process that started this one to take over from it.
pub struct Predecessor(Channel);

impl Predecessor {
    /// The process that started this one, if it is there to take over.
    ///
    /// # Errors
    /// When the environment names something that is no channel.
    pub fn find() -> anyhow::Result<Option<Self>> {
        let Some(number) = std::env::var_os(CHANNEL_VARIABLE) else { return Ok(None) };
        let number = number.to_str().and_then(|number| number.parse().ok());
        let number: i32 =
            number.filter(|number| *number > 2).with_context(|| format!("{CHANNEL_VARIABLE} is wrong"))?;
        // SAFETY: the process that started this one left the descriptor open for it, and nothing else here knows its number.
        let channel = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl_setfd(&channel, FdFlags::CLOEXEC).with_context(|| format!("{CHANNEL_VARIABLE} names nothing open"))?;
        Ok(Some(Self(Channel::new(UnixStream::from(channel), Instant::now() + PATIENCE))))
    }

    /// Says what this process is, and takes in what the old one hands over. Blocks.
    ///
    /// # Errors
    /// When the old process ends or stops before it has handed over everything.
    pub fn receive(mut self) -> anyhow::Result<Inheritance> {
        let hello = json!({ "magic": MAGIC, "version": VERSION, "program": env!("CARGO_PKG_VERSION") });
        self.0.send(Kind::Hello, &serde_json::to_vec(&hello)?, &[])?;
        let (mut listeners, mut gateway) = (Listeners::default(), Inherited::default());
        loop {
            let message = self.0.receive()?.context("the old process ended before it had handed over")?;
            match message.kind {
                Kind::Listeners => listeners.inherited = received_listeners(&message.payload, message.descriptors)?,
                Kind::Sockets => received_sockets(&message.payload, message.descriptors, &mut gateway.sockets)?,
                Kind::Complete => {
                    gateway.state = serde_json::from_slice(&message.payload).context("the sockets' state")?;
                    return Ok(Inheritance { listeners, gateway, predecessor: Some(self) });
                }
                other => bail!("the old process said {other:?}"),
            }
        }
    }

    /// Says that this process is ready, and waits for the word. An old process that has died by then has nothing more to
    /// say: it had let go of everything. Blocks.
    ///
    /// # Errors
    /// When the old process is there and does not say it in time.
    pub fn await_go(&mut self) -> anyhow::Result<()> {
        self.0.set_deadline(Instant::now() + PATIENCE);
        if self.0.send(Kind::Ready, &[], &[]).is_err() {
            return Ok(());
        }
        match self.0.receive()? {
            None => Ok(()),
            Some(message) => {
                ensure!(message.kind == Kind::Go, "the old process said {:?}", message.kind);
                Ok(())
            }
        }
    }

    /// Says that this process serves.
    pub fn serves(mut self) {
        // The old process may have died.
        let _ = self.0.send(Kind::Serving, &[], &[]);
    }

    /// Says that this process cannot, and why.
    pub fn fail(mut self, error: &anyhow::Error) {
        let _ = self.0.send(Kind::Failed, format!("{error:#}").as_bytes(), &[]);
    }
}

fn received_listeners(names: &[u8], sockets: Vec<OwnedFd>) -> anyhow::Result<Vec<Listener>> {
    let names: Vec<(String, String)> = serde_json::from_slice(names).context("the listeners")?;
    ensure!(names.len() == sockets.len(), "{} listeners with {} names", sockets.len(), names.len());
    let named = names.into_iter().zip(sockets);
    Ok(named.map(|((setting, address), socket)| Listener { setting, address, socket: socket.into() }).collect())
}

fn received_sockets(mut states: &[u8], sockets: Vec<OwnedFd>, parked: &mut Vec<Parked>) -> anyhow::Result<()> {
    for socket in sockets {
        let (length, rest) = states.split_first_chunk().context("a socket without a state")?;
        let length = u32::from_be_bytes(*length) as usize;
        let (state, rest) = rest.split_at_checked(length).context("a state that is cut")?;
        parked.push(Parked::from_wire(socket, state).context("the state of a socket")?);
        states = rest;
    }
    Ok(())
}

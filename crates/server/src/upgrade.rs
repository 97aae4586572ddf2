//! Upgrades: another process of a new binary takes over the listeners and the sockets of this one, and no client notices.
//!
//! The old process starts the new one ([`Successor::start`]) and serves on until that one has loaded its configuration. Then it
//! stops reading, finishes what runs, parks its sockets and lets go of the store ([`crate::lifecycle`]). It hands over
//! everything ([`Parting::finish`]); the new process opens the store, takes everything in, and serves when it is told to. Only one of the
//! two ever reads or writes a socket. Until it says that word the old process can take its own parked sockets in again, with the
//! code by which a new process does; so whatever goes wrong with a new binary, no socket closes.

mod channel;
pub mod control;
mod predecessor;
mod program;
mod successor;
pub mod systemd;

use std::net::TcpListener;

use anyhow::Context as _;
use gateway::handover::Inherited;

use crate::roles::gateway::bind;

pub use self::predecessor::Predecessor;
pub use self::program::Program;
pub use self::successor::{Parted, Parting, Successor};

/// The variable that names the descriptor of the new process's end.
const CHANNEL_VARIABLE: &str = "BARRAGE_UPGRADE_CHANNEL";
/// What both sides begin with, and the version of what follows. A process of another version is not handed anything.
const MAGIC: &str = "barrage upgrade";
const VERSION: u32 = 1;

/// What a process begins with.
#[derive(Default)]
pub struct Inheritance {
    /// Listeners that are open already.
    pub listeners: Listeners,
    /// The sockets, and what they have in common.
    pub gateway: Inherited,
    /// The process that hands them over; `None` at an ordinary start, and when the old process takes its own back.
    pub predecessor: Option<Predecessor>,
}

/// A listener, by the setting that names its address and by the address as it is configured.
struct Listener {
    setting: String,
    address: String,
    socket: TcpListener,
}

/// The listeners of this process.
#[derive(Default)]
pub struct Listeners {
    inherited: Vec<Listener>,
    open: Vec<Listener>,
}

impl Listeners {
    /// The listener of this setting: the inherited one, if the address is still the same, or a new one.
    ///
    /// # Errors
    /// Names the setting and the address that cannot be listened on.
    pub fn listen(&mut self, setting: &str, address: &str) -> anyhow::Result<TcpListener> {
        let same = |listener: &Listener| listener.setting == setting && listener.address == address;
        let listener = match self.inherited.iter().position(same) {
            Some(at) => self.inherited.swap_remove(at),
            None => {
                let socket = bind(address).with_context(|| format!("{setting}: cannot listen on {address}"))?;
                Listener { setting: setting.to_owned(), address: address.to_owned(), socket }
            }
        };
        let socket = listener.socket.try_clone()?;
        self.open.push(listener);
        Ok(socket)
    }

    /// Closes those of settings that are off by now.
    pub fn close_unused(&mut self) {
        self.inherited.clear();
    }

    /// The same listeners, for another process or for this one again.
    pub fn hand_over(self) -> Self {
        Self { inherited: self.open, open: Vec::new() }
    }
}

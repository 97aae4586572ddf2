//! `upgrade`: makes a running server hand over to the binary that is now at its path.
//!
//! It finds the server by its process id or by its data directory, asks it, and waits until the new process serves and the old
//! one has ended. It signals nobody.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::cli::Upgrade;
use crate::private;
use crate::upgrade::control;

/// How long the old process may take to end after the new one serves.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Upgrades, and prints the new process's id.
pub fn run(args: &Upgrade) -> anyhow::Result<()> {
    let pid = match args.pid {
        Some(pid) => pid,
        None => private::running(&super::configuration(&args.place)?.server.data)?,
    };
    let new = control::ask(pid)?;
    let until = Instant::now() + ENDS_WITHIN;
    while is_running(pid) {
        ensure!(Instant::now() < until, "process {new} serves, but {pid} has not ended");
        #[expect(clippy::disallowed_methods, reason = "this command has nothing else to do")]
        std::thread::sleep(POLL_INTERVAL);
    }
    super::say(&format!("process {new} serves; {pid} has ended"))
}

/// Whether the process is there; one that has ended may wait for its parent to notice.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

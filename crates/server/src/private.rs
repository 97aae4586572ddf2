//! The data directory and its files: only the server's own user may read them.
//!
//! Called before anything is written there. Names no file but those of [`OURS`], since the directory may hold others'.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;

const DIRECTORY: u32 = 0o700;
const FILE: u32 = 0o600;
/// Rights of the group and of everybody.
const OTHERS: u32 = 0o077;
/// Files that an earlier version may have made for everybody to read.
const OURS: [&str; 9] = [
    "barrage.sqlite",
    "barrage.sqlite-wal",
    "barrage.sqlite-shm",
    "barrage.sqlite.lock",
    "spool.sqlite",
    "spool.sqlite-wal",
    "spool.sqlite-shm",
    "spool.sqlite.lock",
    "secret",
];

/// What this process writes from here on is its user's alone, whatever the shell's umask.
pub fn restrict_new_files() {
    // SAFETY: umask takes no pointer and cannot fail.
    unsafe { libc::umask(OTHERS) };
}

/// Names the process that serves from a data directory, for `barrage upgrade`.
const PID_FILE: &str = "barrage.pid";

/// Writes down that this process serves from the directory.
pub fn note_pid(data: &Path) {
    let (file, partial) = (data.join(PID_FILE), data.join("barrage.pid.partial"));
    let written = directory(data).and_then(|()| {
        std::fs::write(&partial, format!("{}\n", std::process::id()))?;
        Ok(std::fs::rename(&partial, &file)?)
    });
    if let Err(error) = written {
        tracing::warn!(file = %file.display(), error = format!("{error:#}"), "the process id was not written down");
    }
}

/// This process serves from the directory no more.
pub fn forget_pid(data: &Path) {
    if running(data).is_ok_and(|pid| pid == std::process::id()) {
        // A file that stays names a process that is gone, which is noticed.
        let _ = std::fs::remove_file(data.join(PID_FILE));
    }
}

/// The process that serves from the directory.
pub fn running(data: &Path) -> anyhow::Result<u32> {
    let file = data.join(PID_FILE);
    let text = std::fs::read_to_string(&file);
    let text =
        text.with_context(|| format!("no server runs with this data directory: cannot read {}", file.display()))?;
    text.trim().parse().with_context(|| format!("{} holds no process id", file.display()))
}

/// Makes the directory for its user alone, and takes others' rights to our files away. A directory that exists stays as it
/// is: it may be shared on purpose. Others may then list it, which is logged.
pub fn directory(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))?;
    if std::fs::metadata(path).is_ok_and(|found| found.mode() & OTHERS != 0) {
        tracing::warn!(directory = %path.display(), "other users may list the data directory; chmod 700 keeps them out");
    }
    for file in OURS.map(|name| path.join(name)) {
        let open = std::fs::metadata(&file).is_ok_and(|found| found.mode() & OTHERS != 0);
        if open && let Err(error) = std::fs::set_permissions(&file, Permissions::from_mode(FILE)) {
            tracing::warn!(file = %file.display(), %error, "other users may read a file of the data directory");
        }
    }
    Ok(())
}

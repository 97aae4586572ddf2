//! How this process was started, so that another can be started the same way.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program's path and its arguments, as they were at the start.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// This process. Called before anything is replaced.
    pub fn of_this_process() -> Self {
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_default();
        let path = started_by(&name).unwrap_or_else(own_file);
        Self { path, name, arguments: words.collect() }
    }

    /// The path at which the next program is looked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same call, of whatever file is at the path now.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        command
    }
}

/// The path that was called, links unresolved: a deployment may put a link to another file.
fn started_by(name: &OsString) -> Option<PathBuf> {
    let name = Path::new(name);
    let candidates: Vec<PathBuf> = if name.components().count() > 1 {
        vec![std::env::current_dir().ok()?.join(name)]
    } else {
        std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).collect()
    };
    let own = fs::metadata("/proc/self/exe").ok()?;
    let is_own =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == (own.dev(), own.ino()));
    candidates.into_iter().find(is_own)
}

/// The file that runs, or that was at its place when it was deleted.
fn own_file() -> PathBuf {
    let file = std::env::current_exe().unwrap_or_default();
    let text = file.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| file.clone(), PathBuf::from)
}

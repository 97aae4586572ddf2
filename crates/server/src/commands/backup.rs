//! `backup`: a copy of the SQLite database as of one moment, also while a server writes to it.
//!
//! The copy appears under its name only when it is complete and on disk. Uploads are not in it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;

use crate::backends;
use crate::cli::Backup;

/// Writes the copy.
pub fn run(args: &Backup) -> anyhow::Result<()> {
    let config = super::configuration(&args.place)?;
    if !config.store.url.is_empty() {
        bail!("store.url is set: back up that database with its own tools, see docs/operations.md");
    }
    let (file, partial) = (args.file.as_path(), args.file.with_added_extension("partial"));
    if file.exists() {
        bail!("{} exists; a backup replaces nothing", file.display());
    }
    let bar = ProgressBar::new_spinner().with_message(format!("writing {}", file.display()));
    bar.enable_steady_tick(Duration::from_millis(100));
    let copied = copy(&config.server.data, file, &partial);
    bar.finish_and_clear();
    if copied.is_err() {
        // Incomplete, so nobody misses it.
        let _ = std::fs::remove_file(&partial);
    }
    copied?;
    super::say(&format!(
        "{}: {} bytes. Keep the file `secret` of the data directory with it.",
        file.display(),
        file.metadata()?.len()
    ))
}

fn copy(data: &Path, file: &Path, partial: &Path) -> anyhow::Result<()> {
    // What an interrupted backup left is no use to anybody.
    let _ = std::fs::remove_file(partial);
    backends::snapshot_sqlite(data, partial)?;
    File::open(partial)?.sync_all().context("cannot write the copy to disk")?;
    // Unlike a rename, a link replaces no file that appeared meanwhile.
    std::fs::hard_link(partial, file).with_context(|| format!("cannot make {}", file.display()))?;
    std::fs::remove_file(partial)?;
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all().context("cannot write the directory to disk")
}

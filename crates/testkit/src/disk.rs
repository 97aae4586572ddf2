//! A small disk that a test fills.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory over a directory, until it is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of six megabytes. `None`, and a line that says so, when this user may not mount it.
    #[must_use]
    pub fn over(directory: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(directory).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(directory.to_owned()));
        }
        eprintln!("SKIPPED: this user may not mount a file system");
        None
    }

    /// Takes every byte that is left.
    ///
    /// # Panics
    /// When there is no file to be made.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).expect("a file");
        for chunk in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; chunk]).is_ok() {}
        }
    }

    /// Gives it back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still hold its files: the kernel lets go when it does.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

//! A machine whose clock is wrong.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::Options;

/// A clock of its own for one node, by `libfaketime`: what the process calls the time of day is off, while time passes as
/// it does.
pub struct WrongClock {
    library: PathBuf,
    directory: TempDir,
}

impl WrongClock {
    /// One that is off by so many seconds. `None`, and a line that says so, when the library is not installed.
    ///
    /// # Panics
    /// When there is no temporary directory.
    #[must_use]
    pub fn off_by(seconds: i64) -> Option<Self> {
        let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
        let libraries = places.map(|place| PathBuf::from(format!("/usr/lib/{place}/faketime/libfaketimeMT.so.1")));
        let Some(library) = libraries.into_iter().find(|library| library.exists()) else {
            eprintln!("SKIPPED: libfaketime is not installed; scripts/setup does that");
            return None;
        };
        let clock = Self { library, directory: tempfile::tempdir().expect("a directory") };
        clock.step_to(seconds);
        Some(clock)
    }

    /// It is off by so many seconds from now on.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn step_to(&self, seconds: i64) {
        let next = self.directory.path().join("next");
        std::fs::write(&next, format!("{seconds:+}\n")).expect("a file");
        std::fs::rename(next, self.file()).expect("a file");
    }

    /// The node, with this clock.
    #[must_use]
    pub fn rules(&self, node: Options) -> Options {
        let path = |path: PathBuf| path.display().to_string();
        node.env("LD_PRELOAD", &path(self.library.clone()))
            .env("FAKETIME_TIMESTAMP_FILE", &path(self.file()))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("faketime")
    }
}

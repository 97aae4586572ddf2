//! One command, one file.

pub mod bench;
pub mod check_config;
pub mod import;
pub mod play;
pub mod serve;
pub mod token;

use std::path::Path;

use crate::cli::Place;
use crate::config::{self, Config};

/// `default-config`
pub fn default_config() -> anyhow::Result<()> {
    print!("{}", config::DEFAULT);
    Ok(())
}

/// The configuration of the server that a command speaks about.
fn configuration(place: &Place) -> anyhow::Result<Config> {
    let mut config = config::load(place.config.as_deref(), std::env::vars())?;
    if let Some(data) = &place.data {
        config.server.data.clone_from(data);
    }
    Ok(config)
}

fn read_recording(file: &Path) -> anyhow::Result<recording::Recording> {
    use anyhow::Context;
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    recording::parse(&text).with_context(|| format!("{} is not a file of recorded comments", file.display()))
}

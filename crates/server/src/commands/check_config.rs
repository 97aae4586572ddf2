//! `check-config`: what is wrong with a file, with the line.

use std::path::Path;

use crate::config;

/// Reads the file as `serve` would, without the environment.
pub fn run(file: &Path) -> anyhow::Result<()> {
    config::load(Some(file), std::iter::empty())?;
    println!("{}: ok", file.display());
    Ok(())
}

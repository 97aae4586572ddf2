//! `check-config`: what is wrong with a file, with the line.

use std::path::Path;

use anyhow::Context;

use crate::{config, wiring};

/// Reads the file as `serve` would, without the environment.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let config = config::load(Some(file), std::iter::empty())?;
    wiring::open_tls(&config.tls).with_context(|| format!("{}: [tls]", file.display()))?;
    wiring::check_authorities(&config).with_context(|| file.display().to_string())?;
    println!("{}: ok", file.display());
    Ok(())
}

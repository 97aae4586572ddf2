//! `check-config`: reports what is wrong with a configuration file, with the line.

use std::path::Path;

use anyhow::Context;

use crate::{backends, config, roles};

/// Loads the file as `serve` would, without the environment.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let config = config::load(Some(file), std::iter::empty())?;
    roles::gateway::open_tls(&config.tls).with_context(|| format!("{}: [tls]", file.display()))?;
    backends::check(&config).with_context(|| file.display().to_string())?;
    super::say(&format!("{}: ok", file.display()))
}

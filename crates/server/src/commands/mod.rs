//! The commands, a file each.
//!
//! `main` calls them. Commands beside `serve` read the configuration only to find the server's secret.

pub mod admin;
pub mod archive;
pub mod audit;
pub mod backup;
pub mod bench;
pub mod check_config;
pub mod doctor;
pub mod export;
pub mod import;
pub mod plan;
pub mod play;
pub mod serve;
pub mod token;
pub mod upgrade;

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use crate::cli::{Cli, DataLocation};
use crate::config::{self, Config};

/// `default-config`
pub fn default_config() -> anyhow::Result<()> {
    say(config::manual().trim_end())
}

/// Prints what a command was asked for, as a line. Its reader may be gone, or the disk full: that is an error, not a panic.
fn say(text: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}

/// `completions`
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "barrage", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())
}

/// `man`: one page for the program and all its commands.
pub fn man() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    clap_mangen::Man::new(program.clone()).render(&mut out)?;
    for command in program.get_subcommands() {
        writeln!(out, ".SH \"BARRAGE {}\"", command.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(command.clone());
        page.render_description_section(&mut out)?;
        page.render_options_section(&mut out)?;
    }
    Ok(())
}

/// The configuration of the server that a command is about.
fn configuration(place: &DataLocation) -> anyhow::Result<Config> {
    let mut config = config::load(place.config.as_deref(), std::env::vars())?;
    if let Some(data) = &place.data {
        config.server.data.clone_from(data);
    }
    Ok(config)
}

/// Reads recorded comments from a file, or from the standard input (`-`).
fn read_recording(file: &Path, format: recording::Format) -> anyhow::Result<recording::Recording> {
    use anyhow::Context;
    open_recording(file, format).with_context(|| format!("cannot read {}", file.display()))
}

fn open_recording(file: &Path, format: recording::Format) -> anyhow::Result<recording::Recording> {
    if file == Path::new("-") {
        return Ok(recording::parse_from(progress_bar(None).wrap_read(std::io::stdin().lock()), format)?);
    }
    let input = std::fs::File::open(file)?;
    let length = input.metadata()?.len();
    Ok(recording::parse_from(progress_bar(Some(length)).wrap_read(input), format)?)
}

/// Progress in bytes on the standard error, cleared at its end.
fn progress_bar(length: Option<u64>) -> indicatif::ProgressBar {
    let template = "{binary_bytes} of {binary_total_bytes} read {wide_bar}";
    let style =
        indicatif::ProgressStyle::with_template(if length.is_some() { template } else { "{binary_bytes} read" });
    let bar = length.map_or_else(indicatif::ProgressBar::no_length, indicatif::ProgressBar::new);
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar).with_finish(indicatif::ProgressFinish::AndClear)
}

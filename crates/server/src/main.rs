//! `barrage`: the one binary, an enum of commands and a match.

// `println!` panics when nobody reads or the disk is full; `commands::say` reports it.
#![warn(clippy::print_stdout)]

mod backends;
mod cli;
mod commands;
mod config;
mod lifecycle;
mod log_limit;
mod logging;
mod private;
mod roles;
mod secret;
mod self_signed;
mod server;
mod telemetry;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;

/// The lowest resident memory per connection of the allocators measured: 180 bytes where mimalloc has 4 to 12 thousand.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Every HTTP client asks for one, that of `import` and `bench` too. Nobody has set another before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command = match cli::Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return refuse(&error),
    };
    if !matches!(command, cli::Command::Serve(_) | cli::Command::Bench(_)) {
        end_with_the_reader();
    }
    let code = match run(command) {
        Ok(code) => code,
        Err(error) => {
            model::stderr::complain("barrage", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    model::stderr::flush();
    model::reports::flush();
    code
}

/// Says what is wrong with the arguments. A value that is out of its range takes one line, as scripts read it.
fn refuse(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        error.exit();
    }
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    model::stderr::write(format!("{line}\n").as_bytes());
    model::stderr::flush();
    ExitCode::from(2)
}

/// Ends a command silently when nobody reads its output any more, as in `barrage plan … | head`. Rust ignores the signal, and
/// the print that fails would panic. Sockets are not concerned: they are written without the signal.
fn end_with_the_reader() {
    // SAFETY: no other thread runs yet, and the default action needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Runs a command. Only `doctor` and `archive verify` have a failure that is no error of its own.
fn run(command: cli::Command) -> anyhow::Result<ExitCode> {
    match command {
        cli::Command::Serve(args) => commands::serve::run(args),
        cli::Command::Token(args) => commands::token::run(&args),
        cli::Command::Import(args) => commands::import::run(&args),
        cli::Command::Export(args) => commands::export::run(&args),
        cli::Command::Play(args) => commands::play::run(&args),
        cli::Command::Bench(options) => commands::bench::run(&options),
        cli::Command::Doctor(args) => {
            return commands::doctor::run(&args).map(|failed| ExitCode::from(u8::from(failed)));
        }
        cli::Command::Archive(args) => {
            return commands::archive::run(&args).map(|found| ExitCode::from(u8::from(found)));
        }
        cli::Command::Plan(args) => commands::plan::run(&args),
        cli::Command::Upgrade(args) => commands::upgrade::run(&args),
        cli::Command::Backup(args) => commands::backup::run(&args),
        cli::Command::Admin(args) => commands::admin::run(&args),
        cli::Command::Completions { shell } => commands::completions(shell),
        cli::Command::Man => commands::man(),
        cli::Command::Audit(args) => commands::audit::run(&args),
        cli::Command::CheckConfig { file } => commands::check_config::run(&file),
        cli::Command::DefaultConfig => commands::default_config(),
    }?;
    Ok(ExitCode::SUCCESS)
}

//! `barrage`: the one binary. An enum of commands and a match.

mod cli;
mod commands;
mod config;
mod lifecycle;
mod logging;
mod roles;
mod secret;
mod wiring;

use clap::Parser;

/// The lowest resident memory per connection of the allocators measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    // Every HTTP client asks for one, that of `import` and `bench` too. Nobody has set another before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = match cli::Cli::parse().command {
        cli::Command::Serve(args) => commands::serve::run(args),
        cli::Command::Token(args) => commands::token::run(&args),
        cli::Command::Import(args) => commands::import::run(&args),
        cli::Command::Play(args) => commands::play::run(&args),
        cli::Command::Bench(options) => commands::bench::run(&options),
        cli::Command::CheckConfig { file } => commands::check_config::run(&file),
        cli::Command::DefaultConfig => commands::default_config(),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("barrage: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

//! `serve`: loads the configuration, starts the node, and serves until a signal or until a new process takes over.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use model::stderr::{print, write_json};
use model::{Role, Roles};

use crate::cli::Serve;
use crate::config::{self, Config};
use crate::lifecycle::Outcome;
use crate::roles::Shape;
use crate::roles::gateway::open_tls;
use crate::server::{Server, StartOptions};
use crate::upgrade::{Inheritance, Parted, Predecessor, Program};
use crate::{lifecycle, logging, private};

/// How long tasks that nobody waits for may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until a signal, or until another process does.
pub fn run(args: Serve) -> anyhow::Result<()> {
    let program = Program::of_this_process();
    let predecessor = Predecessor::find()?;
    let loaded = load_config(&args).inspect_err(|_| {
        if config::wants_json_log(args.config.as_deref()) {
            write_json();
        }
    });
    let prepared = loaded.and_then(|(config, roles)| {
        private::restrict_new_files();
        logging::start(&config.log)?;
        logging::start_reports(&config.sentry)?;
        if predecessor.is_some() {
            // What would fail later fails while the old process serves.
            open_tls(&config.tls)?;
        }
        Ok((config, roles))
    });
    match (prepared, predecessor) {
        (Ok((config, roles)), predecessor) => {
            let inheritance = predecessor.map(Predecessor::receive).transpose()?.unwrap_or_default();
            serve(&args, &config, roles, &program, inheritance)
        }
        (Err(error), predecessor) => {
            predecessor.into_iter().for_each(|predecessor| predecessor.fail(&error));
            Err(error)
        }
    }
}

/// Serves in a runtime of its own, which ends before the store is opened by another process, or again by this one.
fn serve(
    args: &Serve,
    config: &Config,
    roles: Roles,
    program: &Program,
    mut inheritance: Inheritance,
) -> anyhow::Result<()> {
    let options =
        StartOptions { roles, dev: args.dev, open: args.i_know_this_is_open, self_signed: args.tls_self_signed };
    let (mut signals, mut announced) = (None, false);
    loop {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
        let outcome = runtime.block_on(async {
            let signals = match &mut signals {
                Some(signals) => signals,
                none => none.insert(lifecycle::Signals::catch()?),
            };
            let mut server = Server::start(config, options, &mut inheritance).await?;
            if !std::mem::replace(&mut announced, true) {
                announce(&server.address, Shape::of(config), roles, server.tls.is_some(), args.dev);
                announce_tls(&server);
            }
            let telemetry = server.telemetry.take();
            let outcome = lifecycle::run(server, config, signals, program).await;
            if let Some(exporter) = telemetry {
                exporter.finish().await;
            }
            outcome
        });
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        let parting = match outcome {
            Ok(Outcome::Stopped) => return Ok(()),
            Ok(Outcome::Parting(parting)) => parting,
            Err(error) => {
                if let Some(predecessor) = inheritance.predecessor.take() {
                    predecessor.fail(&error);
                }
                return Err(error);
            }
        };
        match parting.finish()? {
            Parted::Done => return Ok(()),
            Parted::TakenBack(taken) => inheritance = *taken,
        }
    }
}

fn load_config(args: &Serve) -> anyhow::Result<(Config, Roles)> {
    let mut config = config::load(args.config.as_deref(), std::env::vars())?;
    if let Some(listen) = &args.listen {
        config.server.listen.clone_from(listen);
    }
    if let Some(data) = &args.data {
        config.server.data.clone_from(data);
    }
    let roles = args.roles.unwrap_or(Roles::ALL);
    Shape::of(&config).allows(roles).context("--roles")?;
    let address: SocketAddr = config.server.listen.parse().context("--listen must be an address and port")?;
    ensure!(
        !args.dev || args.i_know_this_is_open || is_loopback(address.ip()),
        "--dev trusts everybody, so it listens on loopback only: {address} is not (or add --i-know-this-is-open)"
    );
    Ok((config, roles))
}

/// Prints where WebTransport is, and the hash by which browsers believe a certificate made for this run.
fn announce_tls(server: &Server) {
    if let Some(address) = server.quic {
        print(&format!("  quic     https://{address}/wt (UDP)"));
    }
    if let Some(hash) = &server.certificate_hash {
        print(&format!("  sha-256  {hash} (of the certificate, valid for 14 days)"));
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback() || matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()))
}

/// Prints where the server listens on standard output, for people and scripts alike.
fn announce(address: &SocketAddr, shape: Shape, roles: Roles, tls: bool, dev: bool) {
    let scheme = if tls { "https" } else { "http" };
    let development = if dev { ", development (identities from the query, open admin API)" } else { "" };
    print(&format!("barrage {} is listening on {scheme}://{address}", env!("CARGO_PKG_VERSION")));
    print(&format!("  mode     {shape}{development}"));
    if roles != Roles::ALL {
        print(&format!("  roles    {roles}; other nodes have to be {}", roles.others()));
    }
    if roles.has(Role::Api) {
        print(&format!("  rooms    {scheme}://{address}/"));
        print(&format!("  viewer   {scheme}://{address}/rooms/lobby"));
        print(&format!("  console  {scheme}://{address}/admin"));
        print(&format!("  API      {scheme}://{address}/api/openapi.json"));
    }
    print(&format!("  health   {scheme}://{address}/readyz"));
}

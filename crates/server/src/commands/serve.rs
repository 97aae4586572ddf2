//! `serve`: configuration → wiring → lifecycle.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use model::{Role, Roles};

use crate::cli::Serve;
use crate::config::{self, Config};
use crate::roles::Shape;
use crate::{lifecycle, logging, wiring};

/// Runs until told to stop.
pub fn run(args: Serve) -> anyhow::Result<()> {
    let (config, roles) = configured(&args)?;
    logging::start(&config.log)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let signals = lifecycle::Signals::catch()?;
        let server = wiring::build(&config, roles, args.dev, args.i_know_this_is_open).await?;
        announce(&server.address, Shape::of(&config), roles, server.tls.is_some(), args.dev);
        lifecycle::run(server, &config, signals).await
    })
}

fn configured(args: &Serve) -> anyhow::Result<(Config, Roles)> {
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

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback() || matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()))
}

/// Start-up tells where to go, on standard output, for people and scripts alike.
fn announce(address: &SocketAddr, shape: Shape, roles: Roles, tls: bool, dev: bool) {
    let scheme = if tls { "https" } else { "http" };
    let development = if dev { ", development (identities from the query, open admin API)" } else { "" };
    println!("barrage {} is listening on {scheme}://{address}", env!("CARGO_PKG_VERSION"));
    println!("  mode     {shape}{development}");
    if roles != Roles::ALL {
        println!("  roles    {roles}; other nodes have to be {}", roles.others());
    }
    if roles.has(Role::Api) {
        println!("  rooms    {scheme}://{address}/");
        println!("  viewer   {scheme}://{address}/rooms/lobby");
        println!("  console  {scheme}://{address}/admin");
        println!("  API      {scheme}://{address}/api/openapi.json");
    }
    println!("  health   {scheme}://{address}/readyz");
}

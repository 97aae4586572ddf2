//! `token`: signs a token with the server's secret.

use std::time::Duration;

use anyhow::{Context, ensure};
use ingest::tokens::{Claims, sign};
use model::identity::USERNAME_CHARS_MAX;
use model::{Clock, Level, SystemClock};

use crate::cli::Token;
use crate::secret;

/// Prints the token as the last line.
pub fn run(args: &Token) -> anyhow::Result<()> {
    let config = super::configuration(&args.place)?;
    let name_fits = args.name.as_ref().is_none_or(|name| (1..=USERNAME_CHARS_MAX).contains(&name.chars().count()));
    ensure!(name_fits, "--name must be 1-{USERNAME_CHARS_MAX} characters");
    let rooms = (!args.rooms.is_empty()).then(|| args.rooms.clone());
    let claims = Claims { name: args.name.clone(), rooms, ..claims(args.user.as_str(), args.level, args.ttl) };
    // It works before the server's first start, too: both then use the same secret.
    super::say(&sign(&secret::open(&config)?, &claims).context("cannot sign the token")?)
}

/// Claims that are valid from now on.
pub fn claims(user: &str, level: Level, ttl: Duration) -> Claims {
    let now_s = SystemClock.now_ms() / 1_000;
    let exp = now_s.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX / 2_000));
    Claims { sub: user.to_owned(), level, exp, iat: now_s, ..Claims::default() }
}

//! Clients of other servers at their doors: bytes and lines as those clients send them.

mod goim;
mod irc;
mod players;
mod proxied;
mod pusher;
mod pusher_client;
mod rules;
mod shadow;
mod socket;
mod tls;

use serde_json::json;
use testkit::{Options, Server, eventually, now_s, token};

use self::socket::Socket;
use crate::{BIN, NO_LIMITS};

/// A server with these doors, where rooms can be read without a token.
async fn with_doors(doors: &str) -> Server {
    Options::new(BIN).config(&format!("{doors}\n[auth]\nanonymous_read = true\n{NO_LIMITS}")).start().await
}

/// The port of a door that listens on a free one.
async fn port_of(server: &Server, door: &str) -> u16 {
    port_of_setting(server, &format!("doors.{door}.listen")).await
}

/// The port that a setting made it listen on.
async fn port_of_setting(server: &Server, setting: &str) -> u16 {
    let start = format!("{setting}: listening on 127.0.0.1:");
    eventually("the door's port", async || {
        let log = server.log();
        let (_, rest) = log.split_once(&start)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
    .await
}

/// A token of a user of some level, good for these rooms.
fn token_of(user: &str, level: &str, rooms: Option<&[&str]>) -> String {
    let mut claims = json!({ "sub": user, "level": level, "iat": now_s() - 5, "exp": now_s() + 3_600 });
    if let Some(rooms) = rooms {
        claims["rooms"] = json!(rooms);
    }
    token(&claims)
}

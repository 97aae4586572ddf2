//! What a request for `/ws` asks for, and whether it may be upgraded.
//!
//! A function of the request and the configuration, called by [`crate::shard`]. Never touches sockets, rooms or bans.

use std::net::IpAddr;

use model::identity::USERNAME_CHARS_MAX;
use model::{Code, DeviceId, Level, RoomId, Snowflake, UserId, WireError};
use protocol::handshake::{Request, SubProtocol, accept_key, choose_protocol, offers_deflate, query_pairs};
use protocol::message::JoinRoom;
use state::ForwardedHeaders;

use crate::Common;
use crate::conn::{Caller, Upgrade};

/// The sub-protocols supported here, in no order: the client's first choice counts.
const SUPPORTED: [SubProtocol; 3] = [SubProtocol::Json, SubProtocol::Proto, SubProtocol::Bin];

/// When a node that is full may have room again.
const FULL_RETRY_MS: u64 = 10_000;

/// The query of `/ws`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    token: Option<String>,
    device: Option<DeviceId>,
    user: Option<UserId>,
    username: Option<String>,
    level: Level,
    room: Option<JoinRoom>,
}

impl Query {
    /// Parses the query; unknown names and empty values are ignored.
    pub fn parse(query: &str) -> Result<Self, WireError> {
        let mut found = Self::default();
        let mut options = Options::default();
        for (name, value) in query_pairs(query).filter(|(_, value)| !value.is_empty()) {
            let value = value.as_ref();
            match name.as_ref() {
                "token" => found.token = Some(value.to_owned()),
                "device_id" => found.device = Some(id(value)?),
                "user_id" => found.user = Some(id(value)?),
                "username" => found.username = Some(username(value)?),
                "level" => found.level = level(value)?,
                name => options.parse(name, value)?,
            }
        }
        found.room = options.join_room();
        Ok(found)
    }
}

/// The room of the query and the options of `join_room`.
#[derive(Default)]
struct Options {
    room_id: Option<RoomId>,
    since_id: Option<Snowflake>,
    history: Option<u32>,
    history_s: Option<u32>,
    max_per_s: Option<u32>,
    only_user_ids: Option<Vec<UserId>>,
}

fn cursor(value: &str) -> Result<Snowflake, WireError> {
    let cursor = protocol::message::parse_cursor(value);
    cursor.ok_or_else(|| WireError::invalid("since_id must be a decimal id or 0"))
}

impl Options {
    fn parse(&mut self, name: &str, value: &str) -> Result<(), WireError> {
        match name {
            "room_id" => self.room_id = Some(id(value)?),
            "since_id" => self.since_id = Some(cursor(value)?),
            "history" => self.history = Some(number("history", value)?),
            "history_s" => self.history_s = Some(number("history_s", value)?),
            "max_per_s" => self.max_per_s = Some(number("max_per_s", value)?),
            "only_user_ids" => self.only_user_ids = Some(value.split(',').map(id).collect::<Result<_, _>>()?),
            _ => {}
        }
        Ok(())
    }

    fn join_room(self) -> Option<JoinRoom> {
        let Self { room_id, since_id, history, history_s, max_per_s, only_user_ids } = self;
        room_id.map(|room_id| JoinRoom { room_id, since_id, history, history_s, max_per_s, only_user_ids })
    }
}

fn id<T: std::str::FromStr<Err = model::InvalidId>>(value: &str) -> Result<T, WireError> {
    value.parse().map_err(|error: model::InvalidId| WireError::invalid(error.to_string()))
}

fn number(name: &'static str, value: &str) -> Result<u32, WireError> {
    value.parse().map_err(|_| WireError::invalid(format!("{name} must be a number")))
}

fn username(value: &str) -> Result<String, WireError> {
    match value.chars().count() {
        1..=USERNAME_CHARS_MAX => Ok(value.to_owned()),
        _ => Err(WireError::invalid("username must have 1-32 characters")),
    }
}

fn level(value: &str) -> Result<Level, WireError> {
    const LEVELS: [Level; 5] = [Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin];
    let named = LEVELS.into_iter().find(|level| level.as_str() == value);
    named.ok_or_else(|| WireError::invalid("level must be normal, vip, owner, moderator or admin"))
}

/// Checks a well-formed request from `peer`.
///
/// # Errors
/// What to refuse it with, before any upgrade. A token that does not verify is no such error: its bearer is upgraded, gets
/// an error message, and has some time to log in.
pub(crate) fn check_upgrade(request: &Request<'_>, peer: IpAddr, common: &Common) -> Result<Upgrade, WireError> {
    let services = &common.services;
    let (x_forwarded_for, forwarded) = (request.forwarded_for.as_deref(), request.forwarded.as_deref());
    let client = services.addresses.client(peer, ForwardedHeaders { x_forwarded_for, forwarded });
    if services.addresses.count_handshake(client, services.clock.now_ms()).is_err() {
        return Err(WireError::new(Code::RateLimited, "too many connections from this address").retry_after_ms(1_000));
    }
    if !(services.origins)(request.origin, request.host) {
        return Err(WireError::new(Code::Forbidden, "this origin or host may not connect"));
    }
    let sockets = services.metrics.connections.get().max(0).unsigned_abs();
    if services.settings.sockets.open_max > 0 && sockets >= services.settings.sockets.open_max {
        let full = WireError::new(Code::Overloaded, "this node holds as many sockets as it may");
        return Err(full.retry_after_ms(FULL_RETRY_MS).prefer_segments());
    }
    let protocol = match request.protocols.as_deref() {
        None => None,
        Some(offered) => Some(choose_protocol(offered, &SUPPORTED).ok_or_else(|| {
            WireError::invalid(
                "none of the offered sub-protocols is spoken; spoken are barrage.v1.json, barrage.v1.proto, \
                 barrage.v1.bin",
            )
        })?),
    };
    let query = Query::parse(request.query)?;
    let bearer = request.authorization.and_then(bearer);
    let (device, room) = (query.device.clone(), query.room.clone());
    Ok(Upgrade {
        accept: accept_key(request.key),
        protocol,
        deflate: services.settings.sockets.compression && request.extensions.as_deref().is_some_and(offers_deflate),
        caller: caller(query, bearer, common),
        device,
        room,
        address: client,
        is_forwarded: client != peer.to_canonical(),
        rest: Vec::new(),
        user_permit: None,
    })
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn caller(query: Query, bearer: Option<&str>, common: &Common) -> Caller {
    let services = &common.services;
    if let Some(token) = bearer.or(query.token.as_deref()) {
        return match services.ingest.identify(token) {
            Ok(identity) => Caller::Known(identity),
            Err(error) => Caller::Rejected(error.to_string()),
        };
    }
    match query.user {
        Some(user_id) if services.settings.dev => {
            Caller::Known(services.ingest.believe(user_id, query.username.as_deref(), query.level))
        }
        _ => Caller::Anonymous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_fits_into_the_query() {
        let query =
            "room_id=r%2D1&since_id=9&history=3&history_s=4&max_per_s=0&only_user_ids=a,b&device_id=d&level=vip&x=1";
        let query = Query::parse(query).expect("a good query");
        let room = query.room.expect("a room");
        assert_eq!(room.room_id.as_str(), "r-1");
        assert_eq!((room.since_id, room.history, room.history_s), (Some(Snowflake(9)), Some(3), Some(4)));
        assert_eq!((room.max_per_s, room.only_user_ids.map(|users| users.len())), (Some(0), Some(2)));
        assert_eq!(query.level, Level::Vip);
    }

    #[test]
    fn bad_values_are_named() {
        for (query, named) in
            [("room_id=a/b", "room_id"), ("history=x", "history"), ("level=king", "level"), ("since_id=-1", "since_id")]
        {
            let error = Query::parse(query).expect_err(query);
            assert!(error.message.contains(named), "{error}");
        }
    }

    #[test]
    fn bearer_is_read_whatever_its_case() {
        assert_eq!(bearer("bEARER  abc"), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
    }
}

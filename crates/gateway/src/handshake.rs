//! What a request for `/ws` asks for, and whether it may be upgraded: a function of the request and the
//! configuration. Sockets, rooms and bans are [`crate::upgrade`]'s.

use std::net::IpAddr;

use ingest::tokens::short_name;
use model::identity::USERNAME_CHARS_MAX;
use model::{Code, DeviceId, Identity, Level, RoomId, Snowflake, UserId, WireError};
use protocol::handshake::{Request, SubProtocol, accept_key, choose_protocol, offers_deflate, query_pairs};
use protocol::message::JoinRoom;

use crate::Common;
use crate::conn::{Upgrade, Who};

/// The formats spoken here, in no order: the client's first choice counts.
const SPOKEN: [SubProtocol; 3] = [SubProtocol::Json, SubProtocol::Proto, SubProtocol::Bin];

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
    /// Reads the query; names it does not know are ignored, as are empty values.
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
                name => options.read(name, value)?,
            }
        }
        found.room = options.join_room();
        Ok(found)
    }
}

/// The room of the query and the wishes of `join_room`.
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
    fn read(&mut self, name: &str, value: &str) -> Result<(), WireError> {
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

/// Judges a well-formed request from `peer`.
///
/// # Errors
/// What to refuse it with, before any upgrade. A token that does not verify is no such error: its
/// bearer is upgraded, told, and given time to log in.
pub(crate) fn judge(request: &Request<'_>, peer: IpAddr, common: &Common) -> Result<Upgrade, WireError> {
    let services = &common.services;
    let client = common.addresses.client(peer, request.forwarded_for.as_deref());
    if common.addresses.shake(client, services.clock.now_ms()).is_err() {
        return Err(WireError::new(Code::RateLimited, "too many connections from this address").retry_after_ms(1_000));
    }
    if !(services.origins)(request.origin, request.host) {
        return Err(WireError::new(Code::Forbidden, "this origin or host may not connect"));
    }
    let protocol = match request.protocols.as_deref() {
        None => None,
        Some(offered) => Some(choose_protocol(offered, &SPOKEN).ok_or_else(|| {
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
        deflate: services.settings.compression && request.extensions.as_deref().is_some_and(offers_deflate),
        who: who(query, bearer, common),
        device,
        room,
        forwarded: (client != peer.to_canonical()).then_some(client),
        rest: Vec::new(),
    })
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn who(query: Query, bearer: Option<&str>, common: &Common) -> Who {
    let services = &common.services;
    if let Some(token) = bearer.or(query.token.as_deref()) {
        return match services.tokens.verify(token, services.clock.now_ms()) {
            Ok(identity) => Who::Known(identity),
            Err(error) => Who::Rejected(error.to_string()),
        };
    }
    match query.user {
        Some(user_id) if services.settings.dev => {
            let username = query.username.unwrap_or_else(|| short_name(user_id.as_str()));
            let (rooms, expires_at_ms, issued_at_ms) = (None, None, services.clock.now_ms());
            let (username, level) = (username.into(), query.level);
            Who::Known(Identity { user_id, username, level, rooms, expires_at_ms, issued_at_ms })
        }
        _ => Who::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_can_be_said_in_the_query() {
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

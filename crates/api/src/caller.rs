//! The caller of a request: extracted from its token, its admin key or, on a development server, its query.
//!
//! Every handler that serves rooms or chat takes a [`Caller`]. `ingest` decides what a caller may do.

use std::net::IpAddr;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use hub::Opener;
use ingest::{Moderator, Reader};
use model::identity::USERNAME_CHARS_MAX;
use model::{Code, Identity, Level, RoomId, UserId, WireError};
use protocol::handshake::query_pairs;

use crate::error::ApiError;
use crate::extract::NoIdentity;
use crate::{App, Services};

/// Who calls, and from where. A user who is banned everywhere is refused before becoming one.
#[derive(Debug, Clone)]
pub struct Caller {
    who: Who,
    address: IpAddr,
}

/// On a request that uses up no share of its reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uncounted;

#[derive(Debug, Clone)]
enum Who {
    /// Holds the admin key.
    Key,
    /// Sent a token that verifies.
    Token(Identity),
    /// Named in the query of a development server.
    Named(Identity),
    /// Sent no identity.
    Anonymous,
}

impl Caller {
    /// The verified identity, if there is one.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match &self.who {
            Who::Token(who) | Who::Named(who) => Some(who),
            Who::Key | Who::Anonymous => None,
        }
    }

    /// From where this caller calls.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether this caller sent the admin key.
    pub fn holds_key(&self) -> bool {
        matches!(self.who, Who::Key)
    }

    /// This caller as a reader of rooms.
    #[must_use]
    pub fn reader(&self, app: &Services) -> Reader<'_> {
        match &self.who {
            Who::Key => Reader::AdminKey,
            Who::Token(who) | Who::Named(who) => Reader::User(who),
            Who::Anonymous if app.settings.dev => Reader::Developer,
            Who::Anonymous => Reader::Anonymous,
        }
    }

    /// This caller as somebody for whom a room is loaded.
    pub fn opener(&self, app: &Services) -> Opener {
        let address = Some(self.address).filter(|address| !app.addresses.is_exempt(*address));
        match &self.who {
            Who::Key => Opener::default(),
            Who::Token(who) | Who::Named(who) => Opener { user: Some(who.user_id.clone()), address },
            Who::Anonymous => Opener { user: None, address },
        }
    }

    /// Refuses a caller who may not read a room.
    ///
    /// # Errors
    /// Why this caller may not.
    pub async fn may_read(&self, app: &Services, room: &RoomId) -> Result<(), WireError> {
        Ok(app.ingest.may_read(self.reader(app), room).await?)
    }

    /// The identity under which something is written.
    pub(crate) fn author(&self) -> Result<&Identity, WireError> {
        self.identity().ok_or_else(token_needed)
    }

    /// This caller as a moderator; `ingest` decides what this one may do. On a development server, callers without
    /// a token may do everything.
    pub(crate) fn moderator(self, app: &Services) -> Result<Moderator, WireError> {
        match self.who {
            Who::Key => Ok(Moderator::Key),
            Who::Named(who) if who.level < Level::Admin => Ok(Moderator::Key),
            Who::Token(who) | Who::Named(who) => Ok(Moderator::Person(who)),
            Who::Anonymous if app.settings.dev => Ok(Moderator::Key),
            Who::Anonymous => Err(WireError::new(Code::Unauthorized, "the admin key or a moderator's token is needed")),
        }
    }
}

pub(crate) fn token_needed() -> WireError {
    WireError::new(Code::Unauthorized, "a token is needed")
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let (address, now_ms) = (crate::address::of(&parts.extensions), app.clock.now_ms());
        let who = Who::of(parts, app, address, now_ms)?;
        if parts.method.is_safe() && parts.extensions.get::<Uncounted>().is_none() {
            match &who {
                Who::Key => {}
                Who::Token(who) | Who::Named(who) => app.shares.count_user(&who.user_id, now_ms)?,
                Who::Anonymous if app.addresses.is_exempt(address) => {}
                Who::Anonymous => app.shares.count_address(address, now_ms)?,
            }
        }
        let caller = Self { who, address };
        match caller.identity() {
            Some(who) => app.ingest.may_connect(Reader::User(who))?,
            None if app.settings.dev || caller.holds_key() => {}
            None => {
                parts.extensions.insert(NoIdentity);
            }
        }
        Ok(caller)
    }
}

impl Who {
    fn of(parts: &Parts, app: &Services, address: IpAddr, now_ms: i64) -> Result<Self, WireError> {
        let query = QueryIdentity::parse(parts.uri.query().unwrap_or_default());
        let header = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let bearer = header.and_then(bearer);
        if let (Some(secret), Some(key)) = (bearer, &app.settings.admin_key)
            && key.matches(secret, address, now_ms)?
        {
            return Ok(Self::Key);
        }
        match bearer.or(query.token.as_deref()) {
            Some(token) => Ok(Self::Token(app.ingest.identify(token)?)),
            None if app.settings.dev => query.caller(app),
            None => Ok(Self::Anonymous),
        }
    }
}

/// The identity in a query.
#[derive(Default)]
struct QueryIdentity {
    token: Option<String>,
    user_id: Option<String>,
    username: Option<String>,
    level: Option<String>,
}

impl QueryIdentity {
    fn parse(query: &str) -> Self {
        let mut identity = Self::default();
        for (name, value) in query_pairs(query).filter(|(_, value)| !value.is_empty()) {
            let field = match name.as_ref() {
                "token" => &mut identity.token,
                "user_id" => &mut identity.user_id,
                "username" => &mut identity.username,
                "level" => &mut identity.level,
                _ => continue,
            };
            *field = Some(value.into_owned());
        }
        identity
    }

    fn caller(self, app: &Services) -> Result<Who, WireError> {
        let Some(user_id) = self.user_id else { return Ok(Who::Anonymous) };
        let user_id = UserId::from_str(&user_id).map_err(|error| WireError::invalid(error.to_string()))?;
        if self.username.as_ref().is_some_and(|name| name.chars().count() > USERNAME_CHARS_MAX) {
            return Err(WireError::invalid("username must have 1-32 characters"));
        }
        let level = self.level.as_deref().map_or(Ok(Level::Normal), parse_level)?;
        Ok(Who::Named(app.ingest.believe(user_id, self.username.as_deref(), level)))
    }
}

fn parse_level(name: &str) -> Result<Level, WireError> {
    const LEVELS: [Level; 5] = [Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin];
    let named = LEVELS.into_iter().find(|level| level.as_str() == name);
    named.ok_or_else(|| WireError::invalid("level must be normal, vip, owner, moderator or admin"))
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, secret) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

//! Who calls, and what that lets them read, write and moderate.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use ingest::Moderator;
use ingest::tokens::short_name;
use model::identity::USERNAME_CHARS_MAX;
use model::{Code, Identity, Level, RoomId, UserId, WireError};
use protocol::handshake::query_pairs;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::{App, Services};

/// Who calls. Whoever may not connect at all never becomes one.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Holds the admin key.
    Key,
    /// Bears a token.
    Token(Identity),
    /// Said so in the query of a development server.
    Named(Identity),
    /// Nobody we know.
    Nobody,
}

impl Caller {
    /// The verified identity, if there is one.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Token(who) | Self::Named(who) => Some(who),
            Self::Key | Self::Nobody => None,
        }
    }

    /// Refuses a caller who may not read a room.
    pub async fn enter(&self, app: &Services, room: &RoomId) -> Result<(), WireError> {
        match self {
            Self::Key => return Ok(()),
            Self::Nobody if !(app.settings.anonymous_read || app.settings.dev) => return Err(nobody()),
            Self::Nobody => {}
            Self::Token(who) | Self::Named(who) => {
                app.ingest.bans.may_enter(&who.user_id, room, app.clock.now_ms())?;
            }
        }
        app.ingest.rooms.may_enter(self.identity(), room).await
    }

    /// The identity under which something is written.
    pub fn author(&self) -> Result<&Identity, WireError> {
        self.identity().ok_or_else(nobody)
    }

    /// The moderator this caller may be; what they may do is decided where they do it. Whom a
    /// development server merely believes may do everything there, as may nobody at all.
    pub fn moderator(self, app: &Services) -> Result<Moderator, WireError> {
        match self {
            Self::Key => Ok(Moderator::Key),
            Self::Named(who) if who.level < Level::Admin => Ok(Moderator::Key),
            Self::Token(who) | Self::Named(who) => Ok(Moderator::Person(who)),
            Self::Nobody if app.settings.dev => Ok(Moderator::Key),
            Self::Nobody => Err(WireError::new(Code::Unauthorized, "the admin key or a moderator's token is needed")),
        }
    }
}

fn nobody() -> WireError {
    WireError::new(Code::Unauthorized, "a token is needed")
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let query = Said::parse(parts.uri.query().unwrap_or_default());
        let header = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let caller = match (header.and_then(bearer), &query.token) {
            (Some(secret), _) if is_admin_key(app, secret) => return Ok(Self::Key),
            (Some(token), _) => Self::Token(app.tokens.verify(token, app.clock.now_ms())?),
            (None, Some(token)) => Self::Token(app.tokens.verify(token, app.clock.now_ms())?),
            (None, None) if app.settings.dev => query.identity(app.clock.now_ms())?,
            (None, None) => Self::Nobody,
        };
        if let Some(who) = caller.identity() {
            app.ingest.bans.may_connect(&who.user_id, app.clock.now_ms())?;
        }
        Ok(caller)
    }
}

/// What the query says of its sender.
#[derive(Default)]
struct Said {
    token: Option<String>,
    user_id: Option<String>,
    username: Option<String>,
    level: Option<String>,
}

impl Said {
    fn parse(query: &str) -> Self {
        let mut said = Self::default();
        for (name, value) in query_pairs(query).filter(|(_, value)| !value.is_empty()) {
            let place = match name.as_ref() {
                "token" => &mut said.token,
                "user_id" => &mut said.user_id,
                "username" => &mut said.username,
                "level" => &mut said.level,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        said
    }

    fn identity(self, now_ms: i64) -> Result<Caller, WireError> {
        let Some(user_id) = self.user_id else { return Ok(Caller::Nobody) };
        let user_id = UserId::from_str(&user_id).map_err(|error| WireError::invalid(error.to_string()))?;
        let username = self.username.unwrap_or_else(|| short_name(user_id.as_str()));
        if username.chars().count() > USERNAME_CHARS_MAX {
            return Err(WireError::invalid("username must have 1-32 characters"));
        }
        let level = self.level.as_deref().map_or(Ok(Level::Normal), level)?;
        let username = username.into();
        Ok(Caller::Named(Identity { user_id, username, level, rooms: None, expires_at_ms: None, issued_at_ms: now_ms }))
    }
}

fn level(name: &str) -> Result<Level, WireError> {
    const LEVELS: [Level; 5] = [Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin];
    let named = LEVELS.into_iter().find(|level| level.as_str() == name);
    named.ok_or_else(|| WireError::invalid("level must be normal, vip, owner, moderator or admin"))
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, secret) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Compares digests, so that the time it takes tells nothing of the key.
fn is_admin_key(app: &Services, secret: &str) -> bool {
    app.settings.admin_key.as_ref().is_some_and(|key| Sha256::digest(key) == Sha256::digest(secret))
}

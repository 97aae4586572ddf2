//! Verifies tokens: JSON Web Tokens (RFC 7519), against the configured keys.
//!
//! Owns the keys and the revocations; both can change while the server runs. Called by [`crate::names`], through which the
//! gateway and the API identify callers. Verification does no I/O, so gateways verify before they queue a byte.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use model::identity::USERNAME_CHARS_MAX;
use model::moderation::{RoomRole, Standing};
use model::{Identity, Level, RoomId, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Store, StoreError};

use crate::known_moderators::KnownModerators;

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Rooms one token may name.
const ROOMS_MAX: usize = 256;
/// How far an issuer's clock may be ahead of this node's, in milliseconds.
const LEEWAY_MS: i64 = 60_000;

/// The claims of a token that is signed here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Claims {
    /// The user id.
    pub sub: String,
    /// The displayed name; the user id when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The level; normal when absent.
    #[serde(default)]
    pub level: Level,
    /// The rooms it is valid for; all when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rooms: Option<Vec<RoomId>>,
    /// When it expires, Unix seconds. Required.
    pub exp: i64,
    /// When it was issued, Unix seconds.
    #[serde(default)]
    pub iat: i64,
    /// Since when the user follows: Unix seconds, or RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub followed_at: Option<Moment>,
    /// Since when the account exists: Unix seconds, or RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_at: Option<Moment>,
    /// Whether the deployment has verified the person.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub verified: bool,
    /// Roles by room.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub roles: BTreeMap<RoomId, RoomRole>,
}

/// A moment in a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    /// Unix seconds, as RFC 7519 has them.
    Seconds(f64),
    /// RFC 3339.
    Text(String),
}

impl Moment {
    /// Unix milliseconds; `None` for a text that is no time.
    fn ms(&self) -> Option<i64> {
        match self {
            // Some services write milliseconds; seconds of this size are in the year 5138.
            Self::Seconds(ms) if *ms >= 1e11 => Some(*ms as i64),
            Self::Seconds(seconds) => Some((seconds * 1_000.0) as i64),
            Self::Text(text) => Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()),
        }
    }
}

/// What the claims say beyond identity and level; `None` when that is nothing.
fn standing(claims: &mut Map<String, Value>) -> Result<Option<Arc<Standing>>, TokenError> {
    let roles: Option<BTreeMap<RoomId, RoomRole>> = claim(claims, "roles", "must be an object of rooms with roles")?;
    let roles = roles.unwrap_or_default();
    if roles.len() > ROOMS_MAX {
        return Err(TokenError::Claim("roles", "are too many"));
    }
    let mut moment = |name| {
        let wrong = "must be Unix seconds or RFC 3339";
        let moment: Option<Moment> = claim(claims, name, wrong)?;
        moment.map(|moment| moment.ms().ok_or(TokenError::Claim(name, wrong))).transpose()
    };
    let (followed_at_ms, created_at_ms) = (moment("followed_at")?, moment("created_at")?);
    let verified = claim(claims, "verified", "must be true or false")?.unwrap_or(false);
    let standing = Standing { followed_at_ms, created_at_ms, verified, roles };
    Ok((standing != Standing::default()).then(|| Arc::new(standing)))
}

/// Why a token was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token, or no configured key verifies it.
    #[error("the token does not verify")]
    Invalid,
    /// Its header lists extensions that must be understood (RFC 7515, section 4.1.11); none is understood here.
    #[error("the token's crit names extensions that are not understood")]
    Critical,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` is still to come.
    #[error("the token is not valid yet; see its nbf")]
    NotYet,
    /// Its `iat` is still to come.
    #[error("the token's iat is in the future")]
    IssuedLater,
    /// A claim is missing or out of range.
    #[error("the token's {0} {1}")]
    Claim(&'static str, &'static str),
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The user's tokens were revoked, and this one does not say whether it was issued after that.
    #[error("the user's tokens were revoked, and this one has no iat to show that it is newer")]
    RevokedUndated,
}

impl From<TokenError> for model::WireError {
    fn from(error: TokenError) -> Self {
        Self::new(model::Code::Unauthorized, error.to_string())
    }
}

/// The files with public keys.
#[derive(Debug, Clone, Default)]
pub struct KeyFiles {
    /// A public key in PEM (RSA, P-256 or Ed25519).
    pub public_key_pem: Option<PathBuf>,
    /// A JWKS document (RFC 7517).
    pub jwks: Option<PathBuf>,
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct KeyFileError {
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be used.
    pub why: String,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Verifies tokens.
pub struct Tokens {
    secret: Option<String>,
    files: KeyFiles,
    keys: ArcSwap<Vec<Key>>,
    /// By user: tokens issued before this time (Unix milliseconds) are rejected.
    revoked: DashMap<UserId, i64>,
    pub(crate) moderators: KnownModerators,
}

impl Tokens {
    /// Reads the keys. `secret` is for HS256; the files for RS256, ES256 and `EdDSA`.
    ///
    /// # Errors
    /// Names the file that cannot be read or holds no usable key.
    pub fn new(secret: Option<String>, files: KeyFiles) -> Result<Self, KeyFileError> {
        let keys = ArcSwap::from_pointee(read_keys(secret.as_deref(), &files)?);
        Ok(Self { secret, files, keys, revoked: DashMap::new(), moderators: KnownModerators::default() })
    }

    /// Reads the files again; the old keys stay when that fails.
    ///
    /// # Errors
    /// As [`Tokens::new`].
    pub fn reload(&self) -> Result<(), KeyFileError> {
        self.keys.store(Arc::new(read_keys(self.secret.as_deref(), &self.files)?));
        Ok(())
    }

    /// The files that [`Tokens::reload`] reads.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.public_key_pem.iter().chain(&self.files.jwks)
    }

    /// Rejects this user's tokens issued before `before_ms`. Never moves an earlier revocation back.
    pub fn revoke(&self, user: UserId, before_ms: i64) {
        let mut until = self.revoked.entry(user).or_insert(before_ms);
        *until = before_ms.max(*until);
    }

    /// Refuses this user's token if it is revoked. `issued_at_ms` is 0 when the token does not say.
    ///
    /// # Errors
    /// [`TokenError::Revoked`] or [`TokenError::RevokedUndated`].
    pub fn check_revocation(&self, user: &UserId, issued_at_ms: i64) -> Result<(), TokenError> {
        match self.revoked.get(user) {
            Some(_) if issued_at_ms == 0 => Err(TokenError::RevokedUndated),
            Some(before_ms) if is_before(issued_at_ms, *before_ms) => Err(TokenError::Revoked),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the store's revocations.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn reload_revocations(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.revocations().await?.into_iter().for_each(|(user, before_ms)| self.revoke(user, before_ms));
        Ok(())
    }

    /// Verifies a token at `now_ms`.
    ///
    /// # Errors
    /// Why it was rejected.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let keys = self.keys.load();
        let fits = |key: &&Key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        };
        let claims = keys
            .iter()
            .filter(fits)
            .find_map(|key| jsonwebtoken::decode(token, &key.key, &validation(key.algorithm)).ok())
            .ok_or(TokenError::Invalid)?
            .claims;
        // Only a signer that is trusted learns what is wrong with its token.
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let who = self.identity(claims, now_ms)?;
        self.moderators.note(&who, now_ms);
        Ok(who)
    }

    fn identity(&self, mut claims: Map<String, Value>, now_ms: i64) -> Result<Identity, TokenError> {
        let claims = &mut claims;
        let expires_at_ms = time_ms(claims, "exp")?.ok_or(TokenError::Claim("exp", "is missing"))?;
        if expires_at_ms <= now_ms {
            return Err(TokenError::Expired);
        }
        let latest_ms = now_ms.saturating_add(LEEWAY_MS);
        if time_ms(claims, "nbf")?.is_some_and(|from_ms| from_ms > latest_ms) {
            return Err(TokenError::NotYet);
        }
        let issued_at_ms = time_ms(claims, "iat")?.unwrap_or(0);
        if issued_at_ms > latest_ms {
            return Err(TokenError::IssuedLater);
        }
        let no_user = TokenError::Claim("sub", "is not a user id");
        let user_id: String = claim(claims, "sub", "is not a user id")?.ok_or(no_user)?;
        let user_id = UserId::new(&user_id).map_err(|_| no_user)?;
        self.check_revocation(&user_id, issued_at_ms)?;
        let standing = standing(claims)?;
        let username: Option<String> = claim(claims, "name", "must be 1-32 characters")?;
        let username = username.unwrap_or_else(|| short_name(user_id.as_str()));
        if !(1..=USERNAME_CHARS_MAX).contains(&username.chars().count()) {
            return Err(TokenError::Claim("name", "must be 1-32 characters"));
        }
        let rooms: Option<Vec<RoomId>> = claim(claims, "rooms", "must be a list of room ids")?;
        if rooms.as_ref().is_some_and(|rooms| rooms.len() > ROOMS_MAX) {
            return Err(TokenError::Claim("rooms", "are too many"));
        }
        Ok(Identity {
            user_id,
            username: username.into(),
            level: claim(claims, "level", "is no level")?.unwrap_or_default(),
            rooms: rooms.map(Arc::from),
            expires_at_ms: Some(expires_at_ms),
            issued_at_ms,
            standing,
        })
    }
}

/// A claim of a type; null counts as absent.
fn claim<T: DeserializeOwned>(
    claims: &mut Map<String, Value>,
    name: &'static str,
    wrong: &'static str,
) -> Result<Option<T>, TokenError> {
    match claims.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value).map(Some).map_err(|_| TokenError::Claim(name, wrong)),
    }
}

/// A `NumericDate`: seconds since 1970, which may have a fraction (RFC 7519, section 2). As Unix milliseconds.
fn time_ms(claims: &mut Map<String, Value>, name: &'static str) -> Result<Option<i64>, TokenError> {
    let seconds: Option<f64> = claim(claims, name, "must be a number of seconds")?;
    // A time beyond the range of milliseconds is the largest one: the conversion saturates.
    Ok(seconds.map(|seconds| (seconds * 1_000.0).round() as i64))
}

/// Whether a token was issued before a revocation. Most issuers count whole seconds: a token of the revocation's own second
/// may be newer than it, so it counts as newer.
fn is_before(issued_at_ms: i64, revoked_ms: i64) -> bool {
    let resolution_ms = if issued_at_ms % 1_000 == 0 { 1_000 } else { 1 };
    issued_at_ms < revoked_ms - revoked_ms.rem_euclid(resolution_ms)
}

/// A user id as a displayed name, cut to the length of names.
#[must_use]
pub fn short_name(user_id: &str) -> String {
    user_id.chars().take(USERNAME_CHARS_MAX).collect()
}

/// Signs claims with a shared secret (HS256).
///
/// # Errors
/// Never for claims of this type; the signer's error is passed on all the same.
pub fn sign(secret: &str, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes()))
}

/// The signature is checked here, the claims in [`Tokens::identity`] against the passed-in clock.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

fn read_keys(secret: Option<&str>, files: &KeyFiles) -> Result<Vec<Key>, KeyFileError> {
    let mut keys = Vec::new();
    if let Some(secret) = secret {
        keys.push(Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret.as_bytes()) });
    }
    if let Some(path) = &files.public_key_pem {
        let fail = |why: String| KeyFileError { path: path.clone(), why };
        let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        keys.push(pem_key(&pem).ok_or_else(|| fail("no RSA, P-256 or Ed25519 public key in PEM".into()))?);
    }
    if let Some(path) = &files.jwks {
        let fail = |why: String| KeyFileError { path: path.clone(), why };
        let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let set: JwkSet = serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?;
        let before = keys.len();
        keys.extend(set.keys.iter().filter_map(jwk_key));
        if keys.len() == before {
            return Err(fail("no usable RSA, P-256 or Ed25519 key".into()));
        }
    }
    Ok(keys)
}

fn pem_key(pem: &[u8]) -> Option<Key> {
    let key = |algorithm, key| Some(Key { id: None, algorithm, key });
    if let Ok(rsa) = DecodingKey::from_rsa_pem(pem) {
        return key(Algorithm::RS256, rsa);
    }
    if let Ok(ec) = DecodingKey::from_ec_pem(pem) {
        return key(Algorithm::ES256, ec);
    }
    key(Algorithm::EdDSA, DecodingKey::from_ed_pem(pem).ok()?)
}

fn jwk_key(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => return None,
        #[allow(unreachable_patterns)] // Key types that later releases add are not trusted.
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";
    const NOW_MS: i64 = 1_700_000_000_500;

    fn tokens() -> Tokens {
        Tokens::new(Some(SECRET.into()), KeyFiles::default()).expect("a secret needs no file")
    }

    fn signed(header: &Header, more: Value) -> String {
        let mut claims = json!({ "sub": "alice", "exp": 1_700_000_060 });
        let (Some(claims_map), Value::Object(more)) = (claims.as_object_mut(), more) else { return String::new() };
        claims_map.extend(more);
        jsonwebtoken::encode(header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signed")
    }

    fn verified(more: Value) -> Result<Identity, TokenError> {
        tokens().verify(&signed(&Header::default(), more), NOW_MS)
    }

    #[test]
    fn times_may_have_fractions_and_null_is_absent() {
        let absent = verified(json!({ "name": null, "level": null, "rooms": null, "iat": null, "nbf": null }));
        let absent = absent.expect("null is absent");
        assert_eq!((&*absent.username, absent.level, absent.issued_at_ms), ("alice", Level::Normal, 0));
        let exact = verified(json!({ "exp": 1_700_000_000.75, "iat": 1_699_999_999.25 })).expect("fractions");
        assert_eq!((exact.expires_at_ms, exact.issued_at_ms), (Some(1_700_000_000_750), 1_699_999_999_250));
        assert_eq!(verified(json!({ "exp": 1_700_000_000.25 })), Err(TokenError::Expired));
        assert_eq!(verified(json!({ "exp": 1e300 })).map(|who| who.expires_at_ms), Ok(Some(i64::MAX)));
        for wrong in [json!({ "exp": null }), json!({ "exp": "soon" }), json!({ "iat": [] }), json!({ "level": 3 })] {
            assert!(matches!(verified(wrong.clone()), Err(TokenError::Claim(..))), "{wrong}");
        }
    }

    #[test]
    fn times_to_come_are_honoured_with_a_leeway() {
        for (claims, outcome) in [
            (json!({ "nbf": 1_700_000_060 }), Ok(())),
            (json!({ "nbf": 1_700_000_061 }), Err(TokenError::NotYet)),
            (json!({ "iat": 1_700_000_060 }), Ok(())),
            (json!({ "iat": 1_700_000_061.5 }), Err(TokenError::IssuedLater)),
        ] {
            assert_eq!(verified(claims.clone()).map(drop), outcome, "{claims}");
        }
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        let header = Header { crit: Some(vec!["exp-by-moon".into()]), ..Header::default() };
        assert_eq!(tokens().verify(&signed(&header, json!({})), NOW_MS), Err(TokenError::Critical));
    }

    #[test]
    fn a_token_issued_after_the_revocation_is_good_at_once() {
        let tokens = tokens();
        tokens.revoke(UserId::new("alice").expect("an id"), 1_700_000_000_400);
        let issued = |iat: Value| tokens.verify(&signed(&Header::default(), json!({ "iat": iat })), NOW_MS).map(drop);
        assert_eq!(issued(json!(1_699_999_999)), Err(TokenError::Revoked));
        assert_eq!(issued(json!(1_700_000_000.399)), Err(TokenError::Revoked));
        assert_eq!(issued(json!(1_700_000_000.401)), Ok(()));
        assert_eq!(issued(json!(1_700_000_000)), Ok(()), "the same second, in whole seconds");
        assert_eq!(issued(Value::Null), Err(TokenError::RevokedUndated));
    }
}

//! Who somebody is: JSON Web Tokens (RFC 7519) verified against the configured keys.
//!
//! Owns the keys and the revocations; both can be replaced while the server runs. Verification is
//! CPU work without I/O, so gateways do it before they queue a byte.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use model::identity::USERNAME_CHARS_MAX;
use model::{Identity, Level, RoomId, UserId};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};

/// Longest token looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Rooms one token may name.
const ROOMS_MAX: usize = 256;

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The user id.
    pub sub: String,
    /// The shown name; the user id when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The standing; normal when absent.
    #[serde(default)]
    pub level: Level,
    /// The rooms it is good for; all when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rooms: Option<Vec<RoomId>>,
    /// Until when it is good, Unix seconds; a token must end.
    pub exp: i64,
    /// When it was made, Unix seconds.
    #[serde(default)]
    pub iat: i64,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or signed with a key that is not ours.
    #[error("the token does not verify")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// A claim is out of its range.
    #[error("the token's {0} is not valid")]
    Claim(&'static str),
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
}

impl From<TokenError> for model::WireError {
    fn from(error: TokenError) -> Self {
        let message = match error {
            TokenError::Invalid => "the token does not verify",
            TokenError::Expired => "the token has expired",
            TokenError::Claim("sub") => "the token's sub is not a user id",
            TokenError::Claim("name") => "the token's name must be 1-32 characters",
            TokenError::Claim(_) => "the token's rooms are too many",
            TokenError::Revoked => "the token was revoked",
        };
        Self::new(model::Code::Unauthorized, message)
    }
}

/// Where public keys are read from.
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
    /// What is wrong with it.
    pub why: String,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Verifies tokens, and makes them with the shared secret.
pub struct Tokens {
    secret: Option<String>,
    files: KeyFiles,
    keys: ArcSwap<Vec<Key>>,
    /// Per user: tokens issued before this moment (Unix milliseconds) are refused.
    revoked: DashMap<UserId, i64>,
}

impl Tokens {
    /// Reads the keys. `secret` is for HS256; the files for RS256, ES256 and `EdDSA`.
    ///
    /// # Errors
    /// Names the file that cannot be read or holds no usable key.
    pub fn new(secret: Option<String>, files: KeyFiles) -> Result<Self, KeyFileError> {
        let keys = ArcSwap::from_pointee(read_keys(secret.as_deref(), &files)?);
        Ok(Self { secret, files, keys, revoked: DashMap::new() })
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

    /// Refuses this user's tokens issued before `before_ms` from now on; what was refused before stays refused.
    pub fn revoke(&self, user: UserId, before_ms: i64) {
        let mut until = self.revoked.entry(user).or_insert(before_ms);
        *until = before_ms.max(*until);
    }

    /// Whether a token of this user that was issued then (Unix milliseconds) is refused.
    #[must_use]
    pub fn is_revoked(&self, user: &UserId, issued_at_ms: i64) -> bool {
        self.revoked.get(user).is_some_and(|before| issued_at_ms < *before)
    }

    /// Takes in the store's revocations.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn read_again(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.revocations().await?.into_iter().for_each(|(user, before_ms)| self.revoke(user, before_ms));
        Ok(())
    }

    /// Verifies a token at `now_ms`.
    ///
    /// # Errors
    /// Says why it is not accepted.
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
            .find_map(|key| jsonwebtoken::decode::<Claims>(token, &key.key, &validation(key.algorithm)).ok())
            .ok_or(TokenError::Invalid)?
            .claims;
        self.identity(claims, now_ms)
    }

    fn identity(&self, claims: Claims, now_ms: i64) -> Result<Identity, TokenError> {
        let expires_at_ms = claims.exp.saturating_mul(1_000);
        if expires_at_ms <= now_ms {
            return Err(TokenError::Expired);
        }
        let user_id = UserId::new(&claims.sub).map_err(|_| TokenError::Claim("sub"))?;
        let issued_at_ms = claims.iat.saturating_mul(1_000);
        if self.is_revoked(&user_id, issued_at_ms) {
            return Err(TokenError::Revoked);
        }
        let username = claims.name.unwrap_or_else(|| short_name(user_id.as_str()));
        if !(1..=USERNAME_CHARS_MAX).contains(&username.chars().count()) {
            return Err(TokenError::Claim("name"));
        }
        if claims.rooms.as_ref().is_some_and(|rooms| rooms.len() > ROOMS_MAX) {
            return Err(TokenError::Claim("rooms"));
        }
        Ok(Identity {
            user_id,
            username: username.into(),
            level: claims.level,
            rooms: claims.rooms.map(Arc::from),
            expires_at_ms: Some(expires_at_ms),
            issued_at_ms,
        })
    }
}

/// A user id as a shown name, cut to what a name may be.
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

/// The signature is checked here, the time in [`Tokens::identity`] against the passed-in clock.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims(&["exp", "sub"]);
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
        #[allow(unreachable_patterns)] // Key types of later releases are not ours to trust.
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key })
}

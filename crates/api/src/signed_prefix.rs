//! `/s/{signature}`: a prefix that opens one room's segments until a time, for rooms that need a token.
//!
//! A cache shares answers by their address, and cannot look at tokens. So a reader with a token is given this prefix, and all
//! who are given the same one share what the cache keeps. The signature is HMAC-SHA256 (RFC 2104) over the room and the end;
//! its key is derived from the server's secret, so that prefixes, links and tokens never vouch for each other.

use std::fmt;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use ingest::Reader;
use model::{Code, RoomId, WireError};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::caller::{Caller, Uncounted};
use crate::error::ApiError;
use crate::{App, Services};

/// Bytes of the authentication code that a signature carries.
const MAC_BYTES: usize = 16;
/// How long a prefix works for a caller whose identity has no end, in seconds.
const ENDLESS_S: i64 = 86_400;
/// Prefixes that work for longer than this end at a full quarter of an hour, so that viewers share them.
const SHARED_FROM_S: i64 = 3_600;
const SHARED_STEP_S: i64 = 900;

/// Signs and verifies prefixes.
#[derive(Clone)]
pub struct SegmentSigner(Hmac<Sha256>);

impl fmt::Debug for SegmentSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SegmentSigner")
    }
}

impl SegmentSigner {
    /// A signer whose key is derived from the server's secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let derived = keyed(secret).chain_update(b"barrage segment prefixes 1").finalize().into_bytes();
        Self(keyed(&derived))
    }

    /// The signature that opens a room until `ends_s`, Unix seconds.
    fn sign(&self, room: &RoomId, ends_s: i64) -> String {
        let mac = self.0.clone().chain_update(format!("{room}\n{ends_s}")).finalize().into_bytes();
        let mac = mac.get(..MAC_BYTES).unwrap_or_default();
        format!("{ends_s}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    fn verify(&self, signature: &str, room: &RoomId, now_ms: i64) -> Result<(), WireError> {
        let ends_s: Option<i64> = signature.split_once('.').and_then(|(ends_s, _)| ends_s.parse().ok());
        let signed = ends_s.filter(|ends_s| self.sign(room, *ends_s).as_bytes().ct_eq(signature.as_bytes()).into());
        match signed {
            None => Err(WireError::new(Code::Forbidden, "the signature is not good for this room")),
            Some(ends_s) if ends_s.saturating_mul(1_000) <= now_ms => {
                Err(WireError::new(Code::Unauthorized, "the signature has expired"))
            }
            Some(_) => Ok(()),
        }
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

/// When the prefix of a caller ends whose identity ends at `expires_ms`: never later, and shared by many.
fn end_s(expires_ms: Option<i64>, now_ms: i64) -> i64 {
    let now_s = now_ms.div_euclid(1_000);
    let ends_s = expires_ms.map_or(now_s + ENDLESS_S, |ms| ms.div_euclid(1_000));
    if ends_s - now_s > SHARED_FROM_S { ends_s - ends_s.rem_euclid(SHARED_STEP_S) } else { ends_s }
}

/// Who asks for a segment: a caller like any other, or somebody with a signed prefix.
pub(crate) enum SegmentCaller {
    Signed(String),
    Caller(Box<Caller>),
}

impl SegmentCaller {
    /// Refuses who may not read the room's segments. Says whether the answer is public: the same for all who may ask at this
    /// address, and theirs to share.
    pub async fn may_read(&self, app: &Services, room: &RoomId) -> Result<bool, WireError> {
        match self {
            Self::Signed(signature) => {
                app.settings.segment_signer.verify(signature, room, app.clock.now_ms())?;
                app.ingest.may_read(Reader::Vouched, room).await?;
                Ok(true)
            }
            Self::Caller(caller) => {
                caller.may_read(app, room).await?;
                Ok(is_open(app, room).await)
            }
        }
    }

    /// What this caller puts before `/api/v1/` to read the room's segments: nothing where anybody may.
    pub async fn prefix(&self, app: &Services, room: &RoomId) -> String {
        match self {
            Self::Signed(signature) => format!("/s/{signature}"),
            Self::Caller(_) if is_open(app, room).await => String::new(),
            Self::Caller(caller) => {
                let expires_ms = caller.identity().and_then(|who| who.expires_at_ms);
                let ends_s = end_s(expires_ms, app.clock.now_ms());
                format!("/s/{}", app.settings.segment_signer.sign(room, ends_s))
            }
        }
    }

    /// For whom the room is loaded.
    pub fn opener(&self, app: &Services) -> hub::Opener {
        match self {
            Self::Signed(_) => hub::Opener::default(),
            Self::Caller(caller) => caller.opener(app),
        }
    }
}

/// Whether anybody may read the room, so that its answers need no prefix to be public.
async fn is_open(app: &Services, room: &RoomId) -> bool {
    let nobody = if app.settings.dev { Reader::Developer } else { Reader::Anonymous };
    app.ingest.may_read(nobody, room).await.is_ok()
}

impl FromRequestParts<App> for SegmentCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let named = RawPathParams::from_request_parts(parts, app).await.ok();
        let signature =
            named.iter().flatten().find(|(name, _)| *name == "signature").map(|(_, value)| value.to_owned());
        if let Some(signature) = signature {
            return Ok(Self::Signed(signature));
        }
        // A segment costs next to nothing, and a cache asks for everybody: no share of an address is counted.
        parts.extensions.insert(Uncounted);
        Ok(Self::Caller(Box::new(Caller::from_request_parts(parts, app).await?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_opens_one_room_until_its_end() {
        let signer = SegmentSigner::new(b"secret");
        let (hall, attic) = (RoomId::new("hall").expect("an id"), RoomId::new("attic").expect("an id"));
        let signature = signer.sign(&hall, 100);
        assert_eq!(signer.verify(&signature, &hall, 99_999), Ok(()));
        let code = |result: Result<(), WireError>| result.map_err(|error| error.code);
        assert_eq!(code(signer.verify(&signature, &hall, 100_000)), Err(Code::Unauthorized));
        assert_eq!(code(signer.verify(&signature, &attic, 0)), Err(Code::Forbidden));
        let longer = signature.replacen("100.", "900.", 1);
        for wrong in [longer.as_str(), "", "100", "100.", "x.y", "٣.x"] {
            assert_eq!(code(signer.verify(wrong, &hall, 0)), Err(Code::Forbidden), "{wrong}");
        }
        assert_eq!(code(SegmentSigner::new(b"other").verify(&signature, &hall, 0)), Err(Code::Forbidden));
    }

    #[test]
    fn a_prefix_never_outlives_its_token_and_long_ones_are_shared() {
        assert_eq!(end_s(Some(59_500), 0), 59);
        assert_eq!(end_s(Some(3_600_000), 0), 3_600);
        assert_eq!([7_300_000, 7_900_000, 8_000_000].map(|ms| end_s(Some(ms), 0)), [7_200; 3]);
        assert_eq!(end_s(None, 0), ENDLESS_S);
    }
}

//! Links that carry their own permission: HMAC-SHA256 (RFC 2104) over what may be done, to what, until when.
//!
//! Pure. The key is derived from the server's secret, so that links and tokens never vouch for each other.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use model::Snowflake;
use sha2::Sha256;

/// What a link lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Bring the bytes.
    Put,
    /// Read them.
    Get,
}

/// A link's permission, as its query carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Of which upload.
    pub id: Snowflake,
    /// Until when, Unix seconds.
    pub expires: i64,
    /// Unpadded URL-safe base64.
    pub signature: String,
}

/// Signs and checks.
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer whose key is derived from the server's secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let derived = keyed(secret).chain_update(b"barrage upload links 1").finalize().into_bytes();
        Self(keyed(&derived))
    }

    /// Lets the holder do this until `expires` (Unix seconds).
    #[must_use]
    pub fn sign(&self, deed: Deed, id: Snowflake, expires: i64) -> Ticket {
        let signature = URL_SAFE_NO_PAD.encode(self.over(deed, id, expires).finalize().into_bytes());
        Ticket { id, expires, signature }
    }

    /// Whether the ticket lets its holder do this now.
    #[must_use]
    pub fn admits(&self, deed: Deed, ticket: &Ticket, now_ms: i64) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(&ticket.signature).unwrap_or_default();
        let signed = self.over(deed, ticket.id, ticket.expires).verify_slice(&signature).is_ok();
        signed && now_ms < ticket.expires.saturating_mul(1_000)
    }

    fn over(&self, deed: Deed, id: Snowflake, expires: i64) -> Hmac<Sha256> {
        let deed = match deed {
            Deed::Put => "put",
            Deed::Get => "get",
        };
        self.0.clone().chain_update(format!("{deed}\n{id}\n{expires}"))
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_deed_one_upload_and_its_time() {
        let signer = Signer::new(b"secret");
        let ticket = signer.sign(Deed::Get, Snowflake(7), 100);
        assert!(signer.admits(Deed::Get, &ticket, 99_999));
        assert!(!signer.admits(Deed::Get, &ticket, 100_000), "expired");
        assert!(!signer.admits(Deed::Put, &ticket, 0), "another deed");
        assert!(!signer.admits(Deed::Get, &Ticket { id: Snowflake(8), ..ticket.clone() }, 0), "another upload");
        assert!(!signer.admits(Deed::Get, &Ticket { expires: 101, ..ticket.clone() }, 0), "a longer time");
        assert!(!signer.admits(Deed::Get, &Ticket { signature: String::new(), ..ticket.clone() }, 0));
        assert!(!Signer::new(b"other").admits(Deed::Get, &ticket, 0), "another server");
    }
}

//! Links that carry their own permission: HMAC-SHA256 (RFC 2104) over action, upload and expiry.
//!
//! Called by [`crate::Uploads`]; does no I/O. The key is derived from the server's secret, so that links and tokens never
//! vouch for each other.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use model::{Snowflake, UserId};
use sha2::Sha256;

/// What a link permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkAction {
    /// Uploading the bytes.
    Put,
    /// Reading them.
    Get,
}

/// A link's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLink {
    /// The upload.
    pub id: Snowflake,
    /// When it expires, Unix seconds.
    pub expires: i64,
    /// Who was given it to read by. It works for as long as this user may read.
    pub reader: Option<UserId>,
    /// Unpadded URL-safe base64.
    pub signature: String,
}

/// Signs and verifies links.
pub struct LinkSigner(Hmac<Sha256>);

impl LinkSigner {
    /// A signer whose key is derived from the server's secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let derived = keyed(secret).chain_update(b"barrage upload links 2").finalize().into_bytes();
        Self(keyed(&derived))
    }

    /// Permits `action` until `expires` (Unix seconds).
    #[must_use]
    pub fn sign(&self, action: LinkAction, id: Snowflake, expires: i64, reader: Option<UserId>) -> SignedLink {
        let mac = self.mac(action, id, expires, reader.as_ref());
        SignedLink { id, expires, reader, signature: URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()) }
    }

    /// Whether the link permits `action` now.
    #[must_use]
    pub fn permits(&self, action: LinkAction, link: &SignedLink, now_ms: i64) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(&link.signature).unwrap_or_default();
        let signed = self.mac(action, link.id, link.expires, link.reader.as_ref()).verify_slice(&signature).is_ok();
        signed && now_ms < link.expires.saturating_mul(1_000)
    }

    fn mac(&self, action: LinkAction, id: Snowflake, expires: i64, reader: Option<&UserId>) -> Hmac<Sha256> {
        let action = match action {
            LinkAction::Put => "put",
            LinkAction::Get => "get",
        };
        let reader = reader.map_or("", UserId::as_str);
        self.0.clone().chain_update(format!("{action}\n{id}\n{expires}\n{reader}"))
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_permits_one_action_on_one_upload_until_it_expires() {
        let signer = LinkSigner::new(b"secret");
        let link = signer.sign(LinkAction::Get, Snowflake(7), 100, UserId::new("alice").ok());
        assert!(signer.permits(LinkAction::Get, &link, 99_999));
        assert!(!signer.permits(LinkAction::Get, &link, 100_000), "expired");
        assert!(!signer.permits(LinkAction::Put, &link, 0), "another action");
        assert!(
            !signer.permits(LinkAction::Get, &SignedLink { id: Snowflake(8), ..link.clone() }, 0),
            "another upload"
        );
        assert!(!signer.permits(LinkAction::Get, &SignedLink { expires: 101, ..link.clone() }, 0), "a longer time");
        assert!(!signer.permits(LinkAction::Get, &SignedLink { reader: None, ..link.clone() }, 0), "another reader");
        assert!(!signer.permits(LinkAction::Get, &SignedLink { signature: String::new(), ..link.clone() }, 0));
        assert!(!LinkSigner::new(b"other").permits(LinkAction::Get, &link, 0), "another server");
    }
}

//! Tokens as an identity provider issues them: shared secret, RSA, P-256 and Ed25519.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::SECRET;

/// Unix seconds.
#[must_use]
pub fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// Signs claims with [`SECRET`] (HS256).
#[must_use]
pub fn token(claims: &Value) -> String {
    Signer::secret(SECRET).token(claims)
}

/// Somebody who signs tokens.
pub struct Signer {
    header: Header,
    key: EncodingKey,
    /// The public key in PEM; empty for a shared secret.
    pub pem: String,
    /// The public key as a JWK (RFC 7517); `null` for a shared secret.
    pub jwk: Value,
}

impl Signer {
    /// HS256 with a shared secret.
    #[must_use]
    pub fn secret(secret: &str) -> Self {
        let key = EncodingKey::from_secret(secret.as_bytes());
        Self { header: Header::default(), key, pem: String::new(), jwk: Value::Null }
    }

    /// RS256 with a fresh key of 2048 bits.
    #[must_use]
    pub fn rsa(id: &str) -> Self {
        let pair = Pair::make(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        let key = EncodingKey::from_rsa_pem(pair.private.as_bytes()).unwrap();
        // A SubjectPublicKeyInfo of 2048 bits and exponent 65537: 33 bytes, the modulus, 5 bytes.
        let modulus = BASE64.encode(pair.der.get(33..33 + 256).unwrap());
        let jwk = json!({ "kty": "RSA", "alg": "RS256", "kid": id, "use": "sig", "n": modulus, "e": "AQAB" });
        Self::of(Algorithm::RS256, id, key, pair.public, jwk)
    }

    /// ES256 with a fresh key on P-256.
    #[must_use]
    pub fn p256(id: &str) -> Self {
        let pair = Pair::make(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let key = EncodingKey::from_ec_pem(pair.private.as_bytes()).unwrap();
        // It ends with the point: x and y, 32 bytes each.
        let (x, y) = pair.der.get(pair.der.len() - 64..).unwrap().split_at(32);
        let (x, y) = (BASE64.encode(x), BASE64.encode(y));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": id, "use": "sig", "x": x, "y": y });
        Self::of(Algorithm::ES256, id, key, pair.public, jwk)
    }

    /// `EdDSA` with a fresh Ed25519 key.
    #[must_use]
    pub fn ed25519(id: &str) -> Self {
        let pair = Pair::make(&["-algorithm", "ED25519"]);
        let key = EncodingKey::from_ed_pem(pair.private.as_bytes()).unwrap();
        let x = BASE64.encode(pair.der.get(pair.der.len() - 32..).unwrap());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "use": "sig", "x": x });
        Self::of(Algorithm::EdDSA, id, key, pair.public, jwk)
    }

    fn of(algorithm: Algorithm, id: &str, key: EncodingKey, pem: String, jwk: Value) -> Self {
        let header = Header { kid: Some(id.into()), ..Header::new(algorithm) };
        Self { header, key, pem, jwk }
    }

    /// A token with these claims.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.key).unwrap()
    }

    /// A minute's token of a user.
    #[must_use]
    pub fn token_of(&self, user: &str) -> String {
        self.token(&json!({ "sub": user, "iat": now_s() - 5, "exp": now_s() + 60 }))
    }
}

/// A key pair of the `openssl` command.
struct Pair {
    private: String,
    public: String,
    der: Vec<u8>,
}

impl Pair {
    fn make(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.pem");
        openssl(&[&["genpkey", "-out"], &[path(&file)][..], args].concat());
        let private = std::fs::read_to_string(&file).unwrap();
        let public = openssl(&["pkey", "-pubout", "-in", path(&file)]);
        let der = openssl(&["pkey", "-pubout", "-outform", "DER", "-in", path(&file)]);
        Self { private, public: String::from_utf8(public).unwrap(), der }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn openssl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).output().expect("the openssl command");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

//! How two clouds want their calls signed: Tencent's TC3-HMAC-SHA256
//! (<https://www.tencentcloud.com/document/product/1010/38887>) and Aliyun's ACS3-HMAC-SHA256
//! (<https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>).
//!
//! Pure but for the nonce. The secret is `ID:KEY`. Called by [`super::dialect`].

use hmac::{Hmac, Mac};
use model::clock::rfc3339_ms;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

/// The way, as a template names it.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Sign {
    /// Tencent's.
    Tc3 {
        /// The service, such as `tms`.
        service: String,
    },
    /// Aliyun's.
    Acs3,
}

/// Adds the headers that sign a POST of `body` to `url` at `now_s` (Unix seconds).
pub(super) fn sign(sign: &Sign, secret: &str, url: &Url, body: &[u8], now_s: i64, headers: &mut HeaderMap) {
    let (id, key) = secret.split_once(':').unwrap_or((secret, ""));
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    set(headers, HOST, &host);
    match sign {
        Sign::Tc3 { service } => tc3(service, id, key, url, body, now_s, headers),
        Sign::Acs3 => {
            set(headers, HeaderName::from_static("x-acs-signature-nonce"), &format!("{:032x}", nonce()));
            acs3(id, key, url, body, now_s, headers);
        }
    }
}

fn tc3(service: &str, id: &str, key: &str, url: &Url, body: &[u8], now_s: i64, headers: &mut HeaderMap) {
    set(headers, HeaderName::from_static("x-tc-timestamp"), &now_s.to_string());
    let date = date(now_s);
    let canonical = format!(
        "POST\n{}\n{}\ncontent-type:{}\nhost:{}\n\ncontent-type;host\n{}",
        url.path(),
        url.query().unwrap_or_default(),
        value(headers, &CONTENT_TYPE),
        value(headers, &HOST),
        hash(body)
    );
    let scope = format!("{date}/{service}/tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{now_s}\n{scope}\n{}", hash(canonical.as_bytes()));
    let key = mac(&mac(&mac(format!("TC3{key}").as_bytes(), &date), service), "tc3_request");
    let signature = hex(&mac(&key, &to_sign));
    let line =
        format!("TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=content-type;host, Signature={signature}");
    set(headers, AUTHORIZATION, &line);
}

fn acs3(id: &str, key: &str, url: &Url, body: &[u8], now_s: i64, headers: &mut HeaderMap) {
    let at = rfc3339_ms(now_s * 1_000);
    set(headers, HeaderName::from_static("x-acs-date"), &format!("{}Z", at.split('.').next().unwrap_or_default()));
    set(headers, HeaderName::from_static("x-acs-content-sha256"), &hash(body));
    let mut signed: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("x-acs-")).cloned().collect();
    signed.extend([CONTENT_TYPE, HOST]);
    signed.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let lines: String = signed.iter().map(|name| format!("{name}:{}\n", value(headers, name))).collect();
    let names = signed.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(";");
    let canonical =
        format!("POST\n{}\n{}\n{lines}\n{names}\n{}", url.path(), url.query().unwrap_or_default(), hash(body));
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", hash(canonical.as_bytes()));
    let signature = hex(&mac(key.as_bytes(), &to_sign));
    set(
        headers,
        AUTHORIZATION,
        &format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={names},Signature={signature}"),
    );
}

/// A number that no other call has.
fn nonce() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    (u128::from(RandomState::new().hash_one(call)) << 64) | u128::from(call)
}

/// The day of a moment, `2023-11-14`.
fn date(now_s: i64) -> String {
    rfc3339_ms(now_s * 1_000).split('T').next().unwrap_or_default().to_owned()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(name == AUTHORIZATION);
        headers.insert(name, value);
    }
}

fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.chain_update(text).finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_S: i64 = 1_700_000_000;

    fn signed(url: &str, kind: &'static str) -> (Url, HeaderMap) {
        let url = Url::parse(url).expect("a URL");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        set(&mut headers, HOST, url.host_str().expect("a host"));
        (url, headers)
    }

    /// Both signatures are what the clouds' own Python libraries make of the same calls.
    #[test]
    fn signatures_are_those_of_the_clouds_own_libraries() {
        let (url, mut headers) = signed("https://tms.tencentcloudapi.com/", "application/json; charset=utf-8");
        tc3("tms", "the-id", "the-secret-key", &url, br#"{"Content":"aGVsbG8="}"#, AT_S, &mut headers);
        assert_eq!(
            value(&headers, &AUTHORIZATION),
            "TC3-HMAC-SHA256 Credential=the-id/2023-11-14/tms/tc3_request, SignedHeaders=content-type;host, \
             Signature=717023b4073c869c5cb569951efaf2c7b60154ecb3dad005488e20320c0e76c5"
        );

        let (url, mut headers) =
            signed("https://green-cip.cn-shanghai.aliyuncs.com/", "application/x-www-form-urlencoded");
        for (name, text) in [
            ("x-acs-action", "TextModerationPlus"),
            ("x-acs-version", "2022-03-02"),
            ("x-acs-signature-nonce", "nonce-1"),
        ] {
            set(&mut headers, HeaderName::from_static(name), text);
        }
        let body = b"Service=comment_detection_pro&ServiceParameters=%7B%22content%22%3A%22hello%22%7D";
        acs3("the-id", "the-secret-key", &url, body, AT_S, &mut headers);
        assert_eq!(
            value(&headers, &AUTHORIZATION),
            "ACS3-HMAC-SHA256 Credential=the-id,SignedHeaders=content-type;host;x-acs-action;x-acs-content-sha256;\
             x-acs-date;x-acs-signature-nonce;x-acs-version,\
             Signature=452f63bcf6d73c84752d6dcd07819f0a7852483e64ab3ca272875caefdc37a04"
        );
    }
}

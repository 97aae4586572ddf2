//! Answers that caches keep: which form a client is given, its entity tag, and the headers that let a cache share it.
//!
//! Used by everything that is the same for all who may read it: live segments, archived segments, the ranking's top. Handlers
//! encode once and hand over a [`Representation`]; [`share`] is the layer that keeps headers about the caller out of such an
//! answer. Never decides who may read.

use std::io::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// What an object is compressed with: small enough to be worth it, quick enough to be made while viewers wait.
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW: u32 = 20;
const ZSTD_LEVEL: i32 = 6;
/// Bytes of the digest in an entity tag.
const TAG_BYTES: usize = 12;

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
    Brotli,
}

impl Coding {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All that are made here, the best first.
    pub const ALL: [Self; 4] = [Self::Brotli, Self::Zstd, Self::Gzip, Self::Identity];

    /// Its name in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
        }
    }

    /// The bytes in this coding.
    pub fn encode(self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(plain.to_vec()),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL),
            Self::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4_096, BROTLI_QUALITY, BROTLI_WINDOW);
                encoder.write_all(plain)?;
                Ok(encoder.into_inner())
            }
        }
    }

    /// The first of `offered` that the client takes with the highest weight. Nothing is forced on anybody: identity is what
    /// remains.
    pub fn chosen(headers: &HeaderMap, offered: &[Self]) -> Self {
        let accepted = weights(headers, &header::ACCEPT_ENCODING);
        let weight = |coding: Self| {
            let named = |name: &str| accepted.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            named(coding.name()).or_else(|| named("*")).map_or(0.0, |(_, weight)| *weight)
        };
        let best = offered.iter().copied().map(|coding| (coding, weight(coding))).filter(|(_, weight)| *weight > 0.0);
        best.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(Self::Identity, |(coding, _)| coding)
    }
}

/// The media types of an object.
pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// The first of `offered` that the client takes with the highest weight; the first of all when it takes none.
pub(crate) fn chosen_type<'a>(headers: &HeaderMap, offered: &[&'a str]) -> &'a str {
    let accepted = weights(headers, &header::ACCEPT);
    let weight = |offered: &str| {
        let group = offered.split('/').next().unwrap_or_default();
        // The more specific range decides (RFC 9110, section 12.5.1).
        let ranges = [offered.to_owned(), format!("{group}/*"), "*/*".to_owned()];
        let found =
            ranges.iter().find_map(|range| accepted.iter().find(|(known, _)| known.eq_ignore_ascii_case(range)));
        found.map_or(0.0, |(_, weight)| *weight)
    };
    let weighed = offered.iter().map(|offered| (*offered, weight(offered))).filter(|(_, weight)| *weight > 0.0);
    let best = weighed.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(offered, _)| offered).or(offered.first().copied()).unwrap_or(JSON)
}

/// A header's items with their weights.
fn weights<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<(&'a str, f32)> {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let weight = |item: &'a str| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        (name, weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0)))
    };
    lists.flat_map(|list| list.split(',')).map(weight).filter(|(name, _)| !name.is_empty()).collect()
}

/// One form of an object.
pub(crate) struct Representation {
    pub body: Bytes,
    pub media_type: &'static str,
    pub coding: Coding,
    /// Without quotes; another one for each form.
    pub tag: String,
}

/// The part of an entity tag that the content decides, whatever its form.
pub(crate) fn digest(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// How long an answer may be kept, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caching {
    /// Whether everybody who may ask is given it: a cache may share it, and any page may read it.
    pub is_public: bool,
    pub max_age_s: u32,
    /// Whether it never changes.
    pub is_immutable: bool,
}

impl Caching {
    fn header(self) -> HeaderValue {
        let scope = if self.is_public { "public" } else { "private" };
        let immutable = if self.is_immutable { ", immutable" } else { "" };
        let text = format!("{scope}, max-age={}{immutable}", self.max_age_s);
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("no-store"))
    }
}

/// On an answer of this module, whether it is public.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    is_public: bool,
}

impl Representation {
    /// The answer, or 304 when the client has it.
    pub fn answer(self, request: &HeaderMap, caching: Caching) -> Response {
        let Self { body, media_type, coding, tag } = self;
        let tag = format!("\"{tag}\"");
        let is_known = matches(request, &tag);
        let mut response =
            if is_known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(body).into_response() };
        let headers = response.headers_mut();
        if !is_known {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            if coding != Coding::Identity {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            }
        }
        headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
        headers.insert(header::CACHE_CONTROL, caching.header());
        response.extensions_mut().insert(Shared { is_public: caching.is_public });
        response
    }
}

/// Whether `If-None-Match` names the tag (RFC 9110, section 13.1.2).
fn matches(request: &HeaderMap, tag: &str) -> bool {
    let lists = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = lists.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Whether an answer is finished: compressed as its client asked, and not to be compressed again.
pub(crate) fn is_encoded(extensions: &axum::http::Extensions) -> bool {
    extensions.get::<Shared>().is_some()
}

/// Sets what a shared answer varies by. The layers within it add what depends on the caller's origin, by which a cache would
/// keep one copy for each site.
pub(crate) async fn share(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(Shared { is_public }) = response.extensions().get::<Shared>().copied() else { return response };
    let headers = response.headers_mut();
    if is_public {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    } else {
        headers.append(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    }
    response
}

/// Whether this path's answers may be public, so that any page may ask for them.
pub(crate) fn is_shared_path(path: &str) -> bool {
    let path = path.strip_prefix("/s/").and_then(|rest| rest.split_once('/')).map_or(path, |(_, rest)| rest);
    let mut parts = path.trim_start_matches('/').split('/');
    if [parts.next(), parts.next(), parts.next()] != [Some("api"), Some("v1"), Some("rooms")] {
        return false;
    }
    let rest: Vec<&str> = parts.skip(1).collect();
    matches!(rest.as_slice(), ["live", _] | ["ranking.top"] | ["sessions", _, "segments", ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_client_is_given_the_best_coding_that_it_takes() {
        for (accepts, expected) in [
            ("gzip, deflate, br, zstd", Coding::Brotli),
            ("gzip, zstd", Coding::Zstd),
            ("br;q=0.5, gzip", Coding::Gzip),
            ("br;q=0, GZIP;q=0.1", Coding::Gzip),
            ("*", Coding::Brotli),
            ("*;q=0", Coding::Identity),
            ("deflate", Coding::Identity),
            ("identity", Coding::Identity),
            ("br;q=none", Coding::Identity),
            ("", Coding::Identity),
        ] {
            assert_eq!(Coding::chosen(&headers(header::ACCEPT_ENCODING, accepts), &Coding::ALL), expected, "{accepts}");
        }
        assert_eq!(Coding::chosen(&HeaderMap::new(), &Coding::ALL), Coding::Identity);
    }

    #[test]
    fn a_client_is_given_the_type_that_it_likes_best() {
        let offered = [JSON, PROTOBUF];
        for (accepts, expected) in [
            ("application/x-protobuf", PROTOBUF),
            ("application/x-protobuf;q=0.5, application/json", JSON),
            ("application/json;q=0.1, application/x-protobuf", PROTOBUF),
            ("application/*;q=0.1, application/x-protobuf", PROTOBUF),
            ("*/*", JSON),
            ("text/html", JSON),
            ("", JSON),
        ] {
            assert_eq!(chosen_type(&headers(header::ACCEPT, accepts), &offered), expected, "{accepts}");
        }
    }

    #[test]
    fn every_coding_is_read_back() {
        use std::io::Read as _;
        let plain = b"the same words, the same words, the same words".repeat(20);
        let encoded = |coding: Coding| coding.encode(&plain).expect("bytes");
        let (mut gzip, mut br) = (Vec::new(), Vec::new());
        flate2::read::GzDecoder::new(&*encoded(Coding::Gzip)).read_to_end(&mut gzip).expect("gzip");
        brotli::Decompressor::new(&*encoded(Coding::Brotli), 4_096).read_to_end(&mut br).expect("br");
        let zstd = zstd::bulk::decompress(&encoded(Coding::Zstd), plain.len()).expect("zstd");
        assert!([gzip, br, zstd].iter().all(|read| *read == plain));
    }

    #[test]
    fn a_known_tag_is_recognised_among_others_and_weak() {
        for (known, expected) in
            [("\"a\"", true), ("\"b\", W/\"a\"", true), ("*", true), ("\"b\"", false), ("a", false)]
        {
            assert_eq!(matches(&headers(header::IF_NONE_MATCH, known), "\"a\""), expected, "{known}");
        }
    }

    #[test]
    fn shared_paths_are_known_with_and_without_a_signature() {
        for path in ["/api/v1/rooms/r/live/5", "/s/x.y/api/v1/rooms/r/live/5", "/api/v1/rooms/r/ranking.top"] {
            assert!(is_shared_path(path), "{path}");
        }
        for path in ["/api/v1/rooms/r/live", "/api/v1/rooms/r", "/s/x", "/s/x/api/v1/rooms/r/comments", "/"] {
            assert!(!is_shared_path(path), "{path}");
        }
    }
}

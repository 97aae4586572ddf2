//! Which hosts and origins are served: the allow-list, and the guard of a development server.
//!
//! Asked by the API for every request and by the gateway before an upgrade; a pure function of the
//! configuration and two headers.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3_600);

/// The rule. Requests without `Origin` come from no browser's page and pass; those of a page of the
/// same host pass too.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    allowed: Vec<String>,
    loopback_only: bool,
}

impl Origins {
    /// A rule. `allowed` are origins of other sites that may call, such as `https://tv.example`; `*`
    /// admits all. With `loopback_only` only loopback hosts are served, and only pages that come from
    /// one: what keeps a development server, which believes everybody, from the web's other sites
    /// (DNS rebinding included).
    #[must_use]
    pub fn new(allowed: Vec<String>, loopback_only: bool) -> Self {
        Self { allowed, loopback_only }
    }

    /// Whether a request of a page of `origin` to `host` (the `Host` header) is served.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>, host: &str) -> bool {
        (!self.loopback_only || is_loopback(host)) && origin.is_none_or(|origin| self.allows_origin(origin, host))
    }

    fn allows_origin(&self, origin: &str, host: &str) -> bool {
        let site = origin.split_once("://").map_or("", |(_, site)| site);
        if self.loopback_only {
            return is_loopback(site);
        }
        site.eq_ignore_ascii_case(host) || self.allowed.iter().any(|one| one == "*" || one.eq_ignore_ascii_case(origin))
    }

    /// The CORS answers (<https://fetch.spec.whatwg.org/#http-cors-protocol>) that follow the rule.
    pub(crate) fn cors(&self) -> CorsLayer {
        let rule = self.clone();
        let admit = move |origin: &HeaderValue, parts: &Parts| {
            let host = host(&parts.uri, parts.headers.get(header::HOST));
            origin.to_str().is_ok_and(|origin| rule.allows(Some(origin), host))
        };
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(admit))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static("last-event-id")])
            .expose_headers([header::RETRY_AFTER])
            .max_age(PREFLIGHT_AGE)
    }
}

/// The host a request is for; empty when it does not say.
pub(crate) fn host<'a>(uri: &'a Uri, header: Option<&'a HeaderValue>) -> &'a str {
    let named = uri.authority().map(axum::http::uri::Authority::as_str);
    named.or_else(|| header.and_then(|host| host.to_str().ok())).unwrap_or_default()
}

/// Whether `host`, perhaps with a port, names this machine's loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages_and_listed_origins_pass() {
        let rule = Origins::new(vec!["https://tv.example".into()], false);
        assert!(rule.allows(None, "chat.example"));
        assert!(rule.allows(Some("https://chat.example"), "chat.example"));
        assert!(rule.allows(Some("https://tv.example"), "chat.example"));
        for other in ["https://evil.example", "https://chat.example.evil", "null", "", "https://chat.example:1"] {
            assert!(!rule.allows(Some(other), "chat.example"), "{other}");
        }
        let all = Origins::new(vec!["*".into()], false);
        assert!(all.allows(Some("https://any.example"), "chat.example"));
    }

    #[test]
    fn a_development_server_is_this_machine_s_alone() {
        let rule = Origins::new(vec!["*".into()], true);
        for host in ["localhost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]:8080", "LOCALHOST"] {
            assert!(rule.allows(None, host), "{host}");
            assert!(rule.allows(Some("http://localhost:5173"), host), "{host}");
            assert!(!rule.allows(Some("https://evil.example"), host), "{host}");
            assert!(!rule.allows(Some("null"), host), "{host}");
        }
        for host in ["rebound.example:8080", "", "localhost.evil", "10.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(!rule.allows(None, host), "{host}");
        }
    }
}

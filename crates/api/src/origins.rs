//! Which hosts and origins are served: the allow-list, and the guard of a development server.
//!
//! The API asks for every request, the gateway before every upgrade. A pure function of the configuration and two
//! headers; never looks at who calls.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3_600);

/// Decides which origins may call. A request without `Origin` comes from no page and passes; so does a page of the
/// same host.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    allowed: Vec<AllowedOrigin>,
    loopback_only: bool,
}

/// One entry of the allow-list, written as browsers write origins (<https://www.rfc-editor.org/rfc/rfc6454>).
#[derive(Debug, Clone, PartialEq, Eq)]
enum AllowedOrigin {
    /// `*`.
    Any,
    /// One origin, such as `https://tv.example`.
    Exact(String),
    /// Every subdomain, such as `https://*.tv.example:8443`: the scheme with `://`, and what ends the rest.
    Subdomains { scheme: String, suffix: String },
}

/// An entry of the allow-list that no browser's `Origin` can equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin(pub String);

impl std::fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no origin such as https://live.example.org, https://*.example.org or *", self.0)
    }
}

impl std::error::Error for InvalidOrigin {}

impl Origins {
    /// A rule. `allowed` are origins of other sites that may call, such as `https://tv.example`; `https://*.tv.example`
    /// admits subdomains, `*` admits all. With `loopback_only`, only loopback hosts are served, and only pages that come
    /// from one: this keeps a development server, which believes everybody, from other sites (DNS rebinding included).
    ///
    /// # Errors
    /// Names the first entry that no browser could send.
    pub fn new(allowed: &[String], loopback_only: bool) -> Result<Self, InvalidOrigin> {
        let parse = |entry: &String| parse_allowed(entry).ok_or_else(|| InvalidOrigin(entry.clone()));
        Ok(Self { allowed: allowed.iter().map(parse).collect::<Result<_, _>>()?, loopback_only })
    }

    /// Whether a request of a page of `origin` to `host` (the `Host` header) is served.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>, host: &str) -> bool {
        (!self.loopback_only || is_loopback(host)) && origin.is_none_or(|origin| self.allows_origin(origin, host))
    }

    /// Whether what everybody may read is served to every page: not by a development server.
    pub(crate) fn allows_any_page(&self, host: &str) -> bool {
        !self.loopback_only && self.allows(None, host)
    }

    fn allows_origin(&self, origin: &str, host: &str) -> bool {
        let Some((scheme, site)) = origin.split_once("://") else {
            return !self.loopback_only && self.allowed.contains(&AllowedOrigin::Any);
        };
        if self.loopback_only {
            return is_loopback(site);
        }
        without_default_port(scheme, site).eq_ignore_ascii_case(without_default_port(scheme, host))
            || self.allowed.iter().any(|allowed| allowed.admits(origin))
    }

    /// Who may show our pages in a frame, as the sources of `frame-ancestors`
    /// (<https://www.w3.org/TR/CSP3/#directive-frame-ancestors>).
    pub(crate) fn frame_ancestors(&self) -> String {
        if self.loopback_only {
            return "'self' http://localhost:* http://127.0.0.1:* https://localhost:* https://127.0.0.1:*".to_owned();
        }
        let sources = self.allowed.iter().map(|allowed| match allowed {
            AllowedOrigin::Any => "*".to_owned(),
            AllowedOrigin::Exact(origin) => origin.clone(),
            AllowedOrigin::Subdomains { scheme, suffix } => format!("{scheme}*{suffix}"),
        });
        sources.fold("'self'".to_owned(), |list, source| format!("{list} {source}"))
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

impl AllowedOrigin {
    fn admits(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Self::Subdomains { scheme, suffix } => {
                let origin = origin.to_ascii_lowercase();
                origin
                    .strip_prefix(scheme)
                    .and_then(|site| site.strip_suffix(suffix))
                    .is_some_and(|name| !name.is_empty())
            }
        }
    }
}

/// Reads an entry as an administrator may write it: in capitals, with a trailing slash or the scheme's own port.
fn parse_allowed(entry: &str) -> Option<AllowedOrigin> {
    if entry == "*" {
        return Some(AllowedOrigin::Any);
    }
    let entry = entry.trim().to_ascii_lowercase();
    let (scheme, site) = entry.split_once("://")?;
    let site = without_default_port(scheme, site.strip_suffix('/').unwrap_or(site));
    let (subdomains, name) = site.strip_prefix("*.").map_or((false, site), |name| (true, name));
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme || !is_site(name) || (subdomains && name.starts_with('[')) {
        return None;
    }
    Some(if subdomains {
        AllowedOrigin::Subdomains { scheme: format!("{scheme}://"), suffix: format!(".{name}") }
    } else {
        AllowedOrigin::Exact(format!("{scheme}://{site}"))
    })
}

/// Whether it is a host, perhaps with a port.
fn is_site(site: &str) -> bool {
    let (host, port) = match site.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || rest.starts_with(':')) => {
            ("v6", rest.strip_prefix(':'))
        }
        Some(_) => return false,
        None => site.split_once(':').map_or((site, None), |(host, port)| (host, Some(port))),
    };
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|n| n > 0))
}

/// Browsers leave out the port that the scheme implies.
fn without_default_port<'a>(scheme: &str, site: &'a str) -> &'a str {
    let port = match scheme.to_ascii_lowercase().as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return site,
    };
    site.strip_suffix(port).unwrap_or(site)
}

/// The host that a request is for; empty when it does not say.
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

    fn rule(allowed: &[&str], loopback_only: bool) -> Result<Origins, InvalidOrigin> {
        let allowed: Vec<String> = allowed.iter().map(|entry| (*entry).to_owned()).collect();
        Origins::new(&allowed, loopback_only)
    }

    #[test]
    fn own_pages_and_listed_origins_pass() {
        let rule = rule(&["https://tv.example"], false).expect("valid");
        assert!(rule.allows(None, "chat.example"));
        assert!(rule.allows(Some("https://chat.example"), "chat.example"));
        assert!(rule.allows(Some("https://chat.example"), "chat.example:443"));
        assert!(rule.allows(Some("https://tv.example"), "chat.example"));
        for other in ["https://evil.example", "https://chat.example.evil", "null", "", "https://chat.example:1"] {
            assert!(!rule.allows(Some(other), "chat.example"), "{other}");
        }
        let all = super::tests::rule(&["*"], false).expect("valid");
        assert!(all.allows(Some("https://any.example"), "chat.example"));
        assert!(all.allows(Some("null"), "chat.example"));
    }

    #[test]
    fn entries_are_written_as_browsers_write_origins() {
        for (entry, sent) in [
            ("https://tv.example/", "https://tv.example"),
            ("HTTPS://TV.Example", "https://tv.example"),
            ("https://tv.example:443", "https://tv.example"),
            ("http://tv.example:80/", "http://tv.example"),
            ("http://tv.example:8080", "http://tv.example:8080"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            let rule = rule(&[entry], false).expect(entry);
            assert!(rule.allows(Some(sent), "chat.example"), "{entry}");
        }
        for entry in [
            "tv.example",
            "https://",
            "https://tv.example/live",
            "https://tv.example?x",
            "https://me@tv.example",
            "https://tv.example:port",
            "https://tv.example:0",
            "https://tv..example",
            "https://*",
            "https://t*.example",
            "https://*.*.example",
            "https://直播.example",
            "null",
            "",
            "https://[::1",
            "https://[::1]x",
            "//tv.example",
        ] {
            let error = rule(&["https://good.example", entry], false).expect_err(entry);
            assert_eq!(error, InvalidOrigin(entry.to_owned()));
        }
    }

    #[test]
    fn a_wildcard_admits_subdomains_alone() {
        let rule = rule(&["https://*.tv.example", "http://*.dev.example:3000"], false).expect("valid");
        for sent in ["https://live.tv.example", "https://a.b.tv.example", "http://x.dev.example:3000"] {
            assert!(rule.allows(Some(sent), "chat.example"), "{sent}");
        }
        for sent in [
            "https://tv.example",
            "https://eviltv.example",
            "http://live.tv.example",
            "https://live.tv.example:1",
            "http://x.dev.example",
            "https://live.tv.example.evil",
        ] {
            assert!(!rule.allows(Some(sent), "chat.example"), "{sent}");
        }
    }

    #[test]
    fn frames_follow_the_allow_list() {
        let ancestors = |allowed: &[&str], loopback| rule(allowed, loopback).expect("valid").frame_ancestors();
        assert_eq!(ancestors(&[], false), "'self'");
        let listed = ["https://tv.example", "https://*.dev.example:3000"];
        assert_eq!(ancestors(&listed, false), "'self' https://tv.example https://*.dev.example:3000");
        assert_eq!(ancestors(&["*"], false), "'self' *");
        assert!(!ancestors(&["*"], true).contains(" *"), "a development server is framed by this machine alone");
    }

    #[test]
    fn a_development_server_is_this_machine_s_alone() {
        let rule = rule(&["*"], true).expect("valid");
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

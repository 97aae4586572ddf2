//! Which addresses may be called: nothing private unless the operator allows it (SSRF).
//!
//! A URL's literal address is checked when it is set; a name is checked each time it is resolved, so that a name cannot
//! turn private later. Called by everything in this crate that posts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, redirect};
use url::{Host, Url};

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Why a URL may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is no address of a web service.
    #[error("an address with https:// or http://, without a user and at most 2048 bytes")]
    NoUrl,
    /// It leads into a private network.
    #[error("a public address: private ones need allow_private = true")]
    Private,
}

/// Checks a URL as far as that goes without resolving its name.
///
/// # Errors
/// [`Forbidden`].
pub fn check_url(text: &str, allow_private: bool) -> Result<Url, Forbidden> {
    let url = Url::parse(text).map_err(|_| Forbidden::NoUrl)?;
    let plain = url.username().is_empty() && url.password().is_none() && text.len() <= URL_BYTES_MAX;
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(Forbidden::NoUrl);
    }
    let private = match url.host() {
        None => return Err(Forbidden::NoUrl),
        Some(Host::Ipv4(ip)) => is_private(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => is_private(IpAddr::V6(ip)),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_lowercase();
            name == "localhost"
                || name.ends_with(".localhost")
                || name.ends_with(".internal")
                || name.ends_with(".local")
        }
    };
    if private && !allow_private { Err(Forbidden::Private) } else { Ok(url) }
}

/// Whether an address is not on the public Internet.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_private_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped().or_else(|| embedded_v4(ip)) {
            Some(ip) => is_private_v4(ip),
            None => {
                let first = ip.segments()[0];
                ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || first & 0xfe00 == 0xfc00
                    || first & 0xffc0 == 0xfe80
                    || first & 0xffc0 == 0xfec0
            }
        },
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_broadcast()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 0)
}

/// The IPv4 address inside of a NAT64 or 6to4 address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Resolves names to public addresses alone.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| !is_private(address.ip())).collect();
            if public.is_empty() {
                return Err(Box::from("the name has no public address"));
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// A client that calls public addresses, or with `allow_private` any.
///
/// # Errors
/// When the system's certificates cannot be read.
pub fn client(allow_private: bool, timeout: Duration) -> Result<Client, reqwest::Error> {
    // The process may have chosen its provider already; it is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::builder()
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .user_agent("barrage");
    let client = if allow_private { client } else { client.dns_resolver(Arc::new(PublicOnly)) };
    client.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_refused_however_they_are_written() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://10.0.0.1/",
            "http://192.168.1.1:8080/x",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[64:ff9b::a00:1]/",
            "http://0.0.0.0/",
            "http://100.64.0.1/",
            "http://localhost/",
            "http://a.localhost./",
        ] {
            assert_eq!(check_url(url, false), Err(Forbidden::Private), "{url}");
            assert!(check_url(url, true).is_ok(), "{url}");
        }
        for url in ["https://example.com/hook", "http://93.184.216.34/", "https://[2606:2800:220:1::1]/"] {
            assert!(check_url(url, false).is_ok(), "{url}");
        }
        for url in ["", "ftp://example.com/", "example.com", "http://user:word@example.com/", "file:///etc/passwd"] {
            assert_eq!(check_url(url, true), Err(Forbidden::NoUrl), "{url}");
        }
    }
}

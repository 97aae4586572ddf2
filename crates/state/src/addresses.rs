//! Which address a client has, and what one address may use: connections, handshakes a second, requests a second.
//!
//! Shared by all shards and the HTTP side of a process, so that a client has one address at every door. Loopback and trusted
//! proxies are exempt; behind a trusted proxy the address that it names counts instead. What it sends and nobody can read
//! is one address, limited as any other. Memory is bounded by the process's sockets, by the handshakes of one second, and by
//! [`REQUESTS_KEYS_MAX`]. Never closes a connection itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::HashMap;
use ipnet::IpNet;
use parking_lot::Mutex;
use protocol::forwarded::{ProxySource, Unreadable, forwarded, x_forwarded_for};

use crate::connections::{Connections, Permit, network};
use crate::{MemoryRateLimiter, Rate};

/// The one address of all clients whose own cannot be read.
pub const UNREADABLE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Addresses whose requests are counted at once.
const REQUESTS_KEYS_MAX: usize = 100_000;

/// The address has reached its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections from this address")]
pub struct TooManyConnections;

/// The header in which proxies name a client's address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The limits of one address, and whose word about addresses counts.
#[derive(Debug, Clone)]
pub struct AddressRules {
    /// Open connections, sockets and event streams together.
    pub connections_max: u32,
    /// Handshakes a second.
    pub handshakes_per_s: u32,
    /// HTTP requests.
    pub requests: Rate,
    /// The proxies.
    pub trusted: Vec<IpNet>,
    /// The header that they set. The other one may come from anybody, so it is not read.
    pub header: ForwardedHeader,
    /// Whether they begin each connection with a PROXY header.
    pub proxy_protocol: bool,
}

/// What a request says about its client; several lines of a header are joined by commas.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForwardedHeaders<'a> {
    /// `X-Forwarded-For`.
    pub x_forwarded_for: Option<&'a str>,
    /// `Forwarded`.
    pub forwarded: Option<&'a str>,
}

/// The addresses of a process's clients.
pub struct Addresses {
    rules: AddressRules,
    connections: Connections,
    handshakes: Mutex<Handshakes>,
    requests: MemoryRateLimiter,
    warned: AtomicBool,
}

#[derive(Default)]
struct Handshakes {
    second: i64,
    counts: HashMap<IpAddr, u32>,
}

impl Addresses {
    /// Nobody is connected yet.
    #[must_use]
    pub fn new(rules: AddressRules) -> Self {
        let (connections, handshakes) = (Connections::default(), Mutex::default());
        let requests = MemoryRateLimiter::new(REQUESTS_KEYS_MAX);
        Self { rules, connections, handshakes, requests, warned: AtomicBool::new(false) }
    }

    /// Counts a connection; `None` for an exempt address.
    ///
    /// # Errors
    /// [`TooManyConnections`].
    pub fn connect(&self, address: IpAddr) -> Result<Option<Permit>, TooManyConnections> {
        if self.is_exempt(address) {
            return Ok(None);
        }
        self.connections.acquire(address, self.rules.connections_max).map(Some).ok_or(TooManyConnections)
    }

    /// Counts a handshake in the second of `now_ms`.
    ///
    /// # Errors
    /// [`TooManyConnections`].
    pub fn count_handshake(&self, address: IpAddr, now_ms: i64) -> Result<(), TooManyConnections> {
        if self.is_exempt(address) {
            return Ok(());
        }
        let second = now_ms.div_euclid(1_000);
        let mut handshakes = self.handshakes.lock();
        if handshakes.second != second {
            handshakes.second = second;
            handshakes.counts.clear();
        }
        let count = handshakes.counts.entry(network(address)).or_default();
        *count += 1;
        if *count > self.rules.handshakes_per_s { Err(TooManyConnections) } else { Ok(()) }
    }

    /// Counts an HTTP request.
    ///
    /// # Errors
    /// The wait in milliseconds.
    pub fn count_request(&self, address: IpAddr, now_ms: i64) -> Result<(), u64> {
        if self.is_exempt(address) {
            return Ok(());
        }
        self.requests.count("requests", &network(address).to_string(), self.rules.requests, now_ms)
    }

    /// The address a request comes from: the peer, or, behind a trusted proxy, the last one in its header that is not itself
    /// a trusted proxy.
    pub fn client(&self, peer: IpAddr, headers: ForwardedHeaders<'_>) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.is_trusted(peer) {
            return peer;
        }
        match (self.rules.header, headers.x_forwarded_for, headers.forwarded) {
            (_, None, None) => peer,
            (ForwardedHeader::XForwardedFor, Some(value), _) => self.nearest(peer, x_forwarded_for(value)),
            (ForwardedHeader::Forwarded, _, Some(value)) => self.nearest(peer, forwarded(value)),
            // The proxy speaks of clients in a way that nobody told this server.
            _ => self.unreadable(),
        }
    }

    /// The first hop that is no trusted proxy; the last hop when all are.
    fn nearest(&self, peer: IpAddr, hops: impl Iterator<Item = Result<IpAddr, Unreadable>>) -> IpAddr {
        let mut client = peer;
        for hop in hops {
            match hop {
                Ok(address) if self.is_trusted(address) => client = address,
                Ok(address) if can_be_remote(address) => return address,
                Ok(_) | Err(Unreadable) => return self.unreadable(),
            }
        }
        client
    }

    /// Whether connections from this peer begin with a PROXY header.
    #[must_use]
    pub fn sends_proxy_header(&self, peer: IpAddr) -> bool {
        self.rules.proxy_protocol && self.is_trusted(peer.to_canonical())
    }

    /// The other end of a connection whose PROXY header names this source.
    pub fn proxied(&self, peer: SocketAddr, source: ProxySource) -> SocketAddr {
        match source {
            ProxySource::Proxy => peer,
            ProxySource::Client(client) if self.is_trusted(client.ip()) || can_be_remote(client.ip()) => client,
            ProxySource::Client(_) | ProxySource::Unknown => SocketAddr::new(self.unreadable(), 0),
        }
    }

    /// Logged once: a proxy that is set up differently sends the same with every request.
    fn unreadable(&self) -> IpAddr {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a trusted proxy names a client's address in a way that cannot be read; such clients share the limits of \
                 one address. See limits.forwarded_header and limits.proxy_protocol"
            );
        }
        UNREADABLE
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        address != UNREADABLE && self.rules.trusted.iter().any(|net| net.contains(&address))
    }

    /// Whether no limit per address holds.
    #[must_use]
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.is_trusted(address)
    }
}

/// Loopback, as a proxy names it, would be exempt from every limit.
fn can_be_remote(address: IpAddr) -> bool {
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn addresses(header: ForwardedHeader) -> Addresses {
        Addresses::new(AddressRules {
            connections_max: 2,
            handshakes_per_s: 2,
            requests: Rate::per_s(2),
            trusted: vec!["10.0.0.0/8".parse().expect("a network")],
            header,
            proxy_protocol: true,
        })
    }

    #[test]
    fn an_address_has_its_limits_and_loopback_and_proxies_have_none() {
        let addresses = addresses(ForwardedHeader::XForwardedFor);
        let held: Vec<_> = (0..2).map(|_| addresses.connect(ip("192.0.2.1")).expect("a permit")).collect();
        assert!(addresses.connect(ip("192.0.2.1")).is_err());
        drop(held);
        assert!(addresses.connect(ip("192.0.2.1")).is_ok());
        for exempt in ["127.0.0.1", "::1", "10.1.2.3", "::ffff:127.0.0.1"] {
            assert!((0..9).all(|_| matches!(addresses.connect(ip(exempt)), Ok(None))), "{exempt}");
            assert!((0..9).all(|_| addresses.count_request(ip(exempt), 0).is_ok()), "{exempt}");
        }
        let request = |now_ms| addresses.count_request(ip("192.0.2.1"), now_ms);
        assert_eq!([request(0), request(0), request(0), request(500)], [Ok(()), Ok(()), Err(500), Ok(())]);
    }

    #[test]
    fn handshakes_are_counted_per_second() {
        let addresses = addresses(ForwardedHeader::XForwardedFor);
        let allowed = |now_ms| addresses.count_handshake(ip("192.0.2.1"), now_ms).is_ok();
        assert_eq!([allowed(1_000), allowed(1_500), allowed(1_999), allowed(2_000)], [true, true, false, true]);
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let addresses = addresses(ForwardedHeader::XForwardedFor);
        let client = |peer, x_forwarded_for| {
            addresses.client(ip(peer), ForwardedHeaders { x_forwarded_for, ..ForwardedHeaders::default() })
        };
        assert_eq!(client("192.0.2.1", Some("198.51.100.9")), ip("192.0.2.1"));
        assert_eq!(client("10.0.0.1", Some("203.0.113.5, 198.51.100.9, 10.0.0.2")), ip("198.51.100.9"));
        assert_eq!(client("10.0.0.1", Some("203.0.113.5, 198.51.100.9:51234")), ip("198.51.100.9"));
        assert_eq!(client("10.0.0.1", Some("10.0.0.2")), ip("10.0.0.2"), "a proxy's own request");
        assert_eq!(client("10.0.0.1", None), ip("10.0.0.1"));
    }

    #[test]
    fn what_cannot_be_read_is_one_limited_address() {
        let by = |header, x_forwarded_for, forwarded| {
            let addresses = addresses(header);
            let client = addresses.client(ip("10.0.0.1"), ForwardedHeaders { x_forwarded_for, forwarded });
            assert!(!addresses.is_exempt(client), "{client}");
            client
        };
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for header in ["nonsense", "", "unknown", "203.0.113.5, unknown", "203.0.113.5,", "127.0.0.1", "::1", "0.0.0.0"]
        {
            assert_eq!(by(XForwardedFor, Some(header), None), UNREADABLE, "{header}");
        }
        assert_eq!(by(Forwarded, None, Some("for=unknown")), UNREADABLE);
        assert_eq!(by(Forwarded, None, Some("for=203.0.113.5")), ip("203.0.113.5"));
        // The header that the proxies do not set is the client's own.
        assert_eq!(by(XForwardedFor, Some("203.0.113.5"), Some("for=192.0.2.1")), ip("203.0.113.5"));
        assert_eq!(by(Forwarded, Some("192.0.2.1"), Some("for=203.0.113.5")), ip("203.0.113.5"));
        assert_eq!(by(Forwarded, Some("192.0.2.1"), None), UNREADABLE);
    }

    #[test]
    fn the_source_of_a_proxy_header_is_the_other_end() {
        let addresses = addresses(ForwardedHeader::XForwardedFor);
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address and port");
        let proxied = |source| addresses.proxied(at("10.0.0.1:5000"), source);
        assert!(addresses.sends_proxy_header(ip("10.0.0.1")) && !addresses.sends_proxy_header(ip("192.0.2.1")));
        assert_eq!(proxied(ProxySource::Client(at("192.0.2.1:99"))), at("192.0.2.1:99"));
        assert_eq!(proxied(ProxySource::Proxy), at("10.0.0.1:5000"));
        assert_eq!(proxied(ProxySource::Unknown).ip(), UNREADABLE);
        assert_eq!(proxied(ProxySource::Client(at("127.0.0.1:99"))).ip(), UNREADABLE);
    }
}

//! What one network address may cost us: open connections and handshakes a second.
//!
//! Shared by all shards, asked once or twice per connection. Loopback and trusted proxies do not count; what a
//! trusted proxy says in `X-Forwarded-For` counts instead. Bounded: connections by the process's sockets,
//! handshakes by those of one second.

use std::net::IpAddr;

use ahash::HashMap;
use ipnet::IpNet;
use parking_lot::Mutex;
use state::{Connections, Permit, connections::network};

use crate::GatewaySettings;

/// The address holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections from this address")]
pub(crate) struct TooMany;

pub(crate) struct Addresses {
    connections: Connections,
    connections_max: u32,
    handshakes: Mutex<Handshakes>,
    handshakes_max: u32,
    trusted: Vec<IpNet>,
}

#[derive(Default)]
struct Handshakes {
    second: i64,
    counts: HashMap<IpAddr, u32>,
}

impl Addresses {
    pub fn new(settings: &GatewaySettings) -> Self {
        Self {
            connections: Connections::default(),
            connections_max: settings.connections_per_address,
            handshakes: Mutex::default(),
            handshakes_max: settings.handshakes_per_address_per_s,
            trusted: settings.trusted_proxies.clone(),
        }
    }

    /// Counts a connection; `None` for an address that does not count.
    pub fn connect(&self, address: IpAddr) -> Result<Option<Permit>, TooMany> {
        if self.is_exempt(address) {
            return Ok(None);
        }
        self.connections.acquire(address, self.connections_max).map(Some).ok_or(TooMany)
    }

    /// Counts a handshake in the second of `now_ms`.
    pub fn shake(&self, address: IpAddr, now_ms: i64) -> Result<(), TooMany> {
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
        if *count > self.handshakes_max { Err(TooMany) } else { Ok(()) }
    }

    /// Whom a request comes from: the peer, or, when a trusted proxy says so, the last address in
    /// `X-Forwarded-For` that is not itself a trusted proxy.
    pub fn client(&self, peer: IpAddr, forwarded_for: Option<&str>) -> IpAddr {
        let mut client = peer.to_canonical();
        for hop in forwarded_for.unwrap_or_default().rsplit(',') {
            if !self.is_trusted(client) {
                break;
            }
            match hop.trim().parse::<IpAddr>() {
                Ok(address) => client = address.to_canonical(),
                Err(_) => break,
            }
        }
        client
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.is_trusted(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn addresses() -> Addresses {
        let trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        let limits =
            GatewaySettings { connections_per_address: 2, handshakes_per_address_per_s: 2, ..Default::default() };
        Addresses::new(&GatewaySettings { trusted_proxies, ..limits })
    }

    #[test]
    fn an_address_has_its_limits_and_loopback_and_proxies_have_none() {
        let addresses = addresses();
        let held: Vec<_> = (0..2).map(|_| addresses.connect(ip("192.0.2.1")).expect("a place")).collect();
        assert!(addresses.connect(ip("192.0.2.1")).is_err());
        drop(held);
        assert!(addresses.connect(ip("192.0.2.1")).is_ok());
        for exempt in ["127.0.0.1", "::1", "10.1.2.3", "::ffff:127.0.0.1"] {
            assert!((0..9).all(|_| matches!(addresses.connect(ip(exempt)), Ok(None))), "{exempt}");
        }
    }

    #[test]
    fn handshakes_are_counted_per_second() {
        let addresses = addresses();
        let shake = |now_ms| addresses.shake(ip("192.0.2.1"), now_ms).is_ok();
        assert_eq!([shake(1_000), shake(1_500), shake(1_999), shake(2_000)], [true, true, false, true]);
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let addresses = addresses();
        let client = |peer, forwarded| addresses.client(ip(peer), forwarded);
        assert_eq!(client("192.0.2.1", Some("198.51.100.9")), ip("192.0.2.1"));
        assert_eq!(client("10.0.0.1", Some("203.0.113.5, 198.51.100.9, 10.0.0.2")), ip("198.51.100.9"));
        assert_eq!(client("10.0.0.1", Some("nonsense")), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", None), ip("10.0.0.1"));
    }
}

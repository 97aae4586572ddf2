//! How many connections each network address holds, in this process.
//!
//! Used by the edges when they accept a socket. The caller decides whether an address counts (loopback, trusted proxies do
//! not). Holds one entry per network with an open connection, so the process's sockets bound it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;

/// Counts of open connections. Clones share one count.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One counted connection. Dropping it uncounts it.
#[derive(Debug)]
pub struct Permit {
    connections: Connections,
    network: IpAddr,
}

impl Connections {
    /// Counts one more connection from `addr`; `None` when its [`network`] holds `max` already.
    #[must_use]
    pub fn acquire(&self, addr: IpAddr, max: u32) -> Option<Permit> {
        let network = network(addr);
        let mut counts = self.0.lock();
        let held = counts.get(&network).copied().unwrap_or(0);
        if held >= max {
            return None;
        }
        counts.insert(network, held + 1);
        Some(Permit { connections: self.clone(), network })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.connections.0.lock();
        match counts.get_mut(&self.network) {
            Some(held) if *held > 1 => *held -= 1,
            _ => drop(counts.remove(&self.network)),
        }
    }
}

/// What counts as one address: an IPv4 address (also when mapped into IPv6), or the /64 that an IPv6
/// subscriber is given and may walk through at will (RFC 6177).
#[must_use]
pub fn network(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_dropped_permit_uncounts_and_leaves_nothing() {
        let connections = Connections::default();
        let held: Vec<Permit> = (0..3).filter_map(|_| connections.acquire(ip("192.0.2.1"), 3)).collect();
        assert_eq!(held.len(), 3);
        assert!(connections.acquire(ip("192.0.2.1"), 3).is_none());
        assert!(connections.acquire(ip("192.0.2.2"), 3).is_some());
        drop(held);
        assert!(connections.0.lock().is_empty());
        assert!(connections.acquire(ip("192.0.2.1"), 1).is_some());
    }

    #[test]
    fn one_subscriber_is_one_address() {
        assert_eq!(network(ip("2001:db8:1:2::1")), network(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(network(ip("2001:db8:1:2::1")), network(ip("2001:db8:1:3::1")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn threads_never_hold_more_than_the_maximum() {
        let connections = Connections::default();
        let taken = std::sync::Barrier::new(8);
        let most = std::thread::scope(|scope| {
            let take = || {
                let permits: Vec<_> = (0..10).filter_map(|_| connections.acquire(ip("192.0.2.1"), 50)).collect();
                taken.wait();
                permits.len()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(most, 50);
        assert!(connections.0.lock().is_empty());
    }
}

//! A network of its own for one node, whose way to the servers can be cut.
//!
//! A network namespace (`ip-netns(8)`) with two pairs of virtual interfaces: over one the node reaches Redis and MySQL,
//! over the other its viewers reach the node. Cutting the first is what a partition looks like: packets go nowhere, and
//! nobody is told.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Options;

/// Where the addresses begin. Each network takes eight: four for each of its links, of which two are used.
const FIRST: u32 = u32::from_be_bytes([10, 200, 0, 0]);
const NETWORKS: u32 = 65_536;

/// The network; dropping it takes it away.
pub struct NetworkNamespace {
    name: String,
    addresses: u32,
    forwards: Vec<JoinHandle<()>>,
}

impl NetworkNamespace {
    /// Makes one. `None`, and a line that says so, when this user may not.
    ///
    /// # Panics
    /// When it can only be half made.
    #[must_use]
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bt{}x{number}", std::process::id());
        if !ip(&format!("netns add {name}")) {
            eprintln!("SKIPPED: this user may not make a network namespace");
            return None;
        }
        let addresses = FIRST + (std::process::id().wrapping_mul(8).wrapping_add(number) % NETWORKS) * 8;
        let apart = Self { name, addresses, forwards: Vec::new() };
        apart.link("s", 0);
        apart.link("v", 4);
        Some(apart)
    }

    /// Two interfaces that are one wire: ours, and the node's, with the next two addresses.
    fn link(&self, kind: &str, first: u32) {
        let (name, ours, its) = (&self.name, self.address(first + 1), self.address(first + 2));
        for step in [
            format!("link add {name}{kind} type veth peer name {kind} netns {name}"),
            format!("addr add {ours}/30 dev {name}{kind}"),
            format!("link set {name}{kind} up"),
            format!("-n {name} addr add {its}/30 dev {kind}"),
            format!("-n {name} link set {kind} up"),
        ] {
            assert!(ip(&step), "ip {step}");
        }
    }

    fn address(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.addresses + number)
    }

    /// The node, in this network.
    #[must_use]
    pub fn holds(&self, node: Options) -> Options {
        node.behind(&["ip", "netns", "exec", &self.name]).listen(&format!("{}:0", self.address(6)))
    }

    /// The address of a server on this machine's loopback as the node has to call it.
    ///
    /// # Panics
    /// When it is not there.
    pub async fn reaches(&mut self, address: &str) -> String {
        let from = address.find("127.0.0.1:").expect("a server on loopback");
        let host = address[from..].split('/').next().expect("something").to_owned();
        let listener = TcpListener::bind((self.address(1), 0)).await.expect("an address of ours");
        let here = listener.local_addr().expect("it is bound").to_string();
        let reached = address.replace(&host, &here);
        self.forwards.push(tokio::spawn(forward(listener, host)));
        reached
    }

    /// Cuts the way to the servers.
    ///
    /// # Panics
    /// When that does not work.
    pub fn cut(&self) {
        assert!(ip(&format!("link set {}s down", self.name)), "the link goes down");
    }

    /// Joins it again.
    ///
    /// # Panics
    /// When that does not work.
    pub fn heal(&self) {
        assert!(ip(&format!("link set {}s up", self.name)), "the link comes up");
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        self.forwards.iter().for_each(JoinHandle::abort);
        // An interface takes its other end along.
        for step in ["s", "v"].map(|kind| format!("link del {}{kind}", self.name)) {
            ip(&step);
        }
        ip(&format!("netns del {}", self.name));
    }
}

async fn forward(listener: TcpListener, to: String) {
    while let Ok((mut from, _)) = listener.accept().await {
        let to = to.clone();
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(to).await {
                // However it ends, both ends are closed.
                let _ = copy_bidirectional(&mut from, &mut server).await;
            }
        });
    }
}

/// Whether `ip` did it.
fn ip(step: &str) -> bool {
    Command::new("ip").args(step.split(' ')).output().is_ok_and(|done| done.status.success())
}

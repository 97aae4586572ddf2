//! Drives the real binary in tests: starts servers on their own data, and speaks to them as viewers do.
//!
//! Used by end-to-end tests alone. Knows the public contract and nothing of what is behind it. Whatever goes
//! wrong here panics, with what was heard until then: a test that cannot go on has failed.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)] // See above.

mod cluster;
pub mod comments;
mod device;
mod disk;
mod faketime;
mod http;
mod keys;
mod load_user;
mod network_namespace;
mod own;
mod recordings;
mod server;
mod services;
mod stream;
mod tls;
mod viewer;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use cluster::Cluster;
pub use device::Device;
pub use disk::SmallDisk;
pub use faketime::WrongClock;
pub use http::{Http, Reply};
pub use keys::{Signer, now_s, token};
pub use load_user::LoadUser;
pub use network_namespace::NetworkNamespace;
pub use own::OwnServer;
pub use recordings::xml;
pub use server::{ADMIN_KEY, Ended, Options, SECRET, Server};
pub use services::{Killed, kill_a_redis_master, kill_kafka_brokers, service};
pub use stream::{Events, StreamEvent};
pub use tls::{Authority, Certificate, TlsClient, TlsStream};
pub use viewer::{Refused, Viewer};

/// Longer than anything takes that works, also on a small machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is heard waits until the test asks for it. Beyond this nothing is read, which the server sees as a slow reader.
const HEARD_MAX: usize = 100_000;

/// Asks again until there is an answer. For what no message tells; everything else is waited for.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask).await
}

/// The same for what takes its time.
pub async fn within<T>(patience: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

//! The cluster: which nodes live, which number each holds, and which of them hold a room.
//!
//! [`membership`] renews this node's lease and lists the others. [`node_id`] is the number that fences the Snowflake
//! generator. [`directory`] says where a worker's batches have to go. [`redis`] and [`etcd`] are backends of these ports;
//! neither imports the other. The server opens them; the fan-out and the hub read them. [`tls`] is how nodes know each other.
//! The crate places no room and elects nobody: Kafka's groups and leases do that.

pub mod directory;
pub mod etcd;
pub mod membership;
pub mod node_id;
mod proto;
pub mod redis;
pub mod tls;

pub use directory::Viewers;
pub use node_id::{Lease, NodeNumber};

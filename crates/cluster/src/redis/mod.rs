//! Membership and the directory of rooms on Redis.
//!
//! [`redis_client::Redis`] is a [`crate::membership::NodeRegistry`].

mod directory;
mod membership;

pub use directory::{NODES_AGE, RedisDirectory};

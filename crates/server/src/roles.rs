//! The roles of a process: what each starts, one file a role, and which of them a shape of deployment allows.
//!
//! Every process has the rules, the hub and chat; a role decides what of it serves others. [`crate::server`] calls these
//! files in order. None of them names a backend.

pub mod api;
pub mod chat;
pub mod doors;
pub mod erasure;
pub mod gateway;
pub mod ingest;
pub mod persist;
pub mod worker;

use std::fmt;

use model::{Role, Roles};

use crate::config::Config;

/// How many machines a deployment has, and what its log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One process.
    Alone,
    /// Several nodes that share Redis and the store; each has a log of its own.
    Redis,
    /// Several nodes with one log, on Kafka.
    Kafka,
}

/// Roles that a process cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongRoles {
    /// One process has to do everything.
    #[error(
        "alone, one process does everything: leave the roles out, or name all of them \
         (several nodes need at least Redis)"
    )]
    NotAll,
    /// What shares the log within the process is torn apart.
    #[error("without Kafka the log is inside the process: ingest, worker and persist go together, all three or none")]
    LogTorn,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "alone",
            Self::Redis => "one of several nodes, over Redis",
            Self::Kafka => "one of several nodes, over Kafka",
        })
    }
}

impl Shape {
    /// The shape that is configured.
    pub fn of(config: &Config) -> Self {
        match (config.redis.url.is_empty(), config.kafka.brokers.is_empty()) {
            (true, _) => Self::Alone,
            (false, true) => Self::Redis,
            (false, false) => Self::Kafka,
        }
    }

    /// Whether a process with these roles has what they need.
    ///
    /// # Errors
    /// [`WrongRoles`] says what is missing.
    pub fn allows(self, roles: Roles) -> Result<(), WrongRoles> {
        let of_the_log = [Role::Ingest, Role::Worker, Role::Persist].map(|role| roles.has(role));
        match self {
            Self::Alone if roles != Roles::ALL => Err(WrongRoles::NotAll),
            Self::Redis if of_the_log.contains(&true) && of_the_log.contains(&false) => Err(WrongRoles::LogTorn),
            Self::Alone | Self::Redis | Self::Kafka => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_says_what_it_cannot_do() {
        let allowed = |shape: Shape, roles: &str| shape.allows(roles.parse().expect("roles"));
        for shape in [Shape::Alone, Shape::Redis, Shape::Kafka] {
            assert_eq!(shape.allows(Roles::ALL), Ok(()));
        }
        assert_eq!(allowed(Shape::Alone, "gateway,ingest,worker,persist"), Err(WrongRoles::NotAll));
        assert_eq!(allowed(Shape::Redis, "gateway,api"), Ok(()));
        assert_eq!(allowed(Shape::Redis, "ingest,worker,persist"), Ok(()));
        assert_eq!(allowed(Shape::Redis, "gateway,ingest"), Err(WrongRoles::LogTorn));
        for role in Role::ALL {
            assert_eq!(allowed(Shape::Kafka, role.as_str()), Ok(()), "one role is enough");
        }
    }
}

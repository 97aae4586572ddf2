//! The roles a process may have; all of them unless `--roles` names some.

use std::fmt;
use std::str::FromStr;

/// A part of the server that a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds sockets.
    Gateway,
    /// Decides about comments.
    Ingest,
    /// Moves rooms' records from the log to the gateways.
    Worker,
    /// Writes the log to the store.
    Persist,
    /// Serves HTTP.
    Api,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Gateway, Self::Ingest, Self::Worker, Self::Persist, Self::Api];

    /// The name, on the command line and among nodes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Ingest => "ingest",
            Self::Worker => "worker",
            Self::Persist => "persist",
            Self::Api => "api",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A name that is no role's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {0:?}: expected gateway, ingest, worker, persist or api")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == name);
        found.ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Roles(u8);

impl Roles {
    /// All of them.
    pub const ALL: Self = Self((1 << Role::ALL.len()) - 1);

    /// Whether this is one of them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether the process may have viewers: sockets of the gateway, or polls and event streams of the API.
    #[must_use]
    pub const fn has_viewers(self) -> bool {
        self.has(Role::Gateway) || self.has(Role::Api)
    }

    /// The roles that are not in this set.
    #[must_use]
    pub const fn others(self) -> Self {
        Self(Self::ALL.0 & !self.0)
    }

    /// The roles, in their order.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

/// A list as on the command line: `gateway,api`.
impl FromStr for Roles {
    type Err = UnknownRole;

    fn from_str(list: &str) -> Result<Self, UnknownRole> {
        list.split(',').map(|name| name.trim().parse::<Role>()).collect()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::as_str).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_its_roles() {
        let roles: Roles = "api, gateway".parse().expect("two roles");
        assert_eq!(roles.to_string(), "gateway,api");
        assert!(roles.has(Role::Api) && !roles.has(Role::Ingest));
        assert_eq!(roles.others().to_string(), "ingest,worker,persist");
        assert_eq!(Roles::ALL.to_string().parse(), Ok(Roles::ALL));
        for wrong in ["", "king", "gateway,", "gateway,king"] {
            assert!(wrong.parse::<Roles>().is_err(), "{wrong:?}");
        }
    }
}

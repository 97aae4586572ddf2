//! Where Redis is, as an operator writes it down.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisResult};

use crate::{ANSWER_TIMEOUT, Connection};

/// How long one node of a Cluster may take to accept a connection.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Where Redis is:
///
/// - `redis://[user:password@]host:port[/db]` one server;
/// - `redis+sentinel://[user:password@]host:port,host:port,…/master-name` the master that these sentinels
///   name, with the credentials of the servers;
/// - `redis+cluster://[user:password@]host:port,host:port,…` a Cluster, by some of its nodes.
///
/// Printing one leaves the credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    kind: Kind,
    credentials: Option<(String, String)>,
    hosts: Vec<String>,
    /// The database of a single server, the master's name of Sentinel.
    path: String,
    pub(crate) answer_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

/// Not an address of Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected redis://host:port, redis+sentinel://host:port,host:port/master-name or redis+cluster://host:port,host:port: {0}"
)]
pub struct BadAddress(String);

/// Hears what Redis sends unasked.
pub(crate) type Push = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Where connections come from.
pub(crate) enum Source {
    Single(Client),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |why: &str| BadAddress(why.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
        let kind = match scheme {
            "redis" => Kind::Single,
            "redis+sentinel" => Kind::Sentinel,
            "redis+cluster" => Kind::Cluster,
            _ => return Err(bad("unknown scheme")),
        };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(split(credentials, ':')), rest),
            None => (None, rest),
        };
        let (hosts, path) = split(rest, '/');
        let hosts: Vec<_> = hosts.split(',').map(str::to_owned).collect();
        let address = Self { kind, credentials, hosts, path, answer_timeout: ANSWER_TIMEOUT };
        address.check().map_err(bad)?;
        address.source().map(|_| address)
    }
}

/// Both sides of the first `mark`; the second is empty when there is none.
fn split(text: &str, mark: char) -> (String, String) {
    let (left, right) = text.split_once(mark).unwrap_or((text, ""));
    (left.to_owned(), right.to_owned())
}

impl Address {
    /// The same, whose answers are waited for so long rather than [`ANSWER_TIMEOUT`]: for whoever has nothing else to go by.
    #[must_use]
    pub fn patient(self, answer_timeout: Duration) -> Self {
        Self { answer_timeout, ..self }
    }

    fn check(&self) -> Result<(), &'static str> {
        let has_port = |host: &String| {
            host.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !self.hosts.iter().all(has_port) {
            return Err("every server is host:port");
        }
        match self.kind {
            Kind::Single if self.hosts.len() != 1 => Err("one server"),
            Kind::Sentinel if self.path.is_empty() => Err("the master's name is missing"),
            Kind::Cluster if !self.path.is_empty() => Err("a cluster has no databases"),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }

    /// What makes connections; nothing is connected yet.
    pub(crate) fn source(&self) -> Result<Source, BadAddress> {
        self.source_with(self.login(), None)
    }

    /// What makes connections over which Redis may also send unasked: RESP3.
    pub(crate) fn pushing(&self, push: &Push) -> Result<Source, BadAddress> {
        self.source_with(self.login().set_protocol(ProtocolVersion::RESP3), Some(push))
    }

    fn source_with(&self, login: RedisConnectionInfo, push: Option<&Push>) -> Result<Source, BadAddress> {
        let bad = |error: redis::RedisError| BadAddress(error.to_string());
        let nodes = self.hosts.iter().map(|host| format!("redis://{host}"));
        Ok(match self.kind {
            Kind::Single => Source::Single(self.single(login).map_err(bad)?),
            Kind::Sentinel => {
                let servers =
                    SentinelNodeConnectionInfo::default().set_redis_connection_info(login).set_tcp_settings(at_once());
                let (nodes, name) = (nodes.collect(), self.path.clone());
                let client = SentinelClient::build(nodes, name, Some(servers), SentinelServerType::Master);
                Source::Sentinel(Box::new(client.map_err(bad)?))
            }
            Kind::Cluster => Source::Cluster(Box::new(self.cluster(nodes, push).build().map_err(bad)?)),
        })
    }

    fn single(&self, login: RedisConnectionInfo) -> RedisResult<Client> {
        use redis::IntoConnectionInfo;
        let host = self.hosts.first().map_or("", String::as_str);
        let info = format!("redis://{host}/{}", self.path).into_connection_info()?;
        let login = login.set_db(info.redis_settings().db());
        Client::open(info.set_redis_settings(login).set_tcp_settings(at_once()))
    }

    /// The library repeats what a Cluster redirects; a lost node is given up soon, since the caller waits no longer.
    fn cluster(&self, nodes: impl Iterator<Item = String>, push: Option<&Push>) -> ClusterClientBuilder {
        let mut builder = ClusterClientBuilder::new(nodes)
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(50)
            .connection_timeout(NODE_CONNECT_TIMEOUT.max(self.answer_timeout))
            .response_timeout(self.answer_timeout)
            .tcp_settings(at_once());
        if let Some(push) = push.cloned() {
            builder = builder.use_protocol(ProtocolVersion::RESP3).push_sender(sender(push));
        }
        match &self.credentials {
            Some((user, password)) if user.is_empty() => builder.password(password),
            Some((user, password)) => builder.username(user).password(password),
            None => builder,
        }
    }

    fn login(&self) -> RedisConnectionInfo {
        match &self.credentials {
            Some((user, password)) if user.is_empty() => RedisConnectionInfo::default().set_password(password),
            Some((user, password)) => RedisConnectionInfo::default().set_username(user).set_password(password),
            None => RedisConnectionInfo::default(),
        }
    }
}

/// A question does not wait for the answer to the one before it (Nagle's algorithm, RFC 896).
fn at_once() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// As the client library wants it.
fn sender(push: Push) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
    move |info| {
        push(info);
        Ok(())
    }
}

impl Source {
    /// Connects; a Cluster's pushes are part of its source.
    pub(crate) async fn connect(
        &mut self,
        patience: Duration,
        answer_timeout: Duration,
        push: Option<&Push>,
    ) -> RedisResult<Connection> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(answer_timeout));
        if let Some(push) = push.cloned().filter(|_| !matches!(self, Self::Cluster(_))) {
            config = config.set_push_sender(sender(push));
        }
        Ok(match self {
            Self::Single(client) => {
                Connection::Node(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Self::Sentinel(client) => Connection::Node(client.get_async_connection_with_config(&config).await?),
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Single => "redis",
            Kind::Sentinel => "redis+sentinel",
            Kind::Cluster => "redis+cluster",
        };
        write!(f, "{scheme}://{}", self.hosts.join(","))?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read_and_printed_without_secrets() {
        for (text, printed) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("redis://ann:s3cret@h:1/2", "redis://h:1/2"),
            ("redis+sentinel://:s3cret@a:1,b:2/main", "redis+sentinel://a:1,b:2/main"),
            ("redis+cluster://a:1,b:2,c:3", "redis+cluster://a:1,b:2,c:3"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), printed);
            assert!(!format!("{address:?}").contains("s3cret"));
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused() {
        for text in [
            "localhost:6379",
            "http://h:1",
            "redis://h",
            "redis://a:1,b:2",
            "redis://h:1/one",
            "redis+sentinel://a:1,b:2",
            "redis+cluster://a:1/2",
            "redis+cluster://a:1,:2",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}

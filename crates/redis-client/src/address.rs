//! Where Redis is, as an operator writes it down.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisResult,
    TlsCertificates, TlsMode,
};

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
/// With `rediss` in the place of `redis` each connection is TLS, those to sentinels and to servers that are told of later
/// too. A server's certificate is for the name, or the IP address, that it is connected by, and is vouched for by an
/// authority that the system trusts, or by those of [`Address::trusting`].
///
/// Printing one leaves the credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    kind: Kind,
    tls: bool,
    /// Certificates of authorities in PEM.
    trusted: Option<Arc<[u8]>>,
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
    "expected redis://host:port, redis+sentinel://host:port,host:port/master-name or redis+cluster://host:port,host:port, or rediss for TLS: {0}"
)]
pub struct BadAddress(String);

/// Hears what Redis sends unasked.
pub(crate) type Push = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Where connections come from.
pub(crate) enum Source {
    Single(Box<Client>),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |why: &str| BadAddress(why.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
        let (kind, tls) = match scheme {
            "redis" => (Kind::Single, false),
            "rediss" => (Kind::Single, true),
            "redis+sentinel" => (Kind::Sentinel, false),
            "rediss+sentinel" => (Kind::Sentinel, true),
            "redis+cluster" => (Kind::Cluster, false),
            "rediss+cluster" => (Kind::Cluster, true),
            _ => return Err(bad("unknown scheme")),
        };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(split(credentials, ':')), rest),
            None => (None, rest),
        };
        let (hosts, path) = split(rest, '/');
        let hosts: Vec<_> = hosts.split(',').map(str::to_owned).collect();
        let address = Self { kind, tls, trusted: None, credentials, hosts, path, answer_timeout: ANSWER_TIMEOUT };
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

    /// The same, whose servers are believed when one of these authorities vouches for them (certificates in PEM), and not
    /// when only one that the system trusts does.
    ///
    /// # Errors
    /// [`BadAddress`] when there is no TLS, or that is no PEM.
    pub fn trusting(self, authorities_pem: Vec<u8>) -> Result<Self, BadAddress> {
        if !self.tls {
            return Err(BadAddress("without TLS there are no certificates".into()));
        }
        let address = Self { trusted: Some(authorities_pem.into()), ..self };
        address.source().map(|_| address)
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
            // What the client library would read as a wish, such as not to look at certificates.
            Kind::Single if self.path.contains(['?', '#']) => Err("a database is a number"),
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
        self.source_with(None)
    }

    /// What makes connections over which Redis may also send unasked: RESP3.
    pub(crate) fn pushing(&self, push: &Push) -> Result<Source, BadAddress> {
        self.source_with(Some(push))
    }

    fn source_with(&self, push: Option<&Push>) -> Result<Source, BadAddress> {
        let protocol = if push.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
        let source = match self.kind {
            Kind::Single => self.single(protocol).map(|client| Source::Single(Box::new(client))),
            Kind::Sentinel => self.sentinel(protocol).map(|client| Source::Sentinel(Box::new(client))),
            Kind::Cluster => self.cluster(push).build().map(|client| Source::Cluster(Box::new(client))),
        };
        source.map_err(|error| BadAddress(error.to_string()))
    }

    fn urls(&self) -> impl Iterator<Item = String> {
        let scheme = if self.tls { "rediss" } else { "redis" };
        self.hosts.iter().map(move |host| format!("{scheme}://{host}"))
    }

    /// Whom the client library is to believe, if not those that the system trusts.
    fn certificates(&self) -> Option<TlsCertificates> {
        let trusted = self.trusted.as_ref()?;
        Some(TlsCertificates { client_tls: None, root_cert: Some(trusted.to_vec()) })
    }

    fn single(&self, protocol: ProtocolVersion) -> RedisResult<Client> {
        let url = self.urls().map(|url| format!("{url}/{}", self.path)).next().unwrap_or_default();
        let info = url.into_connection_info()?;
        let login = self.login().set_protocol(protocol).set_db(info.redis_settings().db());
        let info = info.set_redis_settings(login).set_tcp_settings(at_once());
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    /// The credentials are those of the servers; sentinels are asked without any.
    fn sentinel(&self, protocol: ProtocolVersion) -> RedisResult<SentinelClient> {
        let sentinels = self.urls().map(IntoConnectionInfo::into_connection_info);
        let sentinels = sentinels.map(|info| info.map(|info| info.addr().clone())).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = SentinelClientBuilder::new(sentinels, &self.path, SentinelServerType::Master)?
            .set_client_to_redis_tcp_settings(at_once())
            .set_client_to_redis_protocol(protocol);
        if self.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder.set_client_to_sentinel_certificates(certificates.clone());
            builder = builder.set_client_to_redis_certificates(certificates);
        }
        let builder = match &self.credentials {
            Some((user, password)) if user.is_empty() => builder.set_client_to_redis_password(password),
            Some((user, password)) => builder.set_client_to_redis_username(user).set_client_to_redis_password(password),
            None => builder,
        };
        builder.build()
    }

    /// The library repeats what a Cluster redirects; a lost node is given up soon, since the caller waits no longer.
    fn cluster(&self, push: Option<&Push>) -> ClusterClientBuilder {
        let mut builder = ClusterClientBuilder::new(self.urls())
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(50)
            .connection_timeout(NODE_CONNECT_TIMEOUT.max(self.answer_timeout))
            .response_timeout(self.answer_timeout)
            .tcp_settings(at_once());
        if let Some(push) = push.cloned() {
            builder = builder.use_protocol(ProtocolVersion::RESP3).push_sender(sender(push));
        }
        if let Some(certificates) = self.certificates() {
            builder = builder.certs(certificates);
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
        let secure = if self.tls { "s" } else { "" };
        let kind = match self.kind {
            Kind::Single => "",
            Kind::Sentinel => "+sentinel",
            Kind::Cluster => "+cluster",
        };
        write!(f, "redis{secure}{kind}://{}", self.hosts.join(","))?;
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
    fn each_form_is_read_and_printed_without_secrets() {
        for (text, printed) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("redis://ann:s3cret@h:1/2", "redis://h:1/2"),
            ("redis+sentinel://:s3cret@a:1,b:2/main", "redis+sentinel://a:1,b:2/main"),
            ("redis+cluster://a:1,b:2,c:3", "redis+cluster://a:1,b:2,c:3"),
            ("rediss://ann:s3cret@h:1", "rediss://h:1"),
            ("rediss+sentinel://a:1,b:2/main", "rediss+sentinel://a:1,b:2/main"),
            ("rediss+cluster://a:1", "rediss+cluster://a:1"),
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
            "rediss://h:1#insecure",
            "rediss://h:1/#insecure",
            "rediss://h:1/0#insecure",
            "rediss+cluster://a:1,b:2#insecure",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn authorities_are_for_tls_and_have_to_be_pem() {
        let trusting = |text: &str, pem: &str| text.parse::<Address>().expect(text).trusting(pem.into());
        let broken = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
        for text in ["rediss://h:1", "rediss+sentinel://a:1/main", "rediss+cluster://a:1"] {
            assert!(trusting(text, broken).is_err(), "{text}");
        }
        assert!(trusting("redis://h:1", "").is_err());
    }
}

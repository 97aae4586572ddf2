//! The address of Redis, as an operator writes it, and the connections that it leads to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisConnectionInfo,
    RedisResult, TlsCertificates, TlsMode,
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
/// With `rediss` instead of `redis` every connection uses TLS, also those to sentinels and to servers that Redis announces
/// later. A server's certificate has to be for the name or IP address of the connection. An authority that the system trusts,
/// or one of [`RedisAddress::trusting`], has to have signed it.
///
/// Its text form leaves the credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    kind: Kind,
    tls: bool,
    /// Certificates of authorities in PEM.
    trusted: Option<Arc<[u8]>>,
    /// The certificate that this side shows, and its key, in PEM.
    identity: Option<Arc<(Vec<u8>, Vec<u8>)>>,
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

/// The address is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected redis://host:port, redis+sentinel://host:port,host:port/master-name or redis+cluster://host:port,host:port, or rediss for TLS: {0}"
)]
pub struct InvalidRedisAddress(String);

/// Receives what Redis sends unsolicited.
pub(crate) type Push = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Makes connections.
pub(crate) enum Connector {
    Single(Box<Client>),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

impl FromStr for RedisAddress {
    type Err = InvalidRedisAddress;

    fn from_str(text: &str) -> Result<Self, InvalidRedisAddress> {
        let bad = |why: &str| InvalidRedisAddress(why.to_owned());
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
        let (trusted, identity, answer_timeout) = (None, None, ANSWER_TIMEOUT);
        let address = Self { kind, tls, trusted, identity, credentials, hosts, path, answer_timeout };
        address.check().map_err(bad)?;
        address.connector().map(|_| address)
    }
}

/// Both sides of the first `mark`; the second is empty when there is none.
fn split(text: &str, mark: char) -> (String, String) {
    let (left, right) = text.split_once(mark).unwrap_or((text, ""));
    (left.to_owned(), right.to_owned())
}

impl RedisAddress {
    /// The same, but calls wait this long for an answer rather than [`ANSWER_TIMEOUT`]: for callers without a fallback.
    #[must_use]
    pub fn patient(self, answer_timeout: Duration) -> Self {
        Self { answer_timeout, ..self }
    }

    /// The same, but only these authorities (certificates in PEM) verify the servers, not those that the system trusts.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when there is no TLS, or the text is not PEM.
    pub fn trusting(self, authorities_pem: Vec<u8>) -> Result<Self, InvalidRedisAddress> {
        if !self.tls {
            return Err(InvalidRedisAddress("without TLS there are no certificates".into()));
        }
        let address = Self { trusted: Some(authorities_pem.into()), ..self };
        address.connector().map(|_| address)
    }

    /// The same, but this certificate and its key (PEM) are shown to servers that ask for one.
    ///
    /// # Errors
    /// [`InvalidRedisAddress`] when there is no TLS, or the pair is of no use.
    pub fn showing(self, certificate_pem: Vec<u8>, key_pem: Vec<u8>) -> Result<Self, InvalidRedisAddress> {
        if !self.tls {
            return Err(InvalidRedisAddress("without TLS there are no certificates".into()));
        }
        let address = Self { identity: Some(Arc::new((certificate_pem, key_pem))), ..self };
        address.connector().map(|_| address)
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
            // The client library reads options there, such as one that skips verification of certificates.
            Kind::Single if self.path.contains(['?', '#']) => Err("a database is a number"),
            Kind::Sentinel if self.path.is_empty() => Err("the master's name is missing"),
            Kind::Cluster if !self.path.is_empty() => Err("a cluster has no databases"),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }

    /// Prepares connections; connects to nothing yet.
    pub(crate) fn connector(&self) -> Result<Connector, InvalidRedisAddress> {
        self.connector_with(None)
    }

    /// Prepares connections over which Redis can also send unsolicited: RESP3.
    pub(crate) fn pushing_connector(&self, push: &Push) -> Result<Connector, InvalidRedisAddress> {
        self.connector_with(Some(push))
    }

    fn connector_with(&self, push: Option<&Push>) -> Result<Connector, InvalidRedisAddress> {
        let protocol = if push.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
        let connector = match self.kind {
            Kind::Single => self.single(protocol).map(|client| Connector::Single(Box::new(client))),
            Kind::Sentinel => self.sentinel(protocol).map(|client| Connector::Sentinel(Box::new(client))),
            Kind::Cluster => self.cluster(push).build().map(|client| Connector::Cluster(Box::new(client))),
        };
        connector.map_err(|error| InvalidRedisAddress(error.to_string()))
    }

    fn urls(&self) -> impl Iterator<Item = String> {
        let scheme = if self.tls { "rediss" } else { "redis" };
        self.hosts.iter().map(move |host| format!("{scheme}://{host}"))
    }

    /// The authorities that verify servers, if not those that the system trusts, and what this side shows.
    fn certificates(&self) -> Option<TlsCertificates> {
        if self.trusted.is_none() && self.identity.is_none() {
            return None;
        }
        let client_tls = self
            .identity
            .as_deref()
            .map(|(certificate, key)| ClientTlsConfig { client_cert: certificate.clone(), client_key: key.clone() });
        Some(TlsCertificates { client_tls, root_cert: self.trusted.as_ref().map(|trusted| trusted.to_vec()) })
    }

    fn single(&self, protocol: ProtocolVersion) -> RedisResult<Client> {
        let url = self.urls().map(|url| format!("{url}/{}", self.path)).next().unwrap_or_default();
        let info = url.into_connection_info()?;
        let login = self.login().set_protocol(protocol).set_db(info.redis_settings().db());
        let info = info.set_redis_settings(login).set_tcp_settings(no_delay());
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    /// The credentials are for the servers; sentinels need none.
    fn sentinel(&self, protocol: ProtocolVersion) -> RedisResult<SentinelClient> {
        let sentinels = self.urls().map(IntoConnectionInfo::into_connection_info);
        let sentinels = sentinels.map(|info| info.map(|info| info.addr().clone())).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = SentinelClientBuilder::new(sentinels, &self.path, SentinelServerType::Master)?
            .set_client_to_redis_tcp_settings(no_delay())
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

    /// The library repeats calls that a Cluster redirects. It gives up a lost node soon, since the caller waits no longer.
    fn cluster(&self, push: Option<&Push>) -> ClusterClientBuilder {
        let mut builder = ClusterClientBuilder::new(self.urls())
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(50)
            .connection_timeout(NODE_CONNECT_TIMEOUT.max(self.answer_timeout))
            .response_timeout(self.answer_timeout)
            .tcp_settings(no_delay());
        if let Some(push) = push.cloned() {
            builder = builder.use_protocol(ProtocolVersion::RESP3).push_sender(push_sender(push));
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

/// Sends a command without waiting for the answer to the one before it (Nagle's algorithm, RFC 896).
fn no_delay() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Adapts a handler to the client library.
fn push_sender(push: Push) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
    move |info| {
        push(info);
        Ok(())
    }
}

impl Connector {
    /// Connects; a Cluster's connector already has its push handler.
    pub(crate) async fn connect(
        &mut self,
        within: Duration,
        answer_timeout: Duration,
        push: Option<&Push>,
    ) -> RedisResult<Connection> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(within))
            .set_response_timeout(Some(answer_timeout));
        if let Some(push) = push.cloned().filter(|_| !matches!(self, Self::Cluster(_))) {
            config = config.set_push_sender(push_sender(push));
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

impl fmt::Display for RedisAddress {
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

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
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
            let address: RedisAddress = text.parse().expect(text);
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
            assert!(text.parse::<RedisAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn authorities_are_for_tls_and_have_to_be_pem() {
        let trusting = |text: &str, pem: &str| text.parse::<RedisAddress>().expect(text).trusting(pem.into());
        let broken = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
        for text in ["rediss://h:1", "rediss+sentinel://a:1/main", "rediss+cluster://a:1"] {
            assert!(trusting(text, broken).is_err(), "{text}");
        }
        assert!(trusting("redis://h:1", "").is_err());
    }
}

//! Several nodes of one deployment, each a process of its own, over real servers.

use std::ops::{Index, IndexMut};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;

use crate::services::repository;
use crate::{Options, OwnServer, Server, now_s, service};

/// The nodes; dropping them kills them.
pub struct Cluster {
    /// Each with a data directory of its own.
    pub nodes: Vec<Server>,
    options: Options,
    /// The database that they have to themselves.
    pub mysql: String,
}

impl Cluster {
    /// Starts `nodes` of the Redis shape from `config/cluster-redis.toml`, over the shared Redis and MySQL, with a namespace
    /// and a database that no other test uses. `None` when those do not run.
    pub async fn redis(binary: impl Into<PathBuf>, nodes: usize) -> Option<Self> {
        let (redis, mysql) = (service("BARRAGE_TEST_REDIS")?, service("BARRAGE_TEST_MYSQL")?);
        Some(Self::start(binary, nodes, &redis, &mysql, "").await)
    }

    /// Starts nodes of the Kafka shape from `config/cluster-kafka.toml`, each with these roles, over the shared Kafka, Redis and
    /// MySQL, with a namespace and a database that no other test uses. `None` when those do not run.
    pub async fn kafka(binary: impl Into<PathBuf>, roles: &[&str]) -> Option<Self> {
        Self::kafka_with(binary, roles, &[]).await
    }

    /// The same with this in the environment.
    pub async fn kafka_with(binary: impl Into<PathBuf>, roles: &[&str], env: &[(&str, &str)]) -> Option<Self> {
        let (redis, mysql) = (service("BARRAGE_TEST_REDIS")?, service("BARRAGE_TEST_MYSQL")?);
        Self::kafka_over(&redis, &mysql, binary, roles, env).await
    }

    /// The same with these addresses of Redis and MySQL.
    pub async fn kafka_over(
        redis: &str,
        mysql: &str,
        binary: impl Into<PathBuf>,
        roles: &[&str],
        env: &[(&str, &str)],
    ) -> Option<Self> {
        let brokers = service("BARRAGE_TEST_KAFKA")?;
        let name = unique_name();
        let mysql = database(mysql, &name);
        let mut options = options(binary.into(), &name, redis, &mysql, &example("cluster-kafka.toml"))
            .env("BARRAGE__KAFKA__BROKERS", &brokers)
            // Few, because a broker that was killed looks at all of them when it comes back.
            .env("BARRAGE__KAFKA__PARTITIONS", "6");
        for (name, value) in env {
            options = options.env(name, value);
        }
        let mut cluster = Self { nodes: Vec::new(), options, mysql };
        for roles in roles {
            cluster.join_with(roles, &[]).await;
        }
        Some(cluster)
    }

    /// One more node, with these roles, and with this in its environment.
    pub async fn join_with(&mut self, roles: &str, env: &[(&str, &str)]) {
        let options = self.options.clone().roles(roles);
        let options = env.iter().fold(options, |options, (name, value)| options.env(name, value));
        self.nodes.push(options.start().await);
    }

    /// The same over a Redis that the test may kill.
    pub async fn redis_over(redis: &OwnServer, binary: impl Into<PathBuf>, nodes: usize) -> Option<Self> {
        let mysql = service("BARRAGE_TEST_MYSQL")?;
        Some(Self::start(binary, nodes, &redis.address(), &mysql, "").await)
    }

    /// The same over a MySQL that the test may kill.
    pub async fn mysql_over(mysql: &OwnServer, binary: impl Into<PathBuf>, nodes: usize) -> Option<Self> {
        let redis = service("BARRAGE_TEST_REDIS")?;
        Some(Self::start(binary, nodes, &redis, &mysql.address(), "").await)
    }

    /// The same over servers that speak TLS.
    pub async fn secure(redis: &OwnServer, mysql: &OwnServer, binary: impl Into<PathBuf>, nodes: usize) -> Self {
        let name = unique_name();
        let mysql = database(&mysql.address(), &name);
        let options = options(binary.into(), &name, &redis.address(), &mysql, &example("cluster-redis.toml"));
        let options = options.env("BARRAGE__REDIS__CA_FILE", &redis.authority_file().display().to_string());
        Self::of(options, mysql, nodes).await
    }

    /// The same with these addresses of Redis and MySQL, and with this appended to the configuration.
    pub async fn start(binary: impl Into<PathBuf>, nodes: usize, redis: &str, mysql: &str, config: &str) -> Self {
        let config = format!("{}\n{config}", example("cluster-redis.toml"));
        let name = unique_name();
        let mysql = database(mysql, &name);
        Self::of(options(binary.into(), &name, redis, &mysql, &config), mysql, nodes).await
    }

    async fn of(options: Options, mysql: String, nodes: usize) -> Self {
        let nodes = join_all((0..nodes).map(|_| options.clone().start())).await;
        Self { nodes, options, mysql }
    }

    /// One more node.
    pub async fn join(&mut self) -> &mut Server {
        self.join_as(|options| options).await
    }

    /// One more, which is started in another way.
    pub async fn join_as(&mut self, change: impl FnOnce(Options) -> Options) -> &mut Server {
        self.nodes.push(change(self.options.clone()).start().await);
        let last = self.nodes.len() - 1;
        &mut self.nodes[last]
    }
}

impl Index<usize> for Cluster {
    type Output = Server;

    fn index(&self, node: usize) -> &Server {
        &self.nodes[node]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, node: usize) -> &mut Server {
        &mut self.nodes[node]
    }
}

fn unique_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{}_{number}", std::process::id(), now_s())
}

fn options(binary: PathBuf, name: &str, redis: &str, mysql: &str, config: &str) -> Options {
    Options::new(binary)
        .config(config)
        .env("BARRAGE__SERVER__NAMESPACE", name)
        .env("BARRAGE__REDIS__URL", redis)
        .env("BARRAGE__STORE__URL", mysql)
}

fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("config").join(name)).expect("the example")
}

/// Makes a database beside the one that the address names.
fn database(mysql: &str, name: &str) -> String {
    let (place, wishes) = mysql.split_at(mysql.find('?').unwrap_or(mysql.len()));
    let (server, _) = place.rsplit_once('/').expect("mysql://user@host:port/database");
    let (_, host) = server.rsplit_once('@').expect("mysql://user@host:port/database");
    let (host, port) = host.split_once(':').expect("mysql://user@host:port/database");
    let tls: &[_] = if wishes.is_empty() { &[] } else { &["--ssl", "--skip-ssl-verify-server-cert"] };
    let made = Command::new("mariadb")
        .args(["--no-defaults", "--protocol=tcp", "-u", "root", "-h", host, "-P", port])
        .args(tls)
        .args(["-e", &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")])
        .output()
        .expect("mariadb's client is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("{server}/{name}{wishes}")
}

//! The backend of many nodes: MySQL 8, MariaDB 10.6 or newer, TiDB. Only what all three speak is used.
//!
//! A call is one transaction on a connection of the pool; the database's group commit syncs many of them at once. Comments are
//! written with multi-row inserts ([`comments`]), which is where the throughput comes from. A transaction that fails because of
//! others (a deadlock, a conflict) is retried a few times. Each noun has a file with its port and its SQL. The server opens the
//! store; callers see only the ports.
//!
//! When the connection breaks during a commit, nobody knows whether it was stored: the call fails. Every write may be
//! repeated (by id, by key), so a retry is safe.

mod archive;
mod batches;
mod chat;
mod circuit_breaker;
mod comments;
mod documents;
mod erasure;
mod events;
mod expire;
mod keys;
mod likes;
mod maintenance;
mod moderation;
mod notes;
mod partitions;
mod rooms;
mod row;
mod samples;
mod schema;
mod scores;
mod uploads;

use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use model::Metrics;
use model::metrics::count;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, Executor, MySqlPool};

use self::circuit_breaker::{ANSWER_TIMEOUT, CircuitBreaker};
use crate::{Result, StoreError};

/// Connections of one process at most; a call waits for one no longer than [`CONNECTION_WAIT`].
const CONNECTIONS_MAX: u32 = 16;
const CONNECTION_WAIT: Duration = Duration::from_secs(3);
/// A call that takes longer fails.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts at a transaction that fails because of others.
const TRIES_MAX: u32 = 5;
/// The database ends a connection that is silent for this long, and so releases the locks of a node that froze during a
/// transaction. The pool closes idle connections before that.
const SILENCE_MAX_S: u32 = 15;
/// The same during a transaction, where the database can tell (MariaDB): meanwhile the other nodes wait for the locks.
const TRANSACTION_SILENCE_MAX_S: u32 = 3;
const IDLE_MAX: Duration = Duration::from_secs(8);
/// More than there are, in all their sizes: none is ever closed ([`batches`]).
const STATEMENTS_MAX: usize = 1_024;

/// What names the authorities in an address.
const AUTHORITIES: &[&str] = &["ssl-ca", "sslca"];

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not `mysql://user:password@host:port/database`.
    #[error("expected mysql://user:password@host:port/database: {0}")]
    Url(sqlx::Error),
    /// It names an authority, but no mode that verifies the certificate.
    #[error("ssl-ca is only looked at with ssl-mode=VERIFY_IDENTITY or VERIFY_CA")]
    Unverified,
    /// It names a certificate without its key, or the other way round.
    #[error("ssl-cert and ssl-key go together")]
    HalfIdentity,
    /// A newer version of the program wrote it.
    #[error("the database has schema {found}, newer than the {known} this program knows; use a newer barrage")]
    Newer {
        /// The schema of the database.
        found: usize,
        /// The newest schema of this program.
        known: usize,
    },
    /// The database refused, or does not answer.
    #[error("cannot open the database: {0}")]
    Database(#[from] sqlx::Error),
}

/// A store in a MySQL database, shared by any number of nodes.
pub struct MySqlStore {
    pool: MySqlPool,
    breaker: Arc<CircuitBreaker>,
    /// This process's row of `high_water`.
    slot: i32,
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

/// A call that only reads: `read!(self, "operation", db => work)`.
macro_rules! read {
    ($store:expr, $operation:literal, $db:ident => $work:expr) => {
        $store
            .call($operation, async {
                let mut connection = $store.pool.acquire().await?;
                let $db = &mut *connection;
                $work.await
            })
            .await
    };
}

/// Several reads from one snapshot of the database: `snapshot!(self, "operation", db => work)`.
macro_rules! snapshot {
    ($store:expr, $operation:literal, $db:ident => $work:expr) => {
        $store
            .call($operation, async {
                let mut connection = $store.pool.acquire().await?;
                sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *connection).await?;
                // It ends by being dropped: there is nothing to commit.
                let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
                let $db = &mut *transaction;
                $work.await
            })
            .await
    };
}

/// A call in a transaction, retried while it fails because of others: `write!(self, "operation", db => work)`.
macro_rules! write {
    ($store:expr, $operation:literal, $db:ident => $work:expr) => {{
        let done = $store.call($operation, async {
            let mut tries = 1;
            loop {
                let mut transaction = $store.pool.begin().await?;
                let $db = &mut *transaction;
                let error = match $work.await {
                    Ok(value) => match transaction.commit().await {
                        Ok(()) => return Ok(value),
                        Err(error) => error,
                    },
                    Err(error) => {
                        transaction.rollback().await?;
                        error
                    }
                };
                if tries == $crate::mysql::TRIES_MAX || !$crate::mysql::is_contention(&error) {
                    return Err(error);
                }
                tries += 1;
            }
        });
        let done = done.await;
        $store.failing.store(done.is_err(), std::sync::atomic::Ordering::Relaxed);
        done
    }};
}

use {read, snapshot, write};

impl MySqlStore {
    /// Connects to `mysql://user:password@host:port/database[?ssl-mode=…&ssl-ca=…]`, migrates the database to the newest schema
    /// and creates the next months' partitions.
    ///
    /// # Errors
    /// [`OpenError`] says what failed.
    pub async fn open(url: &str, now_ms: i64, metrics: Arc<Metrics>) -> std::result::Result<Self, OpenError> {
        let options = options(url)?.statement_cache_capacity(STATEMENTS_MAX);
        let breaker = CircuitBreaker::new(options.clone());
        let since = breaker.clone();
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECTION_WAIT)
            .idle_timeout(IDLE_MAX)
            .test_before_acquire(false)
            .before_acquire(move |connection, found| {
                let older = found.age > since.open_for();
                // A connection from before an outage may hang for long after it.
                Box::pin(async move { Ok(!older && answers_ping(connection).await) })
            })
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // The SQL locks the rows that must not change; gap locks are not needed.
                    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                    connection.execute(silence_sql()).await.map(drop)
                })
            })
            .connect_with(options)
            .await?;
        schema::migrate(&pool).await?;
        partitions::make(&pool, now_ms).await?;
        let slot = schema::assign_slot(&pool).await?;
        Ok(Self { pool, breaker, slot, failing: AtomicBool::new(false), metrics })
    }

    /// Awaits the work, up to [`CALL_TIMEOUT`], and fails at once while the database is away ([`circuit_breaker`]). Logs and
    /// counts failures.
    async fn call<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = std::result::Result<T, sqlx::Error>> + Send,
    ) -> Result<T> {
        let timed_out = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        let started = Instant::now();
        let done = tokio::select! {
            biased;
            () = self.breaker.closed() => {
                count(&self.metrics.store_errors, "operation", operation);
                return Err(StoreError(format!("{operation}: the database is away")));
            }
            done = tokio::time::timeout(CALL_TIMEOUT, work) => done.unwrap_or_else(|_| Err(timed_out())),
        };
        self.metrics.call_time.get_or_create(&vec![("name", "mysql")]).observe(started.elapsed().as_secs_f64());
        done.map_err(|error| {
            self.breaker.report(&error);
            count(&self.metrics.store_errors, "operation", operation);
            tracing::error!(operation, %error, "the store failed");
            StoreError(format!("{operation}: {error}"))
        })
    }
}

/// The files of TLS (PEM) that an address names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// `ssl-ca`: the authorities that verify the database's certificate.
    pub authorities: Option<PathBuf>,
    /// `ssl-cert` and `ssl-key`: what the database is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The files that an address names, if any.
///
/// # Errors
/// [`OpenError`] when it is no valid address, or one that names authorities without verifying, or a certificate without its
/// key.
pub fn tls_files(url: &str) -> std::result::Result<TlsFiles, OpenError> {
    options(url)?;
    let identity = match (named_file(url, &["ssl-cert", "sslcert"]), named_file(url, &["ssl-key", "sslkey"])) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err(OpenError::HalfIdentity),
    };
    Ok(TlsFiles { authorities: named_file(url, AUTHORITIES), identity })
}

/// Reads it as the library does, which offers no getter.
fn named_file(url: &str, names: &[&str]) -> Option<PathBuf> {
    let parameters = url.split_once('?')?.1.split('#').next()?;
    let named = form_urlencoded::parse(parameters.as_bytes()).filter(|(name, _)| names.contains(&&**name));
    named.last().map(|(_, file)| PathBuf::from(&*file))
}

/// What an operator should know about a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Version as the server states it.
    pub version: String,
    /// Isolation level of new transactions.
    pub isolation: String,
    /// Connections that it accepts.
    pub connections_max: u64,
    /// Longest packet in bytes.
    pub packet_bytes_max: u64,
}

/// Asks a database for its settings. Creates and changes nothing.
///
/// # Errors
/// [`OpenError`] when the address is wrong or the database does not answer.
pub async fn facts(url: &str) -> std::result::Result<Facts, OpenError> {
    let mut connection = sqlx::ConnectOptions::connect(&options(url)?).await?;
    let text = "SELECT VERSION(), CAST(@@transaction_isolation AS CHAR), CAST(@@max_connections AS UNSIGNED), \
                CAST(@@max_allowed_packet AS UNSIGNED)";
    // MariaDB before 11.1 has the older name of the same variable.
    let older = text.replace("@@transaction_isolation", "@@tx_isolation");
    let row: (String, String, u64, u64) = match sqlx::query_as(text).fetch_one(&mut connection).await {
        Ok(row) => row,
        Err(sqlx::Error::Database(_)) => sqlx::query_as(sqlx::AssertSqlSafe(older)).fetch_one(&mut connection).await?,
        Err(error) => return Err(error.into()),
    };
    let (version, isolation, connections_max, packet_bytes_max) = row;
    Ok(Facts { version, isolation, connections_max, packet_bytes_max })
}

fn options(url: &str) -> std::result::Result<MySqlConnectOptions, OpenError> {
    let options = MySqlConnectOptions::from_str(url).map_err(OpenError::Url)?;
    let verifies = matches!(options.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
    match named_file(url, AUTHORITIES) {
        Some(_) if !verifies => Err(OpenError::Unverified),
        _ => Ok(options),
    }
}

/// To others than MariaDB the second half is a comment.
fn silence_sql() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SET SESSION wait_timeout = {SILENCE_MAX_S} \
         /*M!100300 , SESSION idle_transaction_timeout = {TRANSACTION_SILENCE_MAX_S} */"
    ))
}

/// Whether the database answers on this connection.
async fn answers_ping(connection: &mut sqlx::mysql::MySqlConnection) -> bool {
    let ping = sqlx::Connection::ping(connection);
    tokio::time::timeout(ANSWER_TIMEOUT, ping).await.is_ok_and(|answer| answer.is_ok())
}

/// Whether a transaction failed because of others: nothing of it was stored, and a retry may succeed.
fn is_contention(error: &sqlx::Error) -> bool {
    // Lock wait timeout, deadlock; MariaDB's "record has changed"; TiDB's write conflicts.
    is_duplicate(error) || matches!(number(error), Some(1205 | 1213 | 1020 | 8002 | 8022 | 8028 | 9007))
}

/// Whether a row with the same key is stored. The statement changed nothing, and its transaction may go on.
fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == Some(1062)
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?;
    Some(error.number())
}

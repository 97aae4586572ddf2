//! The backend of many nodes: MySQL 8, MariaDB 10.6 or newer, TiDB. Only what all three speak is used.
//!
//! A call is one transaction on a connection of the pool; the database's own group commit makes many of them one
//! sync. A run of comments is written with multi-row inserts ([`comments`]), which is where throughput is. A
//! transaction that the database gave up because of others (a deadlock, a conflict) is tried again a few times. One
//! file per noun holds the SQL. The server's wiring opens the store; everyone else sees only the port.
//!
//! When the connection breaks while a commit is under way nobody knows whether it was kept: the call fails, and
//! because every write may be repeated (by id, by key), repeating it is safe.

mod chat;
mod comments;
mod events;
mod expire;
mod keys;
mod likes;
mod moderation;
mod partitions;
mod rooms;
mod row;
mod runs;
mod schema;
mod uploads;
mod way;

use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use model::metrics::count;
use model::{Comment, Event, Metrics, RoomId, RoomSettings, Session, Snowflake, UserId};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::{Executor, MySqlPool};

use self::way::{ANSWER_TIMEOUT, Way};
use crate::{
    AuditEntry, Ban, FirstAnswer, NewComment, Placed, ReplayQuery, Result, Review, ReviewStatus, RoomRow, Scores,
    SessionRow, Store, StoreError, WordList,
};

/// Connections of one process at most; a call waits for one no longer than [`CONNECTION_WAIT`].
const CONNECTIONS_MAX: u32 = 16;
const CONNECTION_WAIT: Duration = Duration::from_secs(3);
/// A call that takes longer is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a transaction is tried that others made fail.
const TRIES_MAX: u32 = 5;
/// A connection of which the database hears nothing for so long is ended, and with it the locks of a node that froze in
/// the middle of a transaction; connections that nobody needs are closed before.
const SILENCE_MAX_S: u32 = 15;
const IDLE_MAX: Duration = Duration::from_secs(8);
/// More than there are, in all their sizes: none is ever closed ([`runs`]).
const STATEMENTS_MAX: usize = 1_024;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not `mysql://user:password@host:port/database`.
    #[error("expected mysql://user:password@host:port/database: {0}")]
    Url(sqlx::Error),
    /// It names an authority and asks for nothing that would be held against it.
    #[error("ssl-ca is only looked at with ssl-mode=VERIFY_IDENTITY or VERIFY_CA")]
    Unverified,
    /// A newer version of the program has written it.
    #[error("the database has schema {found}, newer than the {known} this program knows; use a newer barrage")]
    Newer {
        /// The schema of the database.
        found: usize,
        /// The newest schema of this program.
        known: usize,
    },
    /// The database refused, or is not there.
    #[error("cannot open the database: {0}")]
    Database(#[from] sqlx::Error),
}

/// A store in a MySQL database, shared by any number of nodes.
pub struct MySqlStore {
    pool: MySqlPool,
    way: Arc<Way>,
    /// This process's row of `high_water`.
    slot: i32,
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

/// A call that only reads: `read!(self, "operation", db => work)`.
macro_rules! read {
    ($store:expr, $operation:literal, $db:ident => $work:expr) => {
        $store
            .done($operation, async {
                let mut connection = $store.pool.acquire().await?;
                let $db = &mut *connection;
                $work.await
            })
            .await
    };
}

/// Several reads as one picture of the database: `picture!(self, "operation", db => work)`.
macro_rules! picture {
    ($store:expr, $operation:literal, $db:ident => $work:expr) => {
        $store
            .done($operation, async {
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

/// A call in a transaction, tried again while others make it fail: `write!(self, "operation", db => work)`.
macro_rules! write {
    ($store:expr, $operation:literal, $db:ident => $work:expr) => {{
        let done = $store.done($operation, async {
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

use {picture, read, write};

impl MySqlStore {
    /// Connects to `mysql://user:password@host:port/database[?ssl-mode=…&ssl-ca=…]`, brings the database to the newest schema and makes the
    /// next months' partitions.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub async fn open(url: &str, now_ms: i64, metrics: Arc<Metrics>) -> std::result::Result<Self, OpenError> {
        let options = options(url)?.statement_cache_capacity(STATEMENTS_MAX);
        let way = Way::new(options.clone());
        let since = way.clone();
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECTION_WAIT)
            .idle_timeout(IDLE_MAX)
            .test_before_acquire(false)
            .before_acquire(move |connection, found| {
                let older = found.age > since.open_for();
                // What was connected before the way was cut may hang for long after it is joined again.
                Box::pin(async move { Ok(!older && pongs(connection).await) })
            })
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // What a transaction has read is locked by name where it must stay; gaps need not be.
                    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                    let silence = sqlx::query("SET SESSION wait_timeout = ?").bind(SILENCE_MAX_S);
                    silence.execute(connection).await.map(drop)
                })
            })
            .connect_with(options)
            .await?;
        schema::migrate(&pool).await?;
        partitions::make(&pool, now_ms).await?;
        let slot = schema::take_slot(&pool).await?;
        Ok(Self { pool, way, slot, failing: AtomicBool::new(false), metrics })
    }

    /// Waits for the work, no longer than it may take, and not at all while the database is away ([`way`]); tells failures
    /// in the log and in the metrics.
    async fn done<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = std::result::Result<T, sqlx::Error>> + Send,
    ) -> Result<T> {
        let timed_out = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        let started = Instant::now();
        let done = tokio::select! {
            biased;
            () = self.way.closed() => {
                count(&self.metrics.store_errors, "operation", operation);
                return Err(StoreError(format!("{operation}: the database is away")));
            }
            done = tokio::time::timeout(CALL_TIMEOUT, work) => done.unwrap_or_else(|_| Err(timed_out())),
        };
        self.metrics.call_time.get_or_create(&vec![("name", "mysql")]).observe(started.elapsed().as_secs_f64());
        done.map_err(|error| {
            self.way.suspect(&error);
            count(&self.metrics.store_errors, "operation", operation);
            tracing::error!(operation, %error, "the store failed");
            StoreError(format!("{operation}: {error}"))
        })
    }
}

/// The file of authorities (PEM) that an address has the database's certificate verified by, `ssl-ca`, if it names one.
///
/// # Errors
/// [`OpenError`] when it is no address, or one that would not have it verified.
pub fn authorities_file(url: &str) -> std::result::Result<Option<PathBuf>, OpenError> {
    options(url).map(|_| named_authorities(url))
}

/// As the library reads it, which does not tell.
fn named_authorities(url: &str) -> Option<PathBuf> {
    let wishes = url.split_once('?')?.1.split('#').next()?;
    let named = form_urlencoded::parse(wishes.as_bytes()).filter(|(name, _)| ["ssl-ca", "sslca"].contains(&&**name));
    named.last().map(|(_, file)| PathBuf::from(&*file))
}

fn options(url: &str) -> std::result::Result<MySqlConnectOptions, OpenError> {
    let options = MySqlConnectOptions::from_str(url).map_err(OpenError::Url)?;
    let verifies = matches!(options.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
    match named_authorities(url) {
        Some(_) if !verifies => Err(OpenError::Unverified),
        _ => Ok(options),
    }
}

/// Whether somebody answers on this connection.
async fn pongs(connection: &mut sqlx::mysql::MySqlConnection) -> bool {
    let ping = sqlx::Connection::ping(connection);
    tokio::time::timeout(ANSWER_TIMEOUT, ping).await.is_ok_and(|pong| pong.is_ok())
}

/// Whether others made a transaction fail: nothing of it was kept, and it may succeed when tried again.
fn is_contention(error: &sqlx::Error) -> bool {
    let number =
        error.as_database_error().and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
    // Duplicate key, lock wait timeout, deadlock; MariaDB's "record has changed"; TiDB's write conflicts.
    number.is_some_and(|error| matches!(error.number(), 1062 | 1205 | 1213 | 1020 | 8002 | 8022 | 8028 | 9007))
}

#[async_trait]
impl Store for MySqlStore {
    async fn append_comments(&self, run: Vec<NewComment>) -> Result<()> {
        write!(self, "append_comments", db => comments::append(db, self.slot, &run))
    }

    async fn high_water(&self) -> Result<(u64, Option<Snowflake>)> {
        read!(self, "high_water", db => comments::high_water(db))
    }

    async fn probe(&self) -> Result<()> {
        let probe = async {
            if self.failing.load(Ordering::Relaxed) {
                write!(self, "probe", db => schema::probe(db, self.slot))
            } else {
                read!(self, "probe", db => sqlx::query("SELECT 1").execute(db)).map(drop)
            }
        };
        // Whoever asks wants to know soon; and a database that hangs is found out before its calls have waited long.
        tokio::time::timeout(ANSWER_TIMEOUT, probe).await.unwrap_or_else(|_| {
            self.way.suspect(&sqlx::Error::PoolTimedOut);
            Err(StoreError("probe: no answer".to_owned()))
        })
    }

    async fn first_answer(&self, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>> {
        read!(self, "first_answer", db => comments::first_answer(db, user, client_msg_id))
    }

    async fn comment(&self, id: Snowflake) -> Result<Option<Arc<Comment>>> {
        read!(self, "comment", db => comments::comment(db, id))
    }

    async fn position_of(&self, id: Snowflake) -> Result<Option<(RoomId, u64)>> {
        read!(self, "position_of", db => comments::position_of(db, id))
    }

    async fn deleted_among(&self, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
        read!(self, "deleted_among", db => comments::deleted_among(db, ids))
    }

    async fn comments_after(&self, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Placed>> {
        read!(self, "comments_after", db => comments::after(db, room, position, limit))
    }

    async fn count_after(&self, room: &RoomId, position: u64) -> Result<u64> {
        read!(self, "count_after", db => comments::count_after(db, room, position))
    }

    async fn latest_comments(&self, room: &RoomId, limit: usize) -> Result<Vec<Placed>> {
        read!(self, "latest_comments", db => comments::latest(db, room, limit))
    }

    async fn replay(&self, query: ReplayQuery) -> Result<Vec<Arc<Comment>>> {
        read!(self, "replay", db => comments::replay(db, &query))
    }

    async fn delete_comments(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>> {
        write!(self, "delete_comments", db => comments::delete(db, ids))
    }

    async fn purge_user(&self, user: &UserId, room: Option<&RoomId>) -> Result<Vec<(Snowflake, RoomId)>> {
        write!(self, "purge_user", db => comments::purge_user(db, user, room))
    }

    async fn import_comments(&self, session: &Session, comments: Vec<Arc<Comment>>) -> Result<u64> {
        write!(self, "import_comments", db => comments::import(db, session, &comments))
    }

    async fn expire(&self, now_ms: i64, default_days: u32, client_msg_days: u32, limit: usize) -> Result<u64> {
        let found = read!(self, "expire", db => expire::find(db, now_ms, default_days, limit))?;
        let gone = write!(self, "expire", db => expire::remove(db, &found, now_ms, client_msg_days, limit))?;
        self.done("expire", partitions::make(&self.pool, now_ms)).await?;
        Ok(gone)
    }

    async fn rooms(&self, limit: usize) -> Result<Vec<RoomRow>> {
        read!(self, "rooms", db => rooms::rooms(db, limit))
    }

    async fn room(&self, room: &RoomId) -> Result<Option<RoomRow>> {
        read!(self, "room", db => rooms::room(db, room))
    }

    async fn put_room(&self, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> Result<bool> {
        write!(self, "put_room", db => rooms::put(db, room, before, after))
    }

    async fn start_session(&self, session: &Session) -> Result<Option<Session>> {
        write!(self, "start_session", db => rooms::start_session(db, session))
    }

    async fn end_session(
        &self,
        room: &RoomId,
        only: Option<Snowflake>,
        at_ms: i64,
        close: bool,
    ) -> Result<Option<Session>> {
        write!(self, "end_session", db => rooms::end_session(db, room, only, at_ms, close))
    }

    async fn newest_comment_ms(&self, session: Snowflake) -> Result<Option<i64>> {
        read!(self, "newest_comment_ms", db => comments::newest_ms(db, session))
    }

    async fn sessions(&self, room: &RoomId, limit: usize) -> Result<Vec<SessionRow>> {
        read!(self, "sessions", db => rooms::sessions(db, room, limit))
    }

    async fn session(&self, id: Snowflake) -> Result<Option<Session>> {
        read!(self, "session", db => rooms::session(db, id))
    }

    async fn scores(&self, session: Snowflake) -> Result<Scores> {
        read!(self, "scores", db => rooms::scores(db, session))
    }

    async fn add_gift(&self, session: Snowflake, user: &UserId, username: &str, value: u64) -> Result<u64> {
        write!(self, "add_gift", db => rooms::add_gift(db, session, user, username, value))
    }

    async fn like(&self, id: Snowflake, user: &UserId, at_ms: i64) -> Result<Option<u64>> {
        write!(self, "like", db => likes::like(db, id, user, at_ms))
    }

    async fn unlike(&self, id: Snowflake, user: &UserId) -> Result<(u64, bool)> {
        write!(self, "unlike", db => likes::unlike(db, id, user))
    }

    async fn most_liked(&self, room: &RoomId, session: Option<Snowflake>, limit: usize) -> Result<Vec<Arc<Comment>>> {
        read!(self, "most_liked", db => likes::most_liked(db, room, session, limit))
    }

    async fn hold(&self, review: &Review, client_msg_id: Option<&str>) -> Result<()> {
        write!(self, "hold", db => moderation::hold(db, review, client_msg_id))
    }

    async fn review(&self, id: Snowflake) -> Result<Option<Review>> {
        read!(self, "review", db => moderation::review(db, id))
    }

    async fn reviews(&self, status: Option<ReviewStatus>, room: Option<&RoomId>, limit: usize) -> Result<Vec<Review>> {
        read!(self, "reviews", db => moderation::reviews(db, status, room, limit))
    }

    async fn decide(&self, id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> Result<Option<Review>> {
        write!(self, "decide", db => moderation::decide(db, id, status, by, at_ms))
    }

    async fn undecide(&self, id: Snowflake) -> Result<()> {
        write!(self, "undecide", db => moderation::undecide(db, id))
    }

    async fn words(&self) -> Result<Vec<(WordList, String)>> {
        read!(self, "words", db => moderation::words(db))
    }

    async fn set_words(&self, words: Vec<(WordList, String)>) -> Result<()> {
        write!(self, "set_words", db => moderation::set_words(db, &words))
    }

    async fn add_word(&self, list: WordList, word: &str) -> Result<()> {
        write!(self, "add_word", db => moderation::add_word(db, list, word))
    }

    async fn remove_word(&self, list: WordList, word: &str) -> Result<bool> {
        write!(self, "remove_word", db => moderation::remove_word(db, list, word))
    }

    async fn add_ban(&self, ban: &Ban) -> Result<()> {
        write!(self, "add_ban", db => moderation::add_ban(db, ban))
    }

    async fn bans(&self, now_ms: i64, room: Option<&RoomId>, limit: usize) -> Result<Vec<Ban>> {
        read!(self, "bans", db => moderation::bans(db, now_ms, room, limit))
    }

    async fn bans_of(&self, user: &UserId, now_ms: i64) -> Result<Vec<Ban>> {
        read!(self, "bans_of", db => moderation::bans_of(db, user, now_ms))
    }

    async fn ban(&self, id: Snowflake) -> Result<Option<Ban>> {
        read!(self, "ban", db => moderation::ban(db, id))
    }

    async fn remove_ban(&self, id: Snowflake) -> Result<Option<Ban>> {
        write!(self, "remove_ban", db => moderation::remove_ban(db, id))
    }

    async fn revoke_tokens(&self, user: &UserId, before_ms: i64) -> Result<()> {
        write!(self, "revoke_tokens", db => moderation::revoke_tokens(db, user, before_ms))
    }

    async fn revocations(&self) -> Result<Vec<(UserId, i64)>> {
        read!(self, "revocations", db => moderation::revocations(db))
    }

    async fn audit(&self, entry: AuditEntry) -> Result<()> {
        write!(self, "audit", db => moderation::audit(db, &entry))
    }

    async fn audit_trail(&self, room: Option<&RoomId>, limit: usize) -> Result<Vec<AuditEntry>> {
        read!(self, "audit_trail", db => moderation::audit_trail(db, room, limit))
    }

    async fn keep_event(&self, event: &Event, users: &[UserId]) -> Result<()> {
        write!(self, "keep_event", db => events::keep(db, event, users))
    }

    async fn unacknowledged(&self, user: &UserId, limit: usize) -> Result<Vec<Event>> {
        read!(self, "unacknowledged", db => events::unacknowledged(db, user, limit))
    }

    async fn users_with_events(&self, limit: usize) -> Result<Vec<UserId>> {
        read!(self, "users_with_events", db => events::users(db, limit))
    }

    async fn acknowledge(&self, user: &UserId, event: Snowflake) -> Result<()> {
        write!(self, "acknowledge", db => events::acknowledge(db, user, event))
    }
}

//! The embedded backend: one SQLite file in WAL mode (<https://www.sqlite.org/wal.html>).
//!
//! All writes go through one thread that commits them in groups ([`writer`]); another copies what
//! was committed back into the file ([`checkpoint`]); reads run beside them on a few read-only
//! connections ([`readers`]). One file per noun holds the SQL. The server's
//! wiring opens the store; everyone else sees only the port.

mod chat;
mod checkpoint;
mod codes;
mod comments;
mod events;
mod expire;
mod keys;
mod likes;
mod moderation;
mod probe;
mod readers;
mod rooms;
mod schema;
#[cfg(test)]
mod tests;
mod uploads;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use model::metrics::count;
use model::panics::contain;
use model::{Comment, Event, Metrics, RoomId, RoomSettings, Session, Snowflake, UserId};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, ffi};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::checkpoint::Checkpointer;
pub(crate) use self::codes::Pinned;
use self::readers::Readers;
use self::writer::Writer;
use crate::{
    AuditEntry, Ban, FirstAnswer, NewComment, Placed, ReplayQuery, Result, Review, ReviewStatus, RoomRow, Scores,
    SessionRow, Store, StoreError, WordList,
};

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The lock beside the database cannot be made: usually a missing directory or permission.
    #[error("cannot lock {}: {cause}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Two servers over one file would each think that it knows the newest position.
    #[error("{} is in use by another server", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A newer version of the program has written it.
    #[error("the database has schema {found}, newer than the {known} this program knows; use a newer barrage")]
    Newer {
        /// The schema of the file.
        found: usize,
        /// The newest schema of this program.
        known: usize,
    },
    /// SQLite refused.
    #[error("cannot open the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A thread did not start.
    #[error("cannot start the store's threads: {0}")]
    Thread(std::io::Error),
}

/// A store in one SQLite file. Dropping it finishes what was asked and closes the file.
pub struct SqliteStore {
    path: PathBuf,
    readers: Readers,
    writer: Writer,
}

impl SqliteStore {
    /// Opens or creates the database at `path`, in a directory that exists, and brings it to the
    /// newest schema. A file `<path>.lock` stays locked until the store is dropped or the process
    /// ends. Blocks while it works.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way; the file is unchanged then.
    pub fn open(path: &Path, metrics: Arc<Metrics>) -> std::result::Result<Self, OpenError> {
        let failures = Failures { metrics };
        let lock = lock(path)?;
        let db = schema::open_writer(path)?;
        let readers = Readers::new(path.to_owned(), failures.clone());
        let checkpointer = Checkpointer::start(schema::open_checkpointer(path)?).map_err(OpenError::Thread)?;
        let writer = Writer::start(db, checkpointer, lock, failures).map_err(OpenError::Thread)?;
        Ok(Self { path: path.to_owned(), readers, writer })
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.run(operation, work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.run(operation, work).await
    }
}

/// The file of this ending beside the database.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Takes the lock beside the database; the operating system gives it back when the process ends.
fn lock(path: &Path) -> std::result::Result<File, OpenError> {
    let lock_path = beside(path, ".lock");
    let failed = |cause| OpenError::Lock { path: lock_path.clone(), cause };
    let file = OpenOptions::new().create(true).append(true).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn append_comments(&self, run: Vec<NewComment>) -> Result<()> {
        self.write("append_comments", move |db| comments::append(db, &run)).await
    }

    async fn high_water(&self) -> Result<(u64, Option<Snowflake>)> {
        self.read("high_water", comments::high_water).await
    }

    async fn probe(&self) -> Result<()> {
        if !self.writer.is_failing() {
            return self.read("probe", probe::read).await;
        }
        let path = beside(&self.path, ".probe");
        let room = tokio::task::spawn_blocking(move || probe::room(&path)).await;
        let room = room.unwrap_or_else(|error| Err(error.into()));
        room.map_err(|error| self.writer.failures().refused("probe", &error.to_string()))?;
        self.write("probe", probe::write).await
    }

    async fn first_answer(&self, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>> {
        let (user, client_msg_id) = (user.clone(), client_msg_id.to_owned());
        self.read("first_answer", move |db| comments::first_answer(db, &user, &client_msg_id)).await
    }

    async fn comment(&self, id: Snowflake) -> Result<Option<Arc<Comment>>> {
        self.read("comment", move |db| comments::comment(db, id)).await
    }

    async fn position_of(&self, id: Snowflake) -> Result<Option<(RoomId, u64)>> {
        self.read("position_of", move |db| comments::position_of(db, id)).await
    }

    async fn deleted_among(&self, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
        let ids = ids.to_vec();
        self.read("deleted_among", move |db| comments::deleted_among(db, &ids)).await
    }

    async fn comments_after(&self, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Placed>> {
        let room = room.clone();
        self.read("comments_after", move |db| comments::after(db, &room, position, limit)).await
    }

    async fn count_after(&self, room: &RoomId, position: u64) -> Result<u64> {
        let room = room.clone();
        self.read("count_after", move |db| comments::count_after(db, &room, position)).await
    }

    async fn latest_comments(&self, room: &RoomId, limit: usize) -> Result<Vec<Placed>> {
        let room = room.clone();
        self.read("latest_comments", move |db| comments::latest(db, &room, limit)).await
    }

    async fn replay(&self, query: ReplayQuery) -> Result<Vec<Arc<Comment>>> {
        self.read("replay", move |db| comments::replay(db, &query)).await
    }

    async fn delete_comments(&self, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>> {
        let ids = ids.to_vec();
        self.write("delete_comments", move |db| comments::delete(db, &ids)).await
    }

    async fn purge_user(&self, user: &UserId, room: Option<&RoomId>) -> Result<Vec<(Snowflake, RoomId)>> {
        let (user, room) = (user.clone(), room.cloned());
        let (whom, place) = (user.clone(), room.clone());
        let found = self.read("purge_user", move |db| comments::find_by_user(db, &whom, place.as_ref())).await?;
        self.write("purge_user", move |db| comments::purge_user(db, &user, room.as_ref(), &found)).await
    }

    async fn import_comments(&self, session: &Session, comments: Vec<Arc<Comment>>) -> Result<u64> {
        let session = session.clone();
        self.write("import_comments", move |db| comments::import(db, &session, &comments)).await
    }

    async fn expire(&self, now_ms: i64, default_days: u32, client_msg_days: u32, limit: usize) -> Result<u64> {
        let found = self.read("expire", move |db| expire::find(db, now_ms, default_days, limit)).await?;
        self.write("expire", move |db| expire::remove(db, &found, now_ms, client_msg_days, limit)).await
    }

    async fn rooms(&self, limit: usize) -> Result<Vec<RoomRow>> {
        self.read("rooms", move |db| rooms::rooms(db, limit)).await
    }

    async fn room(&self, room: &RoomId) -> Result<Option<RoomRow>> {
        let room = room.clone();
        self.read("room", move |db| rooms::room(db, &room)).await
    }

    async fn put_room(&self, room: &RoomId, before: &RoomSettings, after: &RoomSettings) -> Result<bool> {
        let (room, before, after) = (room.clone(), before.clone(), after.clone());
        self.write("put_room", move |db| rooms::put(db, &room, &before, &after)).await
    }

    async fn start_session(&self, session: &Session) -> Result<Option<Session>> {
        let session = session.clone();
        self.write("start_session", move |db| rooms::start_session(db, &session)).await
    }

    async fn end_session(
        &self,
        room: &RoomId,
        only: Option<Snowflake>,
        at_ms: i64,
        close: bool,
    ) -> Result<Option<Session>> {
        let room = room.clone();
        self.write("end_session", move |db| rooms::end_session(db, &room, only, at_ms, close)).await
    }

    async fn newest_comment_ms(&self, session: Snowflake) -> Result<Option<i64>> {
        self.read("newest_comment_ms", move |db| comments::newest_ms(db, session)).await
    }

    async fn sessions(&self, room: &RoomId, limit: usize) -> Result<Vec<SessionRow>> {
        let room = room.clone();
        self.read("sessions", move |db| rooms::sessions(db, &room, limit)).await
    }

    async fn session(&self, id: Snowflake) -> Result<Option<Session>> {
        self.read("session", move |db| rooms::session(db, id)).await
    }

    async fn scores(&self, session: Snowflake) -> Result<Scores> {
        self.read("scores", move |db| rooms::scores(db, session)).await
    }

    async fn add_gift(&self, session: Snowflake, user: &UserId, username: &str, value: u64) -> Result<u64> {
        let (user, username) = (user.clone(), username.to_owned());
        self.write("add_gift", move |db| rooms::add_gift(db, session, &user, &username, value)).await
    }

    async fn like(&self, id: Snowflake, user: &UserId, at_ms: i64) -> Result<Option<u64>> {
        let user = user.clone();
        self.write("like", move |db| likes::like(db, id, &user, at_ms)).await
    }

    async fn unlike(&self, id: Snowflake, user: &UserId) -> Result<(u64, bool)> {
        let user = user.clone();
        self.write("unlike", move |db| likes::unlike(db, id, &user)).await
    }

    async fn most_liked(&self, room: &RoomId, session: Option<Snowflake>, limit: usize) -> Result<Vec<Arc<Comment>>> {
        let room = room.clone();
        self.read("most_liked", move |db| likes::most_liked(db, &room, session, limit)).await
    }

    async fn hold(&self, review: &Review, client_msg_id: Option<&str>) -> Result<()> {
        let (review, client_msg_id) = (review.clone(), client_msg_id.map(str::to_owned));
        self.write("hold", move |db| moderation::hold(db, &review, client_msg_id.as_deref())).await
    }

    async fn review(&self, id: Snowflake) -> Result<Option<Review>> {
        self.read("review", move |db| moderation::review(db, id)).await
    }

    async fn reviews(&self, status: Option<ReviewStatus>, room: Option<&RoomId>, limit: usize) -> Result<Vec<Review>> {
        let room = room.cloned();
        self.read("reviews", move |db| moderation::reviews(db, status, room.as_ref(), limit)).await
    }

    async fn decide(&self, id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> Result<Option<Review>> {
        let by = by.to_owned();
        self.write("decide", move |db| moderation::decide(db, id, status, &by, at_ms)).await
    }

    async fn undecide(&self, id: Snowflake) -> Result<()> {
        self.write("undecide", move |db| moderation::undecide(db, id)).await
    }

    async fn words(&self) -> Result<Vec<(WordList, String)>> {
        self.read("words", moderation::words).await
    }

    async fn set_words(&self, words: Vec<(WordList, String)>) -> Result<()> {
        self.write("set_words", move |db| moderation::set_words(db, &words)).await
    }

    async fn add_word(&self, list: WordList, word: &str) -> Result<()> {
        let word = word.to_owned();
        self.write("add_word", move |db| moderation::add_word(db, list, &word)).await
    }

    async fn remove_word(&self, list: WordList, word: &str) -> Result<bool> {
        let word = word.to_owned();
        self.write("remove_word", move |db| moderation::remove_word(db, list, &word)).await
    }

    async fn add_ban(&self, ban: &Ban) -> Result<()> {
        let ban = ban.clone();
        self.write("add_ban", move |db| moderation::add_ban(db, &ban)).await
    }

    async fn bans(&self, now_ms: i64, room: Option<&RoomId>, limit: usize) -> Result<Vec<Ban>> {
        let room = room.cloned();
        self.read("bans", move |db| moderation::bans(db, now_ms, room.as_ref(), limit)).await
    }

    async fn bans_of(&self, user: &UserId, now_ms: i64) -> Result<Vec<Ban>> {
        let user = user.clone();
        self.read("bans_of", move |db| moderation::bans_of(db, &user, now_ms)).await
    }

    async fn ban(&self, id: Snowflake) -> Result<Option<Ban>> {
        self.read("ban", move |db| moderation::ban(db, id)).await
    }

    async fn remove_ban(&self, id: Snowflake) -> Result<Option<Ban>> {
        self.write("remove_ban", move |db| moderation::remove_ban(db, id)).await
    }

    async fn revoke_tokens(&self, user: &UserId, before_ms: i64) -> Result<()> {
        let user = user.clone();
        self.write("revoke_tokens", move |db| moderation::revoke_tokens(db, &user, before_ms)).await
    }

    async fn revocations(&self) -> Result<Vec<(UserId, i64)>> {
        self.read("revocations", moderation::revocations).await
    }

    async fn audit(&self, entry: AuditEntry) -> Result<()> {
        self.write("audit", move |db| moderation::audit(db, &entry)).await
    }

    async fn audit_trail(&self, room: Option<&RoomId>, limit: usize) -> Result<Vec<AuditEntry>> {
        let room = room.cloned();
        self.read("audit_trail", move |db| moderation::audit_trail(db, room.as_ref(), limit)).await
    }

    async fn keep_event(&self, event: &Event, users: &[UserId]) -> Result<()> {
        let (event, users) = (event.clone(), users.to_vec());
        self.write("keep_event", move |db| events::keep(db, &event, &users)).await
    }

    async fn users_with_events(&self, limit: usize) -> Result<Vec<UserId>> {
        self.read("users_with_events", move |db| events::users(db, limit)).await
    }
    async fn unacknowledged(&self, user: &UserId, limit: usize) -> Result<Vec<Event>> {
        let user = user.clone();
        self.read("unacknowledged", move |db| events::unacknowledged(db, &user, limit)).await
    }

    async fn acknowledge(&self, user: &UserId, event: Snowflake) -> Result<()> {
        let user = user.clone();
        self.write("acknowledge", move |db| events::acknowledge(db, &user, event)).await
    }
}

/// Where failures are told: once in the log, and once for each operation in the metrics.
#[derive(Clone)]
struct Failures {
    metrics: Arc<Metrics>,
}

impl Failures {
    /// Logs and counts a failure of SQLite.
    fn note(&self, operation: &'static str, error: &rusqlite::Error) -> StoreError {
        self.count(operation);
        self.log(operation, error)
    }

    fn log(&self, operation: &'static str, error: &rusqlite::Error) -> StoreError {
        let code = error.sqlite_error().map(|error| error.extended_code);
        tracing::error!(operation, code, %error, "the store failed");
        StoreError(format!("{operation}: {error}"))
    }

    /// Counts an operation that was not tried. Not an error of the log: under overload it would
    /// write a line for each caller.
    fn refused(&self, operation: &'static str, why: &str) -> StoreError {
        self.count(operation);
        tracing::debug!(operation, why, "the store refused");
        StoreError(format!("{operation}: {why}"))
    }

    fn count(&self, operation: &'static str) {
        count(&self.metrics.store_errors, "operation", operation);
    }
}

/// Does one caller's work on a connection that others use after it. A panic is that caller's error; what it changed is rolled
/// back like after any other.
fn for_one<T>(db: &Connection, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    contain(|| work(db)).unwrap_or_else(|| {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERNAL), Some("a panic".into())))
    })
}

/// A number as SQLite's signed one. Ids, positions and counts stay far below its end.
fn int(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// Back from [`int`].
fn uint(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A text column that has its own type.
fn column<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// A text column that has its own type and may be null.
fn optional_column<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<T>> {
    if row.get_ref(index)?.data_type() == Type::Null { Ok(None) } else { column(row, index).map(Some) }
}

fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A JSON column.
fn from_json<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

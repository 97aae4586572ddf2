//! Bringing a database to the newest schema, and a process's row of `high_water`.
//!
//! Migrations are numbered SQL files; the table `schema_version` says how many a database has had. They first expand
//! and only a later version contracts, so that nodes of two neighbouring versions work on one database.

use sqlx::{Executor, MySqlConnection, MySqlPool, Result};

use super::OpenError;

/// Every migration, oldest first; one that was released is never edited.
const MIGRATIONS: &[&str] =
    &[include_str!("../../migrations/mysql/0001_initial.sql"), include_str!("../../migrations/mysql/0002_chat.sql")];

/// Rows of `high_water`: many more than nodes, so that two of them rarely share one.
const SLOTS: u32 = 64;

/// Applies what the database has not had yet. One node at a time: the others wait for the lock, and find it done.
pub(super) async fn migrate(pool: &MySqlPool) -> std::result::Result<(), OpenError> {
    let mut db = pool.acquire().await?;
    let (locked,): (Option<i64>,) =
        sqlx::query_as("SELECT GET_LOCK(LEFT(CONCAT('barrage-', DATABASE()), 64), 60)").fetch_one(&mut *db).await?;
    if locked != Some(1) {
        return Err(OpenError::Database(sqlx::Error::PoolTimedOut));
    }
    let done = apply(&mut db).await;
    db.execute("DO RELEASE_LOCK(LEFT(CONCAT('barrage-', DATABASE()), 64))").await?;
    done
}

async fn apply(db: &mut MySqlConnection) -> std::result::Result<(), OpenError> {
    db.execute("CREATE TABLE IF NOT EXISTS schema_version (only_row INT NOT NULL PRIMARY KEY, version INT NOT NULL)")
        .await?;
    let found: Option<i32> = sqlx::query_scalar("SELECT version FROM schema_version").fetch_optional(&mut *db).await?;
    let found = usize::try_from(found.unwrap_or(0)).unwrap_or(0);
    if found > MIGRATIONS.len() {
        return Err(OpenError::Newer { found, known: MIGRATIONS.len() });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).skip(found) {
        sqlx::raw_sql(*sql).execute(&mut *db).await?;
        sqlx::query("REPLACE INTO schema_version (only_row, version) VALUES (1, ?)")
            .bind(version)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// A row of `high_water` for this process, by chance.
pub(super) async fn take_slot(pool: &MySqlPool) -> Result<i32> {
    let (slot,): (i32,) =
        sqlx::query_as("SELECT CAST(FLOOR(RAND() * ?) AS SIGNED INT)").bind(SLOTS).fetch_one(pool).await?;
    sqlx::query("INSERT IGNORE INTO high_water (slot, position) VALUES (?, 0)").bind(slot).execute(pool).await?;
    Ok(slot)
}

/// A write that is kept, and changes nothing that anybody reads.
pub(super) async fn probe(db: &mut MySqlConnection, slot: i32) -> Result<()> {
    sqlx::query("UPDATE high_water SET probes = probes + 1 WHERE slot = ?").bind(slot).execute(db).await.map(drop)
}

//! Migrates a database to the newest schema, and assigns a process its row of `high_water`.
//!
//! Migrations are numbered SQL files; the table `schema_version` counts those applied. A migration only expands the schema, and a
//! later version contracts it. So nodes of two neighbouring versions work on one database.

use sqlx::{Executor, MySqlConnection, MySqlPool, Result};

use super::OpenError;

/// Every migration, oldest first; one that was released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/mysql/0001_initial.sql"),
    include_str!("../../migrations/mysql/0002_chat.sql"),
    include_str!("../../migrations/mysql/0003_session_titles.sql"),
    include_str!("../../migrations/mysql/0004_room_scopes.sql"),
    include_str!("../../migrations/mysql/0005_room_scopes_filled.sql"),
    include_str!("../../migrations/mysql/0006_reviews_of_user.sql"),
    include_str!("../../migrations/mysql/0007_gifts_of_user.sql"),
    include_str!("../../migrations/mysql/0008_bans_of_room.sql"),
    include_str!("../../migrations/mysql/0009_upload_days.sql"),
    include_str!("../../migrations/mysql/0010_comments_of_user_in_room.sql"),
    include_str!("../../migrations/mysql/0011_message_changes.sql"),
    include_str!("../../migrations/mysql/0012_moderation.sql"),
    include_str!("../../migrations/mysql/0013_archive.sql"),
    include_str!("../../migrations/mysql/0014_erasure.sql"),
    include_str!("../../migrations/mysql/0015_audit_seals.sql"),
    include_str!("../../migrations/mysql/0016_samples.sql"),
    include_str!("../../migrations/mysql/0017_notes.sql"),
];

/// Rows of `high_water`: many more than nodes, so that two nodes rarely share one.
const SLOTS: u32 = 64;

/// Applies the missing migrations. One node at a time: the others wait for the lock and find it done.
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

/// Picks a random row of `high_water` for this process.
pub(super) async fn assign_slot(pool: &MySqlPool) -> Result<i32> {
    let (slot,): (i32,) =
        sqlx::query_as("SELECT CAST(FLOOR(RAND() * ?) AS SIGNED INT)").bind(SLOTS).fetch_one(pool).await?;
    sqlx::query("INSERT IGNORE INTO high_water (slot, position) VALUES (?, 0)").bind(slot).execute(pool).await?;
    Ok(slot)
}

/// A durable write that changes nothing that anybody reads.
pub(super) async fn probe(db: &mut MySqlConnection, slot: i32) -> Result<()> {
    sqlx::query("UPDATE high_water SET probes = probes + 1 WHERE slot = ?").bind(slot).execute(db).await.map(drop)
}

//! The months of `comments`.
//!
//! A month's partition is split off `p_rest` before the month begins, while `p_rest` is empty. A past month that retention has
//! emptied is dropped as a whole, which is cheap; deleting its rows costs a statement each. Several nodes may do this at once:
//! the second finds it done.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use model::snowflake::EPOCH_MS;
use sqlx::{AssertSqlSafe, MySqlPool, Result};

use crate::retention::first_id_of;

/// Months ahead that have a partition.
const AHEAD: usize = 3;

/// Creates the missing partitions of this month and the next ones, and drops past ones that are empty.
pub(super) async fn make(pool: &MySqlPool, now_ms: i64) -> Result<()> {
    let there = names(pool).await?;
    let months = months(now_ms);
    let newest = there.iter().filter(|name| *name != "p_rest").max();
    let missing = months.iter().filter(|month| newest.is_none_or(|newest| month.name() > *newest));
    let missing: Vec<_> = missing.map(Month::sql).collect();
    if !missing.is_empty() {
        let sql = format!(
            "ALTER TABLE comments REORGANIZE PARTITION p_rest INTO ({}, PARTITION p_rest VALUES LESS THAN MAXVALUE)",
            missing.join(", ")
        );
        already_done(sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await)?;
    }
    let first = months.first().map(Month::name);
    for past in there.iter().filter(|name| first.as_ref().is_some_and(|first| *name < first)) {
        drop_if_empty(pool, past).await?;
    }
    Ok(())
}

async fn names(pool: &MySqlPool) -> Result<Vec<String>> {
    let sql = "SELECT partition_name FROM information_schema.partitions
         WHERE table_schema = DATABASE() AND table_name = 'comments' AND partition_name IS NOT NULL";
    sqlx::query_scalar(sql).fetch_all(pool).await
}

/// No row is added to a past month: ids are made at the present.
async fn drop_if_empty(pool: &MySqlPool, name: &str) -> Result<()> {
    let sql = format!("SELECT 1 FROM comments PARTITION ({name}) LIMIT 1");
    if sqlx::query(AssertSqlSafe(sql)).fetch_optional(pool).await?.is_none() {
        let sql = format!("ALTER TABLE comments DROP PARTITION {name}");
        already_done(sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await)?;
    }
    Ok(())
}

/// Ignores that another node was faster: the partition is there already (1517), out of order (1493), or gone (1507).
fn already_done<T>(done: Result<T>) -> Result<()> {
    let number = |error: &sqlx::Error| {
        Some(error.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?.number())
    };
    match done {
        Err(error) if matches!(number(&error), Some(1493 | 1507 | 1517)) => Ok(()),
        done => done.map(drop),
    }
}

/// A month and the first id of the one after it.
#[derive(Debug, PartialEq, Eq)]
struct Month {
    year: i16,
    month: i8,
    less_than: i64,
}

impl Month {
    /// Names sort as months do.
    fn name(&self) -> String {
        format!("p{:04}{:02}", self.year, self.month)
    }

    fn sql(&self) -> String {
        format!("PARTITION {} VALUES LESS THAN ({})", self.name(), self.less_than)
    }
}

/// The month of `now_ms` and those after it; in UTC, and not before the first id.
fn months(now_ms: i64) -> Vec<Month> {
    let now = Timestamp::from_millisecond(now_ms.max(EPOCH_MS)).unwrap_or(Timestamp::MAX);
    let first = now.to_zoned(TimeZone::UTC).date().first_of_month();
    (0..=AHEAD).map_while(|n| Month::of(first.checked_add((n as i64).months()).ok()?)).collect()
}

impl Month {
    fn of(first: Date) -> Option<Self> {
        let next = first.checked_add(1.month()).ok()?.to_zoned(TimeZone::UTC).ok()?;
        let less_than = first_id_of(next.timestamp().as_millisecond());
        Some(Self { year: first.year(), month: first.month(), less_than })
    }
}

#[cfg(test)]
mod tests {
    use model::Snowflake;
    use model::snowflake::made_at_ms;

    use super::*;

    #[test]
    fn months_follow_each_other_over_the_year() {
        let november = months(1_795_219_200_000); // 2026-11-21
        let names: Vec<_> = november.iter().map(Month::name).collect();
        assert_eq!(names, ["p202611", "p202612", "p202701", "p202702"]);
        let end = Snowflake(november[0].less_than.cast_unsigned());
        assert_eq!(made_at_ms(end), 1_796_083_200_000, "2026-12-01T00:00:00Z");
        assert_eq!(months(0)[0].name(), "p202401", "the first id is of 2024");
    }
}

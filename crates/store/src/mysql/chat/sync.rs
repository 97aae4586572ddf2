//! Sync: what a user missed, over all conversations at once, as one picture of the database.
//!
//! A page is merged from the conversations that have something newer, a few of them with each question. Each is asked
//! only for numbers below the highest that would still be on the page, so that what is read is little more than what
//! is given, however long the conversations are.

use std::collections::{BTreeSet, BinaryHeap};

use model::chat::{Change, ConversationId};
use model::{Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::orders::{self, Order};
use super::people::push_people;
use super::{eyes, messages, push_pairs};
use crate::chat::{SyncPage, SyncQuery};
use crate::mysql::expire::first_id_of;
use crate::mysql::row::{coded, id, int, parsed, uint};
use crate::mysql::runs::runs;

/// Conversations of one question.
const CONVERSATIONS_MAX: usize = 16;

/// A conversation of the user and the position after which it is visible.
type Own = (i64, i64);
/// A number of an order, and the conversation it belongs to.
type Place = (i64, i64);

/// Which numbers, both ends excluded.
#[derive(Clone, Copy)]
struct Between {
    after: i64,
    before: i64,
}

impl Between {
    fn all_after(after: i64) -> Self {
        Self { after, before: i64::MAX }
    }
}

pub(super) async fn sync(db: &mut MySqlConnection, query: &SyncQuery) -> Result<SyncPage> {
    let (after, expired) = begin(db, query).await?;
    let newer = newer(db, &query.user, after).await?;
    let wanted = query.limit.saturating_add(1);
    let mut places = lowest(db, Order::Positions, &newer, Between::all_after(after), wanted).await?;
    let mut more = places.len() > query.limit;
    places.truncate(query.limit);
    let places: Vec<_> = places.into_iter().map(|(position, conversation)| (conversation, position)).collect();
    let found = messages::at(db, &places).await?;
    let messages = eyes::see(db, &query.user, found).await?;
    let (changes, latest_change, more_changes) = changes(db, query).await?;
    more |= more_changes;
    let latest_id = match messages.last() {
        Some(last) => Some(last.message.id),
        None if expired => newest(db, &query.user).await?,
        None => query.since,
    };
    Ok(SyncPage { messages, latest_id, changes, latest_change, more, expired })
}

/// Which of these people have messages that came at or after a moment. Not one picture of the database: whatever is
/// committed meanwhile is told by whoever stored it.
pub(super) async fn reached_since(db: &mut MySqlConnection, users: &[UserId], since_ms: i64) -> Result<Vec<UserId>> {
    let sql = "SELECT position FROM messages WHERE id < ? ORDER BY id DESC LIMIT 1";
    let floor: Option<i64> = sqlx::query_scalar(sql).bind(first_id_of(since_ms)).fetch_optional(&mut *db).await?;
    let mut found = BTreeSet::new();
    for some in runs(users) {
        let mut sql = QueryBuilder::<MySql>::new(
            "SELECT m.user_id FROM members m JOIN conversations c ON c.id = m.conversation
             WHERE c.last_position > GREATEST(m.joined_position, ",
        );
        sql.push_bind(floor.unwrap_or(0)).push(") AND m.");
        push_people(&mut sql, some);
        for row in &sql.build().fetch_all(&mut *db).await? {
            found.insert(parsed(row, 0)?);
        }
    }
    Ok(found.into_iter().collect())
}

/// The position to go on after, and whether something before it is not given any more.
async fn begin(db: &mut MySqlConnection, query: &SyncQuery) -> Result<(i64, bool)> {
    let sql = "SELECT (SELECT position FROM messages WHERE id < ? ORDER BY id DESC LIMIT 1),
         (SELECT position FROM messages WHERE id = ?)";
    let asked = sqlx::query_as(sql).bind(first_id_of(query.not_before_ms)).bind(query.since.map(|since| int(since.0)));
    let (floor, since): (Option<i64>, Option<i64>) = asked.fetch_one(&mut *db).await?;
    let floor = floor.unwrap_or(0);
    match since {
        Some(position) if position >= floor => Ok((position, false)),
        Some(position) => Ok((floor, any_between(db, &query.user, position, floor).await?)),
        None => Ok((floor, query.since.is_some())),
    }
}

async fn any_between(db: &mut MySqlConnection, user: &UserId, after: i64, until: i64) -> Result<bool> {
    let newer = newer(db, user, after).await?;
    let between = Between { after, before: until.saturating_add(1) };
    Ok(!lowest(db, Order::Positions, &newer, between, 1).await?.is_empty())
}

/// Conversations of the user with messages after a position.
async fn newer(db: &mut MySqlConnection, user: &UserId, after: i64) -> Result<Vec<Own>> {
    let sql = "SELECT c.id, m.joined_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND c.last_position > ?";
    sqlx::query_as(sql).bind(user.as_str()).bind(after).fetch_all(db).await
}

/// Conversations of the user with changes after a number.
async fn changed(db: &mut MySqlConnection, user: &UserId, after: i64) -> Result<Vec<Own>> {
    let sql = "SELECT m.conversation, m.joined_position FROM members m WHERE m.user_id = ?
         AND (SELECT MAX(c.change_number) FROM changes c WHERE c.conversation = m.conversation) > ?";
    sqlx::query_as(sql).bind(user.as_str()).bind(after).fetch_all(db).await
}

/// The lowest numbers of an order over all of these conversations: as many as wanted, if there are.
async fn lowest(
    db: &mut MySqlConnection,
    order: Order,
    own: &[Own],
    mut between: Between,
    wanted: usize,
) -> Result<Vec<Place>> {
    let mut lowest = BinaryHeap::new();
    for some in own.chunks(CONVERSATIONS_MAX).flat_map(runs) {
        let mut sql = QueryBuilder::<MySql>::new("");
        for (number, of) in some.iter().enumerate() {
            push_next(sql.push(if number == 0 { "" } else { " UNION ALL " }), order, *of, between, wanted);
        }
        for row in &sql.build().fetch_all(&mut *db).await? {
            lowest.push((row.try_get(0)?, row.try_get(1)?));
            if lowest.len() > wanted {
                lowest.pop();
            }
        }
        if lowest.len() == wanted {
            between.before = lowest.peek().map_or(between.before, |(number, _)| *number);
        }
    }
    Ok(lowest.into_sorted_vec())
}

/// Writes the question for a conversation's next numbers.
fn push_next(
    sql: &mut QueryBuilder<MySql>,
    order: Order,
    (conversation, joined): Own,
    Between { after, before }: Between,
    wanted: usize,
) {
    let (number, table, after) = match order {
        Order::Positions => ("position", "messages", after.max(joined)),
        Order::Changes => ("change_number", "changes", after),
    };
    sql.push("(SELECT ").push(number).push(", conversation FROM ").push(table);
    sql.push(" WHERE conversation = ").push_bind(conversation);
    sql.push(" AND ").push(number).push(" > ").push_bind(after);
    sql.push(" AND ").push(number).push(" < ").push_bind(before);
    sql.push(" AND position > ").push_bind(joined);
    sql.push(" ORDER BY ").push(number).push(" LIMIT ").push_bind(int(wanted)).push(")");
}

/// The newest message a user may see.
async fn newest(db: &mut MySqlConnection, user: &UserId) -> Result<Option<Snowflake>> {
    let sql = "SELECT c.id, c.last_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND c.last_position > m.joined_position ORDER BY c.last_position DESC LIMIT 1";
    let place: Option<Place> = sqlx::query_as(sql).bind(user.as_str()).fetch_optional(&mut *db).await?;
    let found = messages::at(db, place.as_slice()).await?;
    Ok(found.first().map(|message| message.id))
}

/// A page of changes, the number to go on after, and whether there are more.
async fn changes(db: &mut MySqlConnection, query: &SyncQuery) -> Result<(Vec<Change>, u64, bool)> {
    let latest = u64::try_from(orders::newest(db, Order::Changes).await?).unwrap_or(0);
    let Some(since) = query.since_change else { return Ok((Vec::new(), latest, false)) };
    let changed = changed(db, &query.user, int(since)).await?;
    let wanted = query.limit.saturating_add(1);
    let mut places = lowest(db, Order::Changes, &changed, Between::all_after(int(since)), wanted).await?;
    let more = places.len() > query.limit;
    places.truncate(query.limit);
    let changes = changes_at(db, &places).await?;
    let latest = if more { changes.last().map_or(since, |last| last.change) } else { latest.max(since) };
    Ok((changes, latest, more))
}

async fn changes_at(db: &mut MySqlConnection, places: &[Place]) -> Result<Vec<Change>> {
    let mut found = Vec::with_capacity(places.len());
    for some in runs(places) {
        let mut sql = QueryBuilder::<MySql>::new(
            "SELECT change_number, conversation, message_id, kind, by_user, at_ms FROM changes WHERE ",
        );
        let pairs = some.iter().map(|(number, conversation)| (*conversation, *number));
        push_pairs(&mut sql, "conversation", "change_number", pairs);
        for row in &sql.build().fetch_all(&mut *db).await? {
            found.push(change_row(row)?);
        }
    }
    found.sort_unstable_by_key(|change| change.change);
    Ok(found)
}

fn change_row(row: &MySqlRow) -> Result<Change> {
    Ok(Change {
        change: uint(row, 0)?,
        conversation_id: ConversationId(id(row, 1)?),
        message_id: id(row, 2)?,
        kind: coded(row, 3)?,
        by_user: parsed(row, 4)?,
        at_ms: row.try_get(5)?,
    })
}

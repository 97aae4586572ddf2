//! Sync: what a user missed in all conversations at once, from one snapshot of the database.
//!
//! A page is merged from the conversations that have something newer, a few of them in each query. Each is read only below the
//! highest number that would still be on the page. So a page reads little more than it returns, however long the conversations.

use std::collections::{BTreeSet, BinaryHeap, HashMap};

use model::chat::{Change, ConversationId};
use model::{Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::people::push_people;
use super::sequences::{self, Sequence};
use super::{member_view, messages, push_pairs};
use crate::chat::{SyncPage, SyncQuery};
use crate::mysql::batches::batches;
use crate::mysql::row::{coded, id, int, parsed, uint};
use crate::retention::first_id_of;

/// Conversations of one query.
const CONVERSATIONS_MAX: usize = 16;

/// A conversation of the user and the position after which it is visible.
type VisibleFrom = (i64, i64);
/// A number of an order, and the conversation it belongs to.
type NumberedIn = (i64, i64);

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
    let mut numbers = lowest(db, Sequence::Positions, &newer, Between::all_after(after), wanted).await?;
    let mut more = numbers.len() > query.limit;
    numbers.truncate(query.limit);
    let numbers: Vec<_> = numbers.into_iter().map(|(position, conversation)| (conversation, position)).collect();
    let found = messages::at(db, &numbers).await?;
    let messages = member_view::seen(db, &query.user, found).await?;
    let (changes, latest_change, more_changes) = changes(db, query).await?;
    more |= more_changes;
    let latest_id = match messages.last() {
        Some(last) => Some(last.message.id),
        None if expired => newest(db, &query.user).await?,
        None => query.since,
    };
    Ok(SyncPage { messages, latest_id, changes, latest_change, more, expired })
}

/// Which of these users have messages that came at or after a moment. Not one snapshot of the database: whoever commits
/// meanwhile notifies by itself.
pub(super) async fn reached_since(db: &mut MySqlConnection, users: &[UserId], since_ms: i64) -> Result<Vec<UserId>> {
    let sql = "SELECT position FROM messages WHERE id < ? ORDER BY id DESC LIMIT 1";
    let floor: Option<i64> = sqlx::query_scalar(sql).bind(first_id_of(since_ms)).fetch_optional(&mut *db).await?;
    let mut found = BTreeSet::new();
    for some in batches(users) {
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

/// The position after which the page starts, and whether something before it has expired.
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
    Ok(!lowest(db, Sequence::Positions, &newer, between, 1).await?.is_empty())
}

/// Conversations of the user with messages after a position.
async fn newer(db: &mut MySqlConnection, user: &UserId, after: i64) -> Result<Vec<VisibleFrom>> {
    let sql = "SELECT c.id, m.joined_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND c.last_position > ?";
    sqlx::query_as(sql).bind(user.as_str()).bind(after).fetch_all(db).await
}

/// Conversations of the user with changes after a number.
async fn changed(db: &mut MySqlConnection, user: &UserId, after: i64) -> Result<Vec<VisibleFrom>> {
    let sql = "SELECT m.conversation, m.joined_position FROM members m WHERE m.user_id = ?
         AND (SELECT MAX(c.change_number) FROM changes c WHERE c.conversation = m.conversation) > ?";
    sqlx::query_as(sql).bind(user.as_str()).bind(after).fetch_all(db).await
}

/// The lowest numbers of an order over all of these conversations: as many as wanted, if there are.
async fn lowest(
    db: &mut MySqlConnection,
    order: Sequence,
    own: &[VisibleFrom],
    mut between: Between,
    wanted: usize,
) -> Result<Vec<NumberedIn>> {
    let mut lowest = BinaryHeap::new();
    for some in own.chunks(CONVERSATIONS_MAX).flat_map(batches) {
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

/// Writes the query for a conversation's next numbers.
fn push_next(
    sql: &mut QueryBuilder<MySql>,
    order: Sequence,
    (conversation, joined): VisibleFrom,
    Between { after, before }: Between,
    wanted: usize,
) {
    let (number, table, after) = match order {
        Sequence::Positions => ("position", "messages", after.max(joined)),
        Sequence::Changes => ("change_number", "changes", after),
    };
    sql.push("(SELECT ").push(number).push(", conversation FROM ").push(table);
    sql.push(" WHERE conversation = ").push_bind(conversation);
    sql.push(" AND ").push(number).push(" > ").push_bind(after);
    sql.push(" AND ").push(number).push(" < ").push_bind(before);
    sql.push(" AND position > ").push_bind(joined);
    sql.push(" ORDER BY ").push(number).push(" LIMIT ").push_bind(int(wanted)).push(")");
}

/// The newest message that a user may see.
async fn newest(db: &mut MySqlConnection, user: &UserId) -> Result<Option<Snowflake>> {
    let sql = "SELECT c.id, c.last_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND c.last_position > m.joined_position ORDER BY c.last_position DESC LIMIT 1";
    let number: Option<NumberedIn> = sqlx::query_as(sql).bind(user.as_str()).fetch_optional(&mut *db).await?;
    let found = messages::at(db, number.as_slice()).await?;
    Ok(found.first().map(|message| message.id))
}

/// A page of changes, the number to continue after, and whether there are more.
async fn changes(db: &mut MySqlConnection, query: &SyncQuery) -> Result<(Vec<Change>, u64, bool)> {
    let latest = u64::try_from(sequences::newest(db, Sequence::Changes).await?).unwrap_or(0);
    let Some(since) = query.since_change else { return Ok((Vec::new(), latest, false)) };
    let changed = changed(db, &query.user, int(since)).await?;
    let wanted = query.limit.saturating_add(1);
    let mut numbers = lowest(db, Sequence::Changes, &changed, Between::all_after(int(since)), wanted).await?;
    let more = numbers.len() > query.limit;
    numbers.truncate(query.limit);
    let changes = changes_at(db, &query.user, &numbers).await?;
    let latest = if more { changes.last().map_or(since, |last| last.change) } else { latest.max(since) };
    Ok((changes, latest, more))
}

async fn changes_at(db: &mut MySqlConnection, user: &UserId, numbers: &[NumberedIn]) -> Result<Vec<Change>> {
    let (mut found, mut carried) = (Vec::with_capacity(numbers.len()), Vec::new());
    for some in batches(numbers) {
        let mut sql = QueryBuilder::<MySql>::new(
            "SELECT change_number, conversation, message_id, kind, by_user, at_ms, position FROM changes WHERE ",
        );
        let pairs = some.iter().map(|(number, conversation)| (*conversation, *number));
        push_pairs(&mut sql, "conversation", "change_number", pairs);
        for row in &sql.build().fetch_all(&mut *db).await? {
            let change = change_row(row)?;
            if change.kind.carries_message() {
                carried.push((int(change.conversation_id.0.0), row.try_get::<i64, _>(6)?));
            }
            found.push(change);
        }
    }
    found.sort_unstable_by_key(|change| change.change);
    // A message may be edited and have reactions.
    carried.sort_unstable();
    carried.dedup();
    let messages = messages::at(db, &carried).await?;
    let messages = member_view::seen(db, user, messages).await?;
    let messages: HashMap<_, _> = messages.into_iter().map(|seen| (seen.message.id, seen)).collect();
    for change in found.iter_mut().filter(|change| change.kind.carries_message()) {
        change.message = messages.get(&change.message_id).cloned();
    }
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
        message: None,
    })
}

//! Sync: what a user missed in all conversations at once.
//!
//! A page is merged from the conversations that have something newer. Each is read only below the highest number that would
//! still be on the page. So a page reads little more than it returns, however many conversations there are.

use std::collections::BinaryHeap;

use model::chat::{Change, ConversationId, Seen};
use model::{Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::member_view::MemberView;
use super::{messages, position_of};
use crate::chat::{SyncPage, SyncQuery};
use crate::retention::first_id_of;
use crate::sqlite::code_column::Code;
use crate::sqlite::{column, int, uint};

/// A conversation of the user and the position after which it is visible.
type VisibleFrom = (i64, i64);

pub(super) fn sync(db: &Connection, query: &SyncQuery) -> Result<SyncPage> {
    let (after, expired) = begin(db, query)?;
    let mut positions = merged(db, &newer(db, &query.user, after)?, after, NEXT_POSITIONS, query.limit)?;
    let mut more = positions.len() > query.limit;
    positions.truncate(query.limit);
    let messages = seen(db, &query.user, &positions)?;
    let (changes, latest_change, more_changes) = changes(db, query)?;
    more |= more_changes;
    let latest_id = match messages.last() {
        Some(last) => Some(last.message.id),
        None if expired => newest(db, &query.user)?,
        None => query.since,
    };
    Ok(SyncPage { messages, latest_id, changes, latest_change, more, expired })
}

/// Which of these people have messages that came at or after a moment.
pub(super) fn reached_since(db: &Connection, mut users: Vec<UserId>, since_ms: i64) -> Result<Vec<UserId>> {
    let floor = floor(db, since_ms)?;
    let mut sql = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND c.last_position > MAX(m.joined_position, ?))",
    )?;
    users.sort_unstable();
    users.dedup();
    let mut found = Vec::new();
    for user in users {
        if sql.query_row(params![user.as_str(), floor], |row| row.get(0))? {
            found.push(user);
        }
    }
    Ok(found)
}

/// The position of the last message before a moment.
fn floor(db: &Connection, ms: i64) -> Result<i64> {
    let mut sql = db.prepare_cached("SELECT position FROM messages WHERE id < ? ORDER BY id DESC LIMIT 1")?;
    Ok(sql.query_row([first_id_of(ms)], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The position after which the page starts, and whether something before it has expired.
fn begin(db: &Connection, query: &SyncQuery) -> Result<(i64, bool)> {
    let floor = floor(db, query.not_before_ms)?;
    let Some(since) = query.since else { return Ok((floor, false)) };
    match position_of(db, since)?.map(int) {
        Some(position) if position >= floor => Ok((position, false)),
        Some(position) => Ok((floor, any_between(db, &query.user, position, floor)?)),
        None => Ok((floor, true)),
    }
}

fn any_between(db: &Connection, user: &UserId, after: i64, until: i64) -> Result<bool> {
    let mut sql = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM messages WHERE conversation = ? AND position > ? AND position <= ?)",
    )?;
    for (conversation, joined) in newer(db, user, after)? {
        if sql.query_row([conversation, joined.max(after), until], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Conversations of the user with messages after a position.
fn newer(db: &Connection, user: &UserId, after: i64) -> Result<Vec<VisibleFrom>> {
    let mut sql = db.prepare_cached(
        "SELECT c.id, m.joined_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND c.last_position > ?",
    )?;
    sql.query_map(params![user.as_str(), after], visible_row)?.collect()
}

/// Conversations of the user with changes after a number.
fn changed(db: &Connection, user: &UserId, after: i64) -> Result<Vec<VisibleFrom>> {
    let mut sql = db.prepare_cached(
        "SELECT c.id, m.joined_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? AND c.last_change > ?",
    )?;
    sql.query_map(params![user.as_str(), after], visible_row)?.collect()
}

fn visible_row(row: &Row<'_>) -> Result<VisibleFrom> {
    Ok((row.get(0)?, row.get(1)?))
}

/// A conversation's next positions; the parameters are conversation, joined, after, before, limit.
pub(in crate::sqlite) const NEXT_POSITIONS: &str = "SELECT position FROM messages WHERE conversation = ?1
     AND position > max(?2, ?3) AND position < ?4 ORDER BY position LIMIT ?5";
/// Its next changes, with the same parameters.
pub(in crate::sqlite) const NEXT_CHANGES: &str = "SELECT change FROM changes WHERE conversation = ?1
     AND change > ?3 AND change < ?4 AND position > ?2 ORDER BY change LIMIT ?5";

/// The lowest numbers after `after` over all of these conversations: one more than `limit`, if there are.
fn merged(db: &Connection, own: &[VisibleFrom], after: i64, next: &str, limit: usize) -> Result<Vec<i64>> {
    let wanted = limit.saturating_add(1);
    let mut lowest = BinaryHeap::new();
    let mut sql = db.prepare_cached(next)?;
    for (conversation, joined) in own {
        let full = lowest.len() >= wanted;
        let before = lowest.peek().copied().filter(|_| full).unwrap_or(i64::MAX);
        let mut rows = sql.query(params![conversation, joined, after, before, int(wanted)])?;
        while let Some(row) = rows.next()? {
            lowest.push(row.get(0)?);
            if lowest.len() > wanted {
                lowest.pop();
            }
        }
    }
    Ok(lowest.into_sorted_vec())
}

fn seen(db: &Connection, user: &UserId, positions: &[i64]) -> Result<Vec<Seen>> {
    let mut view = MemberView::new(db, user);
    let found = positions.iter().filter_map(|position| messages::by_position(db, uint(*position)).transpose());
    found.map(|message| view.seen(message?)).collect()
}

/// The newest message that a user may see.
fn newest(db: &Connection, user: &UserId) -> Result<Option<Snowflake>> {
    let mut sql = db.prepare_cached(
        "SELECT max((SELECT max(x.position) FROM messages x
             WHERE x.conversation = m.conversation AND x.position > m.joined_position))
         FROM members m WHERE m.user_id = ?",
    )?;
    let position: Option<i64> = sql.query_row([user.as_str()], |row| row.get(0))?;
    let message = position.map(|position| messages::by_position(db, uint(position))).transpose()?.flatten();
    Ok(message.map(|message| message.id))
}

/// A page of changes, the number to continue after, and whether there are more.
fn changes(db: &Connection, query: &SyncQuery) -> Result<(Vec<Change>, u64, bool)> {
    let mut sql = db.prepare_cached("SELECT coalesce(max(change), 0) FROM changes")?;
    let latest = uint(sql.query_row([], |row| row.get(0))?);
    let Some(since) = query.since_change else { return Ok((Vec::new(), latest, false)) };
    let mut numbers = merged(db, &changed(db, &query.user, int(since))?, int(since), NEXT_CHANGES, query.limit)?;
    let more = numbers.len() > query.limit;
    numbers.truncate(query.limit);
    let mut view = MemberView::new(db, &query.user);
    let changes: Vec<_> = numbers.iter().map(|number| change(db, &mut view, *number)).collect::<Result<_>>()?;
    let latest = if more { changes.last().map_or(since, |last| last.change) } else { latest.max(since) };
    Ok((changes, latest, more))
}

fn change(db: &Connection, view: &mut MemberView<'_>, number: i64) -> Result<Change> {
    let mut sql = db.prepare_cached(
        "SELECT change, conversation, message_id, kind, by_user, at_ms, position FROM changes WHERE change = ?",
    )?;
    let (mut change, position) = sql.query_row([number], |row| {
        let change = Change {
            change: uint(row.get(0)?),
            conversation_id: ConversationId(Snowflake(uint(row.get(1)?))),
            message_id: Snowflake(uint(row.get(2)?)),
            kind: row.get::<_, Code<_>>(3)?.0,
            by_user: column(row, 4)?,
            at_ms: row.get(5)?,
            message: None,
        };
        Ok((change, uint(row.get(6)?)))
    })?;
    if change.kind.carries_message() {
        change.message = messages::by_position(db, position)?.map(|message| view.seen(message)).transpose()?;
    }
    Ok(change)
}

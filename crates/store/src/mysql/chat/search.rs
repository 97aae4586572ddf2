//! Search: a bounded look back through the texts that a user may see. [`crate::search`] says what matches.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::UserId;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::messages::{COLUMNS, columns_at, position_of};
use super::{member, member_view};
use crate::chat::{SearchPage, SearchQuery};
use crate::mysql::batches::batches;
use crate::mysql::row::int;
use crate::search::{SCANNED_MAX, Scan};

/// Conversations of one query; each may answer with [`SCANNED_MAX`] numbers.
const CONVERSATIONS_MAX: usize = 4;
/// Messages read at once; most pages need few of them.
const READ_AT_ONCE: usize = 64;

/// A conversation of the user, the position after which it is visible, and its newest.
type Searched = (i64, i64, i64);

pub(super) async fn search(db: &mut MySqlConnection, query: &SearchQuery) -> Result<Option<SearchPage>> {
    let searched = match query.conversation {
        Some(conversation) => match member(db, conversation, &query.user).await? {
            Some(own) => vec![(int(conversation.0.0), int(own.joined), i64::MAX)],
            None => return Ok(None),
        },
        None => all_of(db, &query.user).await?,
    };
    let before = match query.before {
        // Nothing comes before an unknown message.
        Some(id) => position_of(db, id).await?.unwrap_or(0),
        None => i64::MAX,
    };
    let candidates = newest(db, &searched, before).await?;
    let columns = COLUMNS.replace("x.content", "IF(x.msg_type = 0, x.content, '')");
    let mut scan = Scan::new(&query.text, query.limit);
    'pages: for some in candidates.chunks(READ_AT_ONCE) {
        for message in columns_at(db, &columns, some).await?.into_iter().rev() {
            if !scan.take(message) {
                break 'pages;
            }
        }
    }
    let next = scan.next(candidates.len());
    Ok(Some(SearchPage { messages: member_view::seen(db, &query.user, scan.found).await?, next }))
}

/// The user's conversations, newest activity first.
async fn all_of(db: &mut MySqlConnection, user: &UserId) -> Result<Vec<Searched>> {
    let sql =
        "SELECT c.id, m.joined_position, c.last_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? ORDER BY c.last_position DESC";
    sqlx::query_as(sql).bind(user.as_str()).fetch_all(db).await
}

/// The newest messages before `before` over all of these conversations, newest first, as pairs of conversation and
/// position: at most [`SCANNED_MAX`].
async fn newest(db: &mut MySqlConnection, searched: &[Searched], before: i64) -> Result<Vec<(i64, i64)>> {
    let mut newest = BinaryHeap::new();
    for some in searched.chunks(CONVERSATIONS_MAX).flat_map(batches) {
        let full = newest.len() >= SCANNED_MAX;
        let after = newest.peek().map_or(0, |Reverse((position, _))| *position);
        let after = if full { after } else { 0 };
        if full && some.iter().all(|(_, _, last)| *last <= after) {
            break; // Every later one is older still.
        }
        let mut sql = QueryBuilder::<MySql>::new("");
        for (number, (conversation, joined, _)) in some.iter().enumerate() {
            sql.push(if number == 0 { "" } else { " UNION ALL " });
            sql.push("(SELECT position, conversation FROM messages WHERE conversation = ").push_bind(*conversation);
            sql.push(" AND position > ").push_bind(after.max(*joined));
            sql.push(" AND position < ").push_bind(before);
            sql.push(" ORDER BY position DESC LIMIT ").push_bind(int(SCANNED_MAX)).push(")");
        }
        for row in &sql.build().fetch_all(&mut *db).await? {
            newest.push(Reverse((row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?)));
            if newest.len() > SCANNED_MAX {
                newest.pop();
            }
        }
    }
    let sorted = newest.into_sorted_vec().into_iter();
    Ok(sorted.map(|Reverse((position, conversation))| (conversation, position)).collect())
}

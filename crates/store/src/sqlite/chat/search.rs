//! Search: a bounded look back through the texts that a user may see. [`crate::search`] says what matches.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::chat::ConversationId;
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::member_view::MemberView;
use super::messages::{COLUMNS, message_row};
use super::{member, position_of};
use crate::chat::{SearchPage, SearchQuery};
use crate::search::{SCANNED_MAX, Scan};
use crate::sqlite::int;

/// A conversation of the user, the position after which it is visible, and its newest.
type Searched = (i64, i64, i64);

pub(super) fn search(db: &Connection, query: &SearchQuery) -> Result<Option<SearchPage>> {
    let Some(searched) = searched(db, query)? else { return Ok(None) };
    let before = match query.before {
        // Nothing comes before an unknown message.
        Some(id) => position_of(db, id)?.map_or(0, int),
        None => i64::MAX,
    };
    let candidates = newest(db, &searched, before)?;
    let mut scan = Scan::new(&query.text, query.limit);
    let mut sql = db.prepare_cached(&format!("SELECT {} FROM messages x WHERE x.position = ?", texts_only()))?;
    for position in &candidates {
        let Some(message) = sql.query_row([position], message_row).optional()? else { continue };
        if !scan.take(message) {
            break;
        }
    }
    let next = scan.next(candidates.len());
    let mut view = MemberView::new(db, &query.user);
    let messages = scan.found.into_iter().map(|message| view.seen(message)).collect::<Result<_>>()?;
    Ok(Some(SearchPage { messages, next }))
}

/// The columns, without reading envelopes.
fn texts_only() -> String {
    COLUMNS.replace("x.content", "CASE WHEN x.msg_type = 0 THEN x.content ELSE '' END")
}

/// The conversations to search, newest activity first; `None` when the user is not in the named one.
fn searched(db: &Connection, query: &SearchQuery) -> Result<Option<Vec<Searched>>> {
    if let Some(ConversationId(id)) = query.conversation {
        let own = member(db, ConversationId(id), &query.user)?;
        return Ok(own.map(|own| vec![(int(id.0), int(own.joined), i64::MAX)]));
    }
    let mut sql = db.prepare_cached(
        "SELECT c.id, m.joined_position, c.last_position FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.user_id = ? ORDER BY c.last_position DESC",
    )?;
    let rows = sql.query_map([query.user.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect::<Result<_>>().map(Some)
}

/// The newest positions before `before` over all of these conversations, newest first: at most [`SCANNED_MAX`].
fn newest(db: &Connection, searched: &[Searched], before: i64) -> Result<Vec<i64>> {
    let mut sql = db.prepare_cached(
        "SELECT position FROM messages WHERE conversation = ? AND position > ? AND position < ?
         ORDER BY position DESC LIMIT ?",
    )?;
    let mut newest = BinaryHeap::new();
    for (conversation, joined, last) in searched {
        let full = newest.len() >= SCANNED_MAX;
        let after = newest.peek().map_or(0, |Reverse(oldest)| *oldest).max(0);
        let after = if full { after } else { 0 };
        if full && *last <= after {
            break; // Every later one is older still.
        }
        let mut rows = sql.query(params![conversation, joined.max(&after), before, int(SCANNED_MAX)])?;
        while let Some(row) = rows.next()? {
            newest.push(Reverse(row.get(0)?));
            if newest.len() > SCANNED_MAX {
                newest.pop();
            }
        }
    }
    Ok(newest.into_sorted_vec().into_iter().map(|Reverse(position)| position).collect())
}

//! Messages as one member sees them: their status and who has read them. A page costs three queries at most.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::UserId;
use model::chat::{ConversationId, Cursors, Message, MsgStatus, Recipient, Seen, read_by};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Result};

use super::{push_numbers, reactions};
use crate::mysql::row::{id, uint};

/// Messages of conversations of `user`, in the order given.
pub(super) async fn seen(db: &mut MySqlConnection, user: &UserId, messages: Vec<Arc<Message>>) -> Result<Vec<Seen>> {
    let of = |own: bool| -> BTreeSet<ConversationId> {
        let wanted = messages.iter().filter(|message| (message.from_user == *user) == own);
        wanted.map(|message| message.conversation_id).collect()
    };
    let (own, foreign) = (of(true), of(false));
    let others = cursors(db, "<>", user, &own).await?;
    let reads = cursors(db, "=", user, &foreign).await?;
    let mut given = reactions::of(db, user, &messages).await?;
    let seen = messages.into_iter().map(|message| {
        let my_reactions = given.remove(&message.id).unwrap_or_default();
        Seen { my_reactions, ..seen_one(message, user, &others, &reads) }
    });
    Ok(seen.collect())
}

type Read = HashMap<ConversationId, Vec<Cursors>>;

/// Cursors of the members of these conversations whose id `is` (`=` or `<>`) that of `user`.
async fn cursors(
    db: &mut MySqlConnection,
    is: &'static str,
    user: &UserId,
    of: &BTreeSet<ConversationId>,
) -> Result<Read> {
    let mut read = Read::new();
    if of.is_empty() {
        return Ok(read);
    }
    let mut sql = QueryBuilder::<MySql>::new("SELECT conversation, joined_position, read_position FROM members");
    sql.push(" WHERE user_id ").push(is).push(" ").push_bind(user.as_str().to_owned());
    push_numbers(sql.push(" AND conversation"), of.iter().map(|of| of.0));
    for row in &sql.build().fetch_all(&mut *db).await? {
        let cursors = Cursors { joined: uint(row, 1)?, read: uint(row, 2)? };
        read.entry(ConversationId(id(row, 0)?)).or_default().push(cursors);
    }
    Ok(read)
}

fn seen_one(message: Arc<Message>, user: &UserId, others: &Read, own: &Read) -> Seen {
    let found = |read: &Read| read.get(&message.conversation_id).cloned().unwrap_or_default();
    let (mut status, mut read_count) = (MsgStatus::Delivered, None);
    if message.from_user == *user {
        let (read, seeing) = read_by(message.position, &found(others));
        status = if seeing > 0 && read == seeing { MsgStatus::Read } else { status };
        read_count = matches!(message.to, Recipient::Group(_)).then_some(read);
    } else if found(own).iter().any(|own| message.position <= own.read) {
        status = MsgStatus::Read;
    }
    if message.recalled.is_some() {
        status = MsgStatus::Recalled;
    }
    Seen { message, status, read_count, my_reactions: Vec::new() }
}

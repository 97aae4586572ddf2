//! A message as one member sees it: its status and who has read it.

use std::collections::HashMap;
use std::sync::Arc;

use model::UserId;
use model::chat::{ConversationId, Cursors, Message, MsgStatus, Recipient, Seen, read_by};
use rusqlite::{Connection, Result, params};

use super::{member, reactions};
use crate::sqlite::{int, uint};

/// One member's view. Caches what it reads of a conversation, so that a page reads each conversation once.
pub(super) struct MemberView<'a> {
    db: &'a Connection,
    user: &'a UserId,
    own_read: HashMap<ConversationId, u64>,
    others: HashMap<ConversationId, Vec<Cursors>>,
}

impl<'a> MemberView<'a> {
    pub fn new(db: &'a Connection, user: &'a UserId) -> Self {
        Self { db, user, own_read: HashMap::new(), others: HashMap::new() }
    }

    pub fn seen(&mut self, message: Arc<Message>) -> Result<Seen> {
        let (mut status, read_count) =
            if message.from_user == *self.user { self.own(&message)? } else { (self.others_message(&message)?, None) };
        if message.recalled.is_some() {
            status = MsgStatus::Recalled;
        }
        let my_reactions = reactions::of(self.db, &message, self.user)?;
        Ok(Seen { message, status, read_count, my_reactions })
    }

    fn own(&mut self, message: &Message) -> Result<(MsgStatus, Option<u32>)> {
        let conversation = message.conversation_id;
        if !self.others.contains_key(&conversation) {
            let others = others(self.db, conversation, self.user)?;
            self.others.insert(conversation, others);
        }
        let others = self.others.get(&conversation).map_or(&[][..], Vec::as_slice);
        let (read, seeing) = read_by(message.position, others);
        let status = if seeing > 0 && read == seeing { MsgStatus::Read } else { MsgStatus::Delivered };
        Ok((status, matches!(message.to, Recipient::Group(_)).then_some(read)))
    }

    fn others_message(&mut self, message: &Message) -> Result<MsgStatus> {
        let conversation = message.conversation_id;
        let read = match self.own_read.get(&conversation) {
            Some(read) => *read,
            None => {
                let read = member(self.db, conversation, self.user)?.map_or(0, |own| own.read);
                *self.own_read.entry(conversation).or_insert(read)
            }
        };
        Ok(if message.position <= read { MsgStatus::Read } else { MsgStatus::Delivered })
    }
}

fn others(db: &Connection, conversation: ConversationId, user: &UserId) -> Result<Vec<Cursors>> {
    let mut sql = db
        .prepare_cached("SELECT joined_position, read_position FROM members WHERE conversation = ? AND user_id <> ?")?;
    let cursors = sql.query_map(params![int(conversation.0.0), user.as_str()], |row| {
        Ok(Cursors { joined: uint(row.get(0)?), read: uint(row.get(1)?) })
    })?;
    cursors.collect()
}

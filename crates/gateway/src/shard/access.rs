//! Sockets that may no longer be where they are: restricted rooms, bans, revoked tokens.
//!
//! The shard calls it for what the hub sends. It applies what `ingest` decided and decides nothing itself.

use ingest::{Reader, Refusal};
use model::{Code, Identity, RoomId, RoomSettings, UserId, WireError};

use crate::shard::Shard;

impl Shard {
    /// Removes members who may no longer read the room.
    pub fn restrict_room(&mut self, key: u32, settings: &RoomSettings) {
        let Some(room) = self.rooms.get(&key) else { return };
        let id = room.room.id().clone();
        let members: Vec<u32> = room.members.lists().flat_map(|(_, members)| members).copied().collect();
        for index in members {
            let session = self.conn(index).and_then(|conn| conn.session.clone());
            let who = Reader::from(session.as_ref().map(|session| &session.identity));
            if let Err(refusal) = self.common.services.ingest.may_read_under(who, &id, settings) {
                self.expel(index, key, &id, &refusal.into());
            }
        }
    }

    /// Closes the user's sockets whose token was issued before a moment.
    pub fn revoke(&mut self, user: &UserId, before_ms: i64) {
        for index in self.users.get(user).cloned().unwrap_or_default() {
            let issued_ms = self.conn(index).and_then(|conn| conn.session.as_ref()).map(|s| s.identity.issued_at_ms);
            if issued_ms.is_some_and(|issued_ms| issued_ms < before_ms) {
                self.close(index, 4001, "the token was revoked");
            }
        }
    }

    /// Removes a banned user from a room, or closes all of the user's sockets.
    pub fn ban(&mut self, user: &UserId, room: Option<&RoomId>, until_ms: i64, reason: Option<&str>) {
        let left_ms = until_ms.saturating_sub(self.common.services.clock.now_ms()).max(1).cast_unsigned();
        let slots = self.users.get(user).cloned().unwrap_or_default();
        let message = reason.map_or_else(|| "you are banned".to_owned(), |reason| format!("you are banned: {reason}"));
        for index in slots {
            match room {
                // A kick: nothing to wait for.
                None if until_ms == 0 => self.close(index, 4003, reason.unwrap_or_default()),
                None => self.close(index, 4003, &ban_reason(reason, left_ms)),
                Some(room) => {
                    if let Some(key) = self.member_key(index, room) {
                        let error = WireError::new(Code::Banned, message.clone()).retry_after_ms(left_ms);
                        self.expel(index, key, room, &error);
                    }
                }
            }
        }
    }

    /// Applies bans and revoked tokens to the sockets here, for those whose message was lost or came too early.
    pub fn recheck(&mut self, user: Option<UserId>) {
        let users = user.map_or_else(|| self.users.keys().cloned().collect(), |user| vec![user]);
        let common = self.common.clone();
        for user in users {
            for index in self.users.get(&user).cloned().unwrap_or_default() {
                let Some(session) = self.conn(index).and_then(|conn| conn.session.clone()) else { continue };
                let who = &session.identity;
                match common.services.ingest.may_connect(Reader::User(who)) {
                    Ok(()) => self.recheck_rooms(index, who),
                    Err(Refusal::Unauthorized(reason)) => self.close(index, 4001, reason),
                    Err(refusal) => self.close_banned(index, refusal),
                }
            }
        }
    }

    /// Removes the socket from rooms that this identity may not read.
    pub fn recheck_rooms(&mut self, index: u32, who: &Identity) {
        for (key, id) in self.rooms_of(index) {
            if let Err(refusal) = self.common.services.ingest.may_still_read(Reader::User(who), &id) {
                self.expel(index, key, &id, &refusal.into());
            }
        }
    }

    /// Removes a socket from a room and tells it why.
    fn expel(&mut self, index: u32, key: u32, room: &RoomId, error: &WireError) {
        self.answer_error(index, error, None);
        self.leave(index, key);
        self.answer_left(index, room, None);
        self.flush_answers(index);
    }

    /// The rooms that a socket reads.
    pub fn rooms_of(&mut self, index: u32) -> Vec<(u32, RoomId)> {
        let keys: Vec<u32> =
            self.conn(index).map_or_else(Vec::new, |conn| conn.memberships.iter().map(|m| m.room).collect());
        keys.into_iter().filter_map(|key| Some((key, self.rooms.get(&key)?.room.id().clone()))).collect()
    }

    /// Closes the socket of a user who is banned everywhere.
    pub fn close_banned(&mut self, index: u32, refusal: Refusal) {
        let (left_ms, reason) = match refusal {
            Refusal::Banned { retry_after_ms, reason } => (retry_after_ms, reason),
            _ => (0, None),
        };
        self.flush_answers(index);
        self.close(index, 4003, &ban_reason(reason.as_deref(), left_ms));
    }
}

/// The reason of a close with 4003, as JSON, within the 123 bytes a close may carry.
fn ban_reason(reason: Option<&str>, left_ms: u64) -> String {
    let reason = reason.unwrap_or_default();
    let reason = reason.get(..reason.floor_char_boundary(60)).unwrap_or_default();
    serde_json::json!({ "reason": reason, "retry_after_ms": left_ms }).to_string()
}

//! A socket's memberships in rooms: joining, the answer of the hub, and leaving.
//!
//! Commands and the upgrade call it; the hub answers through the inbox. It keeps three things equal: the hub's streams, the
//! room's member lists here, and the socket's own memberships.

use std::sync::Arc;

use hub::batch::Joined;
use hub::{JoinRequest, Room, StreamId};
use ingest::Reader;
use model::{Identity, RoomId, WireError};
use protocol::handshake::SubProtocol;
use protocol::message::{JoinRoom, ServerMessage};
use serde_json::value::RawValue;

use crate::Services;
use crate::conn::{Conn, Membership, Stage};
use crate::encode;
use crate::shard::Shard;
use crate::shard::inbox::Reply;
use crate::shard::members::ShardRoom;

impl Shard {
    /// Asks the hub to make the socket a member, if it may enter. `room_joined` comes from the hub.
    pub fn join(&mut self, index: u32, who: Option<Identity>, options: JoinRoom, reference: Option<Box<RawValue>>) {
        let previous = self.begin_rejoin(index, &options.room_id);
        let addresses = &self.common.services.addresses;
        let address = self.conns.get(index as usize).and_then(|conn| conn.address);
        let request = JoinRequest {
            conn: self.conn_ref(index),
            user: who.as_ref().map(|who| who.user_id.clone()),
            address: address.filter(|address| !addresses.is_exempt(*address)),
            moderates: false,
            options,
            reference: reference.clone(),
            previous: previous.as_ref().map(|(_, stream)| *stream),
        };
        let common = self.common.clone();
        self.run_async(index, async move {
            match enter(&common.services, who.as_ref(), request).await {
                Ok(()) => Reply::Joined,
                Err(error) => Reply::NotJoined { error, reference, previous },
            }
        });
    }

    /// Marks the membership that a join replaces. Until the reply, the hub takes it out of its stream.
    fn begin_rejoin(&mut self, index: u32, room: &RoomId) -> Option<(Arc<Room>, StreamId)> {
        let key = self.member_key(index, room)?;
        let room = self.rooms.get(&key)?.room.clone();
        let membership = self.conn(index)?.memberships.iter_mut().find(|m| m.room == key)?;
        membership.rejoining = true;
        Some((room, membership.stream))
    }

    /// The hub has made a socket a member: the room's next batches are for it.
    pub fn joined(&mut self, joined: &Joined) {
        let Joined { conn, room, stream, .. } = joined;
        let Some(index) =
            self.index_of(*conn).filter(|index| self.conns.get(*index as usize).is_some_and(Conn::may_join))
        else {
            room.leave(*stream, self.id);
            return;
        };
        if let Err(error) = self.check_access(index, room) {
            room.leave(*stream, self.id);
            self.leave(index, room.key());
            return self.join_refused(index, &error, None, None);
        }
        let by_query = self.upgrade(index) || self.deferred_joins.remove(conn).is_some();
        self.add_member(index, joined, by_query);
        encode::joined_frame(joined, self.protocol(index), &mut self.answers);
        self.counters.frames_out += 1;
        self.flush_answers(index);
    }

    /// A ban may have come between the request and the answer.
    fn check_access(&self, index: u32, room: &Room) -> Result<(), WireError> {
        let who = Reader::from(self.conns.get(index as usize).and_then(Conn::identity));
        Ok(self.common.services.ingest.may_still_read(who, room.id())?)
    }

    /// A join was refused: the socket keeps the membership it had.
    pub fn join_refused(
        &mut self,
        index: u32,
        error: &WireError,
        reference: Option<&RawValue>,
        previous: Option<(Arc<Room>, StreamId)>,
    ) {
        if let Some((room, stream)) = previous {
            let membership =
                self.conn(index).and_then(|conn| conn.memberships.iter_mut().find(|m| m.room == room.key()));
            match membership {
                Some(membership) => membership.rejoining = false,
                None => room.leave(stream, self.id),
            }
        }
        match self.conn(index).map(|conn| &conn.stage) {
            Some(Stage::Upgrading(_)) => self.refuse_upgrade(index, error),
            Some(Stage::Open) => {
                self.answer_error(index, error, reference);
                self.flush_answers(index);
            }
            _ => {}
        }
    }

    /// Adds the socket to the member list of its stream.
    fn add_member(&mut self, index: u32, joined: &Joined, by_query: bool) {
        let key = joined.room.key();
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let before = conn.memberships.iter().position(|m| m.room == key).map(|i| conn.memberships.swap_remove(i));
        let by_query = by_query || before.is_some_and(|m| m.by_query);
        let list = (joined.stream, conn.form);
        let mut credit = joined.credit;
        if let Some(before) = before {
            // What an earlier join settled stays settled.
            let settled = self.rooms.get(&key).and_then(|room| room.credits.get(&index)).map_or(0, |c| c.first_arrival);
            credit.first_arrival = credit.first_arrival.max(settled);
            self.remove_member(index, &before);
        }
        let room = self.rooms.entry(key).or_insert_with(|| ShardRoom::new(joined.room.clone()));
        let list_index = room.members.add(list, index);
        if !credit.is_none() {
            room.credits.insert(index, credit);
        }
        let membership = Membership { room: key, stream: joined.stream, list_index, by_query, rejoining: false };
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.memberships.push(membership);
        }
    }

    /// Takes the socket out of a room.
    pub fn leave(&mut self, index: u32, key: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Some(i) = conn.memberships.iter().position(|m| m.room == key) else { return };
        let membership = conn.memberships.swap_remove(i);
        let room = self.rooms.get(&key).map(|room| room.room.clone());
        self.remove_member(index, &membership);
        if let Some(room) = room.filter(|_| !membership.rejoining) {
            room.leave(membership.stream, self.id);
        }
    }

    /// Takes the socket out of every room, and tells it so.
    pub fn leave_all(&mut self, index: u32) {
        for (key, id) in self.rooms_of(index) {
            self.leave(index, key);
            self.answer_left(index, &id, None);
        }
    }

    /// Removes the socket from its member list, and the room when it has no member here any more.
    fn remove_member(&mut self, index: u32, membership: &Membership) {
        let Membership { room: key, stream, list_index, .. } = *membership;
        let Some(form) = self.conns.get(index as usize).map(|conn| conn.form) else { return };
        let Some(room) = self.rooms.get_mut(&key) else { return };
        room.credits.remove(&index);
        let moved = room.members.remove((stream, form), list_index);
        if room.members.is_empty() {
            self.rooms.remove(&key);
        }
        let moved = moved.and_then(|slot| self.conns.get_mut(slot as usize));
        if let Some(moved) = moved.and_then(|conn| conn.memberships.iter_mut().find(|m| m.room == key)) {
            moved.list_index = list_index;
        }
    }

    /// Writes batches to the socket in another sub-protocol from the next one on.
    pub fn change_protocol(&mut self, index: u32, protocol: SubProtocol) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let before = conn.form;
        conn.form.protocol = protocol;
        let (after, memberships) = (conn.form, conn.memberships.clone());
        for Membership { room: key, stream, list_index, .. } in memberships {
            let Some(room) = self.rooms.get_mut(&key) else { continue };
            let added_at = room.members.add((stream, after), index);
            let moved = room.members.remove((stream, before), list_index);
            for (slot, list_index) in moved.map(|slot| (slot, list_index)).into_iter().chain([(index, added_at)]) {
                let conn = self.conns.get_mut(slot as usize);
                if let Some(member) = conn.and_then(|conn| conn.memberships.iter_mut().find(|m| m.room == key)) {
                    member.list_index = list_index;
                }
            }
        }
    }

    pub fn answer_left(&mut self, index: u32, room: &RoomId, reference: Option<&RawValue>) {
        self.answer(index, &ServerMessage::RoomLeft { room_id: room }, reference);
    }
}

/// Joins the room at the hub if the rules let `who` in.
async fn enter(services: &Services, who: Option<&Identity>, request: JoinRequest) -> Result<(), WireError> {
    services.ingest.may_read(who.into(), &request.options.room_id).await?;
    let moderates = services.ingest.sees_shadows(who.into(), &request.options.room_id);
    services.hub.join(JoinRequest { moderates, ..request }).await
}

//! `join_room` and `leave_room`, and a socket's places in rooms.

use std::sync::Arc;

use model::{Code, Identity, RoomId, WireError};
use protocol::message::{JoinRoom, ServerMessage};
use room::batch::{ConnRef, Joined};
use room::hub::StreamId;
use room::{HubRoom, JoinRequest};
use serde_json::value::RawValue;

use crate::Services;
use crate::conn::{Membership, Stage};
use crate::inbox::Reply;
use crate::members::ShardRoom;
use crate::shard::Shard;
use crate::upgrade::unauthorized;

impl Shard {
    pub(super) fn join_room(&mut self, index: u32, options: JoinRoom, reference: Option<&RawValue>) {
        let settings = &self.common.services.settings;
        let (anonymous_read, rooms_max) = (settings.anonymous_read, settings.rooms_per_connection);
        let member = self.key_of(index, &options.room_id).is_some();
        let Some(conn) = self.conn(index) else { return };
        let identity = conn.session.as_ref().map(|session| session.identity.clone());
        if identity.is_none() && !anonymous_read {
            return self.answer_error(index, &unauthorized(), reference);
        }
        if !member && conn.memberships.len() >= rooms_max {
            let error = WireError::new(Code::RateLimited, format!("one socket may read {rooms_max} rooms"));
            return self.answer_error(index, &error, reference);
        }
        self.join(index, identity, options, reference.map(RawValue::to_owned));
    }

    /// Asks the hub to make the socket a member, if it may enter; `room_joined` comes from the hub.
    pub fn join(&mut self, index: u32, who: Option<Identity>, options: JoinRoom, reference: Option<Box<RawValue>>) {
        let previous = self.begin_move(index, &options.room_id);
        let conn = self.reference(index);
        let Some(found) = self.conn(index) else { return };
        let form = found.form;
        self.joining.insert(conn, form);
        let request = JoinRequest {
            conn,
            form,
            user: who.as_ref().map(|who| who.user_id.clone()),
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

    /// From here until the reply the hub answers for the place the socket has in the room.
    fn begin_move(&mut self, index: u32, room: &RoomId) -> Option<(Arc<HubRoom>, StreamId)> {
        let key = self.key_of(index, room)?;
        let hub_room = self.rooms.get(&key)?.room.clone();
        let membership = self.conn(index)?.memberships.iter_mut().find(|m| m.room == key)?;
        membership.moving = true;
        Some((hub_room, membership.stream))
    }

    /// A join was refused: the socket stays where it was.
    pub fn not_joined(
        &mut self,
        index: u32,
        error: &WireError,
        reference: Option<&RawValue>,
        previous: Option<(Arc<HubRoom>, StreamId)>,
    ) {
        if let Some((room, stream)) = previous {
            let membership =
                self.conn(index).and_then(|conn| conn.memberships.iter_mut().find(|m| m.room == room.key()));
            match membership {
                Some(membership) => membership.moving = false,
                None => self.leave_hub(self.reference(index), &room, stream),
            }
        }
        match self.conn(index).map(|conn| &conn.stage) {
            Some(Stage::Upgrading(_)) => self.refuse(index, error),
            Some(Stage::Open) => {
                self.answer_error(index, error, reference);
                self.flush_answers(index);
            }
            _ => {}
        }
    }

    /// Puts the socket into the list of its stream.
    pub fn enter(&mut self, index: u32, joined: &Joined, by_query: bool) {
        let key = joined.room.key();
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let before = conn.memberships.iter().position(|m| m.room == key).map(|i| conn.memberships.swap_remove(i));
        let by_query = by_query || before.is_some_and(|m| m.by_query);
        let list = (joined.stream, conn.form);
        if let Some(before) = before {
            self.strike_off(index, &before);
        }
        let room = self.rooms.entry(key).or_insert_with(|| ShardRoom::new(joined.room.clone()));
        let place = room.roster.add(list, index);
        if joined.credit > 0 {
            room.credits.insert(index, joined.credit);
        }
        let membership = Membership { room: key, stream: joined.stream, place, by_query, moving: false };
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.memberships.push(membership);
        }
    }

    /// Takes the socket out of a room.
    pub fn leave(&mut self, index: u32, key: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Some(i) = conn.memberships.iter().position(|m| m.room == key) else { return };
        let membership = conn.memberships.swap_remove(i);
        let form = conn.form;
        let room = self.rooms.get(&key).map(|room| room.room.clone());
        self.strike_off(index, &membership);
        if let Some(room) = room.filter(|_| !membership.moving) {
            room.leave(membership.stream, form, self.id);
        }
    }

    /// Takes the socket off its list, and forgets the room when nobody here reads it any more.
    fn strike_off(&mut self, index: u32, membership: &Membership) {
        let Membership { room: key, stream, place, .. } = *membership;
        let Some(form) = self.conns.get(index as usize).map(|conn| conn.form) else { return };
        let Some(room) = self.rooms.get_mut(&key) else { return };
        room.credits.remove(&index);
        let moved = room.roster.remove((stream, form), place);
        if room.roster.is_empty() {
            self.rooms.remove(&key);
        }
        let moved = moved.and_then(|seat| self.conns.get_mut(seat as usize));
        if let Some(moved) = moved.and_then(|conn| conn.memberships.iter_mut().find(|m| m.room == key)) {
            moved.place = place;
        }
    }

    pub(super) fn leave_room(&mut self, index: u32, room: &RoomId, reference: Option<&RawValue>) {
        if let Some(key) = self.key_of(index, room) {
            self.leave(index, key);
        }
        self.answer_left(index, room, reference);
    }

    pub fn answer_left(&mut self, index: u32, room: &RoomId, reference: Option<&RawValue>) {
        self.answer(index, &ServerMessage::RoomLeft { room_id: room }, reference);
    }

    /// Tells the hub that a stream it made a socket a member of has one less: the socket is gone.
    pub fn leave_hub(&self, conn: ConnRef, room: &HubRoom, stream: StreamId) {
        if let Some(form) = self.joining.get(&conn) {
            room.leave(stream, *form, self.id);
        }
    }
}

/// Enters a room if the rules let `who` in.
async fn enter(services: &Services, who: Option<&Identity>, request: JoinRequest) -> Result<(), WireError> {
    let room = &request.options.room_id;
    services.ingest.rooms.may_enter(who, room).await?;
    if let Some(who) = who {
        services.ingest.bans.may_enter(&who.user_id, room, services.clock.now_ms())?;
    }
    services.hub.join(request).await
}

//! `login` and `logout`: who is on the socket changes.

use model::{Code, DeviceId, WireError};
use protocol::message::ServerMessage;
use serde_json::value::RawValue;

use crate::conn::HANDSHAKE_S;
use crate::shard::Shard;

impl Shard {
    /// A token renews the session, or brings somebody else, who starts without any room.
    pub(super) fn login(&mut self, index: u32, token: &str, device: Option<&str>, reference: Option<&RawValue>) {
        let common = self.common.clone();
        let services = &common.services;
        let device = match device.map(DeviceId::new).transpose() {
            Ok(device) => device,
            Err(error) => return self.answer_error(&WireError::invalid(error.to_string()), reference),
        };
        let identity = match services.tokens.verify(token, services.clock.now_ms()) {
            Ok(identity) => identity,
            Err(error) => return self.answer_error(&WireError::new(Code::Unauthorized, error.to_string()), reference),
        };
        if let Err(refusal) = services.ingest.bans.may_connect(&identity.user_id, services.clock.now_ms()) {
            let error = WireError::from(refusal);
            self.answer_error(&error, reference);
            return self.close(index, 4003, &error.message);
        }
        let before = self.conn(index).and_then(|conn| conn.session.clone());
        let same = before.as_ref().filter(|before| before.identity.user_id == identity.user_id);
        let device = device.or_else(|| same.and_then(|before| before.device.clone()));
        if before.is_some() && same.is_none() {
            self.leave_all(index);
            self.stand_up(index);
        }
        self.sit(index, identity, device, reference);
    }

    /// The socket becomes anonymous and leaves its rooms: which of them anybody may read is not known here.
    pub(super) fn logout(&mut self, index: u32, reference: Option<&RawValue>) {
        self.leave_all(index);
        self.stand_up(index);
        self.answer(&ServerMessage::LoggedOut {}, reference);
        if !self.common.services.settings.anonymous_read {
            let by = self.now + HANDSHAKE_S;
            if let Some(conn) = self.conn(index) {
                conn.authorize_by = by;
            }
            self.schedule(index);
        }
    }

    fn leave_all(&mut self, index: u32) {
        let rooms: Vec<u32> =
            self.conn(index).map_or_else(Vec::new, |conn| conn.memberships.iter().map(|m| m.room).collect());
        for key in rooms {
            let id = self.rooms.get(&key).map(|room| room.room.id().clone());
            self.leave(index, key);
            if let Some(id) = id {
                self.answer_left(&id, None);
            }
        }
    }
}

//! `login` and `logout`: who is on the socket changes.

use ingest::Refusal;
use model::{Code, DeviceId, WireError};
use protocol::message::ServerMessage;
use serde_json::value::RawValue;

use crate::shard::{Shard, ban_reason};

impl Shard {
    /// Closes the socket of somebody who is banned everywhere.
    pub fn close_banned(&mut self, index: u32, refusal: Refusal) {
        let (left_ms, reason) = match refusal {
            Refusal::Banned { retry_after_ms, reason } => (retry_after_ms, reason),
            _ => (0, None),
        };
        self.flush_answers(index);
        self.close(index, 4003, &ban_reason(reason.as_deref(), left_ms));
    }

    /// A token renews the session, or brings somebody else, who starts without any room.
    pub(super) fn login(&mut self, index: u32, token: &str, device: Option<&str>, reference: Option<&RawValue>) {
        let common = self.common.clone();
        let services = &common.services;
        let device = match device.map(DeviceId::new).transpose() {
            Ok(device) => device,
            Err(error) => return self.answer_error(index, &WireError::invalid(error.to_string()), reference),
        };
        let identity = match services.tokens.verify(token, services.clock.now_ms()) {
            Ok(identity) => identity,
            Err(error) => {
                return self.answer_error(index, &WireError::new(Code::Unauthorized, error.to_string()), reference);
            }
        };
        if let Err(refusal) = services.ingest.bans.may_connect(&identity.user_id, services.clock.now_ms()) {
            self.answer_error(index, &refusal.clone().into(), reference);
            return self.close_banned(index, refusal);
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
        self.answer(index, &ServerMessage::LoggedOut {}, reference);
        if !self.common.services.settings.anonymous_read {
            let by = self.now + self.common.services.settings.login_s;
            if let Some(conn) = self.conn(index) {
                conn.authorize_by = by;
            }
            self.schedule(index);
        }
    }

    fn leave_all(&mut self, index: u32) {
        for (key, id) in self.rooms_of(index) {
            self.leave(index, key);
            self.answer_left(index, &id, None);
        }
    }
}

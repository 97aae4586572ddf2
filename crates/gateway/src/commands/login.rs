//! `login` and `logout`: the session of a socket changes.

use ingest::Reader;
use model::{Code, DeviceId, WireError};
use protocol::message::ServerMessage;

use crate::shard::CommandCx;

/// A token renews the session, or begins another user's, which starts without any room.
pub(super) fn login(cx: &mut CommandCx<'_>, token: &str, device: Option<&str>) {
    let common = cx.common();
    let services = &common.services;
    let device = match device.map(DeviceId::new).transpose() {
        Ok(device) => device,
        Err(error) => return cx.answer_error(&WireError::invalid(error.to_string())),
    };
    let identity = match services.ingest.identify(token) {
        Ok(identity) => identity,
        Err(error) => return cx.answer_error(&WireError::new(Code::Unauthorized, error.to_string())),
    };
    if let Err(refusal) = services.ingest.may_connect(Reader::User(&identity)) {
        cx.answer_error(&refusal.clone().into());
        return cx.close_banned(refusal);
    }
    let before = cx.session();
    let same = before.as_ref().filter(|before| before.identity.user_id == identity.user_id);
    let device = device.or_else(|| same.and_then(|before| before.device.clone()));
    let mut permit = None;
    if same.is_none() {
        permit = match cx.socket_permit(&identity.user_id) {
            Ok(permit) => Some(permit),
            Err(error) => return cx.answer_error(&error),
        };
        if before.is_some() {
            cx.end_session();
        }
    }
    cx.begin_session(identity.clone(), device, permit);
    // The new token may name fewer rooms.
    cx.recheck_rooms(&identity);
}

/// The socket becomes anonymous and leaves its rooms, because it may have entered some only as this user.
pub(super) fn logout(cx: &mut CommandCx<'_>) {
    cx.end_session();
    cx.answer(&ServerMessage::LoggedOut {});
    if !cx.services().ingest.anonymous_read {
        cx.set_login_deadline();
    }
}

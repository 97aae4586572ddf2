//! `join_room`: how many rooms a socket may read.

use model::WireError;
use protocol::message::JoinRoom;

use crate::shard::CommandCx;

/// [`CommandCx::join`] asks whether the user may enter the room.
pub(super) fn join_room(cx: &mut CommandCx<'_>, options: JoinRoom) {
    let rooms_max = cx.services().settings.sockets.rooms_per_socket_max;
    let session = cx.session();
    if !cx.is_member(&options.room_id) && cx.rooms_joined() >= rooms_max {
        // No time helps: the client leaves a room, or opens another socket.
        return cx.answer_error(&WireError::invalid(format!("one socket may read {rooms_max} rooms: leave one first")));
    }
    cx.join(session.map(|session| session.identity.clone()), options);
}

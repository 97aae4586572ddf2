//! What a channel's name means: a room, and who may subscribe.

use model::RoomId;

/// Who may subscribe to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody who may read the room without an identity.
    Public,
    /// Whom the back end has signed for.
    Private,
    /// The same, by name.
    Presence,
}

/// A channel over a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChannelName {
    pub access: Access,
    pub room: RoomId,
}

impl ChannelName {
    /// Reads a name; `None` when it names no room.
    pub fn parse(name: &str) -> Option<Self> {
        let (access, room) =
            [("private-room-", Access::Private), ("presence-room-", Access::Presence), ("room-", Access::Public)]
                .into_iter()
                .find_map(|(prefix, access)| Some((access, name.strip_prefix(prefix)?)))?;
        Some(Self { access, room: RoomId::new(room).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_room_and_access() {
        for (name, access, room) in [
            ("room-lobby", Access::Public, "lobby"),
            ("private-room-a-b", Access::Private, "a-b"),
            ("presence-room-room-1", Access::Presence, "room-1"),
        ] {
            let parsed = ChannelName::parse(name).expect(name);
            assert_eq!((parsed.access, parsed.room.as_str()), (access, room));
        }
        for other in ["lobby", "private-lobby", "room-", "private-encrypted-room-x", "room-a b", "Room-x", ""] {
            assert_eq!(ChannelName::parse(other), None, "{other}");
        }
    }
}

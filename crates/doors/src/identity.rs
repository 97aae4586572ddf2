//! Who stands at a door: a token's holder, or on a development server whoever the door's own field names.

use api::Services;
use ingest::Reader;
use model::{Identity, Level, RoomId, UserId, WireError};

/// The holder of a token, unless banned everywhere.
///
/// # Errors
/// Why the token is refused, or `banned`.
pub(crate) fn by_token(app: &Services, token: &str) -> Result<Identity, WireError> {
    let who = app.ingest.identify(token)?;
    app.ingest.may_connect(Reader::User(&who))?;
    Ok(who)
}

/// Who a field of the door's own protocol names: believed on a development server alone.
pub(crate) fn by_name(app: &Services, name: &str) -> Option<Identity> {
    let user_id = UserId::new(name).ok().filter(|_| app.settings.dev)?;
    Some(app.ingest.believe(user_id, None, Level::Normal))
}

/// Somebody for whom the operator's back end vouches in a room.
pub(crate) fn vouched(
    app: &Services,
    user_id: UserId,
    username: Option<&str>,
    level: Level,
    room: &RoomId,
) -> Identity {
    Identity { rooms: Some([room.clone()].into()), ..app.ingest.believe(user_id, username, level) }
}

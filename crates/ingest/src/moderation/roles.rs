//! Roles in a room: given and taken by its owner or an admin.

use model::moderation::{ROLES_MAX, RoomRole};
use model::{RoomId, RoomSettings, UserId};
use serde::{Deserialize, Serialize};

use super::{ModerationError, ModerationResult, Moderator};
use crate::Ingest;
use crate::rights::Action;

/// A role that somebody has in a room, or is to have: the body of `PUT /admin/roles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RoleGiven {
    /// Who.
    pub user_id: UserId,
    /// Where.
    pub room_id: RoomId,
    /// Which; null takes it.
    pub role: Option<RoomRole>,
}

impl Ingest {
    /// The roles given in a room, by user.
    ///
    /// # Errors
    /// When this moderator may not see them.
    pub async fn roles(&self, who: &Moderator, room: &RoomId) -> ModerationResult<Vec<RoleGiven>> {
        self.authorise_action(who, Some(room), Action::Moderate).await?;
        let settings = self.rooms.info(room).await?.settings.clone();
        let given = |(user, role): (&UserId, &RoomRole)| RoleGiven {
            user_id: user.clone(),
            room_id: room.clone(),
            role: Some(*role),
        };
        Ok(settings.roles.iter().map(given).collect())
    }

    /// The roles given in all rooms that the store lists, at most `limit` rooms.
    ///
    /// # Errors
    /// When this moderator may not see them.
    pub async fn all_roles(&self, who: &Moderator, limit: usize) -> ModerationResult<Vec<RoleGiven>> {
        self.authorise_somewhere(who).await?;
        let scope = self.scope(who).await?;
        let mut roles = Vec::new();
        for row in self.store.rooms_of(&scope, limit).await? {
            // Who is but a helper or an auditor there sees none.
            if let Ok(of_room) = self.roles(who, &row.room_id).await {
                roles.extend(of_room);
            }
        }
        Ok(roles)
    }

    /// Gives a role, or takes it.
    ///
    /// # Errors
    /// When there are too many, or this moderator may not.
    pub async fn give_role(&self, who: &Moderator, given: &RoleGiven) -> ModerationResult<()> {
        let RoleGiven { user_id, room_id, role } = given;
        self.authorise_action(who, Some(room_id), Action::GiveRoles).await?;
        let full = self.rooms.info(room_id).await?.settings.roles.len() >= ROLES_MAX;
        if full && role.is_some() {
            return Err(ModerationError::Invalid(format!("a room has at most {ROLES_MAX} roles")));
        }
        let change = |settings: &RoomSettings| {
            let mut settings = settings.clone();
            match role {
                Some(role) => settings.roles.insert(user_id.clone(), *role),
                None => settings.roles.remove(user_id),
            };
            Ok(settings)
        };
        self.rooms.change(room_id, change).await?;
        self.access_changes.notify();
        let (action, detail) = match role {
            Some(role) => ("role.give", Some(role.as_str().into())),
            None => ("role.take", None),
        };
        self.audit(who, action, Some(room_id), user_id.to_string(), detail).await
    }
}

//! Groups and who belongs to them.

use model::chat::{Group, GroupId, GroupMember, GroupRole};
use model::{Identity, UserId};

use crate::{Chat, Result};

pub(crate) struct Groups;

/// A page of a group's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// By id.
    pub members: Vec<GroupMember>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<UserId>,
}

impl Chat {
    /// Makes a group that `who` owns.
    ///
    /// # Errors
    /// [`crate::ChatError::Invalid`] or `content_*` for the name, [`crate::ChatError::GroupFull`], [`crate::ChatError::Unavailable`].
    pub async fn create_group(&self, who: &Identity, name: &str, members: Vec<UserId>) -> Result<GroupId> {
        let _ = (who, name, members);
        unimplemented!()
    }

    /// A group, for a member.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn group(&self, who: &Identity, group: GroupId) -> Result<Group> {
        let _ = (who, group);
        unimplemented!()
    }

    /// Members by id after `after`; `limit` 1–500, by default 100.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Invalid`], [`crate::ChatError::Unavailable`].
    pub async fn group_members(
        &self,
        who: &Identity,
        group: GroupId,
        after: Option<UserId>,
        limit: Option<usize>,
    ) -> Result<MemberPage> {
        let _ = (who, group, after, limit);
        unimplemented!()
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// As [`Chat::create_group`], [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`].
    pub async fn rename_group(&self, who: &Identity, group: GroupId, name: &str) -> Result<()> {
        let _ = (who, group, name);
        unimplemented!()
    }

    /// Adds people; returns those who were not in it.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::GroupFull`] (then nobody was added), [`crate::ChatError::Unavailable`].
    pub async fn add_members(&self, who: &Identity, group: GroupId, users: Vec<UserId>) -> Result<Vec<UserId>> {
        let _ = (who, group, users);
        unimplemented!()
    }

    /// Removes a member, or leaves.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn remove_member(&self, who: &Identity, group: GroupId, user: UserId) -> Result<()> {
        let _ = (who, group, user);
        unimplemented!()
    }

    /// Gives a member another role; the role owner hands the group over.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn set_role(&self, who: &Identity, group: GroupId, user: UserId, role: GroupRole) -> Result<()> {
        let _ = (who, group, user, role);
        unimplemented!()
    }

    /// Ends a group.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn close_group(&self, who: &Identity, group: GroupId) -> Result<()> {
        let _ = (who, group);
        unimplemented!()
    }
}

//! Groups: what members may do, and who is notified.
//!
//! Owns this node's cache of members; the store decides by roles. Called by the gateway, the API and
//! [`crate::message_writer`].

use std::sync::Arc;

use ahash::HashMap;
use fanout::{Notice, Sockets};
use model::chat::{
    GROUP_NAME_CHARS_MAX, Group, GroupDone, GroupId, GroupMember, GroupRole, GroupWish, Message, MsgType, Recipient,
};
use model::{Identity, UserId};
use parking_lot::Mutex;
use state::Rate;
use store::chat::{ChatStore, GroupAnswer, Membership, NewGroup};

use crate::{Chat, ChatError, Result, page_limit};

const HOUR_MS: u32 = 3_600_000;
/// Members of all cached groups together; beyond it some group leaves the cache.
const CACHED_MEMBERS_MAX: usize = 200_000;

/// Caches the members of active groups, so that a message to five hundred people reads no five hundred rows. A snapshot
/// counts only while its version is the store's, which every stored message carries: nobody who was removed is notified,
/// and nobody who joined later.
pub(crate) struct Groups {
    store: Arc<dyn ChatStore>,
    cache: Mutex<MemberCache>,
}

#[derive(Default)]
struct MemberCache {
    groups: HashMap<GroupId, Arc<MemberSnapshot>>,
    /// Members of all of them.
    members: usize,
}

/// A group's members at one version.
pub(crate) struct MemberSnapshot {
    version: u64,
    pub members: Arc<[UserId]>,
    joined: Box<[u64]>,
    last_joined: u64,
}

impl From<Membership> for MemberSnapshot {
    fn from(Membership { version, members }: Membership) -> Self {
        let last_joined = members.iter().map(|(_, joined)| *joined).max().unwrap_or(0);
        let (members, joined): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        Self { version, members: members.into(), joined: joined.into(), last_joined }
    }
}

impl MemberSnapshot {
    /// The members who may see the message at a position.
    pub fn readers(&self, position: u64) -> Arc<[UserId]> {
        if position > self.last_joined {
            return self.members.clone();
        }
        let sees = self.members.iter().zip(&self.joined).filter(|(_, joined)| **joined < position);
        sees.map(|(user, _)| user.clone()).collect()
    }
}

impl MemberCache {
    fn put(&mut self, group: GroupId, snapshot: Arc<MemberSnapshot>) {
        if snapshot.members.is_empty() || self.groups.get(&group).is_some_and(|known| known.version > snapshot.version)
        {
            return;
        }
        self.forget(group);
        self.members += snapshot.members.len();
        self.groups.insert(group, snapshot);
        while self.members > CACHED_MEMBERS_MAX
            && let Some(some) = self.groups.keys().find(|other| **other != group).copied()
        {
            self.forget(some);
        }
    }

    fn forget(&mut self, group: GroupId) {
        if let Some(snapshot) = self.groups.remove(&group) {
            self.members -= snapshot.members.len();
        }
    }
}

impl Groups {
    pub fn new(store: Arc<dyn ChatStore>) -> Self {
        Self { store, cache: Mutex::default() }
    }

    /// Who is notified of a message. Nobody is when a group's members cannot be read: everybody finds the message at the
    /// next sync.
    pub async fn readers_of(&self, message: &Message, version: Option<u64>) -> Arc<[UserId]> {
        match &message.to {
            Recipient::User(other) => Arc::new([message.from_user.clone(), other.clone()]),
            Recipient::Group(group) => self.readers(*group, version, message.position).await.unwrap_or_default(),
        }
    }

    /// Who may see a message to the group at `version`; without a version the group is read.
    async fn readers(&self, group: GroupId, version: Option<u64>, position: u64) -> Result<Arc<[UserId]>> {
        let cached = self.cache.lock().groups.get(&group).cloned();
        let snapshot = match cached.filter(|snapshot| Some(snapshot.version) == version) {
            Some(snapshot) => snapshot,
            None => self.load(group).await?,
        };
        Ok(snapshot.readers(position))
    }

    /// A group's members as far as this node knows: for notices that nobody stores.
    pub async fn members(&self, group: GroupId) -> Result<Arc<MemberSnapshot>> {
        let cached = self.cache.lock().groups.get(&group).cloned();
        match cached {
            Some(snapshot) => Ok(snapshot),
            None => self.load(group).await,
        }
    }

    /// Reads a group. It may have changed since the message was stored: who joined since does not see it, who left since
    /// is not notified.
    async fn load(&self, group: GroupId) -> Result<Arc<MemberSnapshot>> {
        let snapshot = Arc::new(MemberSnapshot::from(self.store.membership(group).await?));
        self.cache.lock().put(group, snapshot.clone());
        Ok(snapshot)
    }

    fn forget(&self, group: GroupId) {
        self.cache.lock().forget(group);
    }
}

/// A group that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroupMembers {
    /// Its id.
    pub id: GroupId,
    /// Who was left out: people who block its maker or, if that is configured, have never written to its maker.
    pub not_added: Vec<UserId>,
}

/// A page of a group's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// By id.
    pub members: Vec<GroupMember>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<UserId>,
}

const NO_GROUP: ChatError = ChatError::NotFound("group");

impl Chat {
    /// Makes a group that `who` owns.
    ///
    /// # Errors
    /// [`crate::ChatError::Invalid`] or `content_*` for the name, [`crate::ChatError::GroupFull`], [`crate::ChatError::Limited`],
    /// [`crate::ChatError::Unavailable`].
    pub async fn create_group(&self, who: &Identity, name: &str, members: Vec<UserId>) -> Result<NewGroupMembers> {
        self.limit_action(who).await?;
        let name = self.group_name(who, name)?;
        let members_max = self.parts.settings.group_members_max;
        let mut others: Vec<UserId> = members.into_iter().filter(|user| *user != who.user_id).collect();
        others.sort_unstable();
        others.dedup();
        if others.len() >= members_max as usize {
            return Err(ChatError::GroupFull { members_max });
        }
        self.limit("groups", who.user_id.as_str(), Rate::per(self.parts.settings.groups_per_hour, HOUR_MS)).await?;
        let (others, not_added) = self.split_addable(who, others).await?;
        let (id, at_ms) = (GroupId(self.parts.ids.next()?), self.now_ms());
        let everybody: Vec<UserId> = std::iter::once(who.user_id.clone()).chain(others.iter().cloned()).collect();
        let new = NewGroup { id, name: name.clone(), owner: who.user_id.clone(), members: others, at_ms };
        self.parts.store.create_group(new).await?;
        self.notify_group(who, id, everybody.clone(), GroupDone::Created { name, users: everybody });
        Ok(NewGroupMembers { id, not_added })
    }

    /// Those whom `who` may add to a group, and the others.
    async fn split_addable(&self, who: &Identity, users: Vec<UserId>) -> Result<(Vec<UserId>, Vec<UserId>)> {
        let contacts_only = self.parts.settings.group_adds == "contacts";
        let addable = self.parts.store.addable(&who.user_id, &users, contacts_only).await?;
        Ok(users.into_iter().partition(|user| addable.contains(user)))
    }

    /// A group, for a member.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Unavailable`].
    pub async fn group(&self, who: &Identity, group: GroupId) -> Result<Group> {
        self.parts.store.group(&who.user_id, group).await?.ok_or(NO_GROUP)
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
        let limit = page_limit(limit, 100, 500)?;
        let page = self.parts.store.group_members(&who.user_id, group, after.as_ref(), limit + 1).await?;
        let mut members = page.ok_or(NO_GROUP)?;
        let more = members.len() > limit;
        members.truncate(limit);
        let next_cursor = members.last().filter(|_| more).map(|member| member.user_id.clone());
        Ok(MemberPage { members, next_cursor })
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// As [`Chat::create_group`], [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`].
    pub async fn rename_group(&self, who: &Identity, group: GroupId, name: &str) -> Result<()> {
        let name = self.group_name(who, name)?;
        self.change_group(who, group, GroupWish::Rename(name)).await.map(|_| ())
    }

    /// Adds people; returns those who were not in it. It leaves out those who block `who` or, if that is configured, have
    /// never written to `who`.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::GroupFull`] (then nobody was added), [`crate::ChatError::Unavailable`].
    pub async fn add_members(&self, who: &Identity, group: GroupId, users: Vec<UserId>) -> Result<Vec<UserId>> {
        let members_max = self.parts.settings.group_members_max;
        if users.len() > members_max as usize {
            return Err(ChatError::GroupFull { members_max });
        }
        let (users, _) = self.split_addable(who, users).await?;
        match self.change_group(who, group, GroupWish::Add { users, members_max }).await? {
            Some(GroupDone::MembersAdded { users }) => Ok(users),
            _ => Ok(Vec::new()),
        }
    }

    /// Removes a member, or leaves.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn remove_member(&self, who: &Identity, group: GroupId, user: UserId) -> Result<()> {
        self.change_group(who, group, GroupWish::Remove(user)).await.map(|_| ())
    }

    /// Gives a member another role; the role owner hands the group over.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn set_role(&self, who: &Identity, group: GroupId, user: UserId, role: GroupRole) -> Result<()> {
        self.change_group(who, group, GroupWish::SetRole(user, role)).await.map(|_| ())
    }

    /// Ends a group.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn close_group(&self, who: &Identity, group: GroupId) -> Result<()> {
        self.change_group(who, group, GroupWish::Close).await.map(|_| ())
    }

    /// Changes a group and notifies its members; `None` when there was nothing to change.
    async fn change_group(&self, who: &Identity, group: GroupId, wish: GroupWish) -> Result<Option<GroupDone>> {
        self.limit_action(who).await?;
        match self.parts.store.change_group(group, &who.user_id, wish, self.now_ms()).await? {
            GroupAnswer::Done { done, notify } => {
                self.notify_group(who, group, notify, done.clone());
                Ok(Some(done))
            }
            GroupAnswer::Unchanged => Ok(None),
            GroupAnswer::NotFound => Err(NO_GROUP),
            GroupAnswer::Forbidden => Err(ChatError::Forbidden("your role in the group does not allow it")),
            GroupAnswer::Full => Err(ChatError::GroupFull { members_max: self.parts.settings.group_members_max }),
        }
    }

    fn notify_group(&self, who: &Identity, group_id: GroupId, told: Vec<UserId>, done: GroupDone) {
        self.groups.forget(group_id);
        let notice = Notice::Group { group_id, by: who.user_id.clone(), done };
        self.parts.fanout.notify(told.into(), Sockets::All, notice);
    }

    /// A group's name as it may be stored.
    fn group_name(&self, who: &Identity, name: &str) -> Result<Box<str>> {
        let name = words::sanitise(name);
        match name.chars().count() {
            0 => return Err(ChatError::Invalid("a group needs a name".into())),
            1..=GROUP_NAME_CHARS_MAX => {}
            _ => return Err(ChatError::Invalid("a group's name may have 64 characters".into())),
        }
        (self.parts.message_filter)(who, &name, MsgType::Text).map(Into::into).map_err(ChatError::Filtered)
    }
}

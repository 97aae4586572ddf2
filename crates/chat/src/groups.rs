//! Groups: what members may do to them, and who is to be told of what happens in them.

use std::sync::Arc;

use ahash::HashMap;
use bus::{Notice, Sockets};
use model::chat::{
    GROUP_NAME_CHARS_MAX, Group, GroupDone, GroupId, GroupMember, GroupRole, GroupWish, Message, MsgType, Recipient,
};
use model::{Identity, UserId};
use parking_lot::Mutex;
use store::chat::{ChatStore, GroupAnswer, Membership, NewGroup};

use crate::{Chat, ChatError, Result, page_limit};

/// Members of all remembered groups together; beyond it some group is read again when it is needed.
const REMEMBERED_MAX: usize = 200_000;

/// Who belongs to the groups that are spoken in, so that a message to five hundred people reads no
/// five hundred rows. A picture is used only while its version is that of the store, which every
/// stored message tells: nobody who was removed is told, nobody who came later.
pub(crate) struct Groups {
    store: Arc<dyn ChatStore>,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    groups: HashMap<GroupId, Arc<Picture>>,
    members: usize,
}

/// A group's members at some version.
pub(crate) struct Picture {
    version: u64,
    pub everybody: Arc<[UserId]>,
    joined: Box<[u64]>,
    last_joined: u64,
}

impl From<Membership> for Picture {
    fn from(Membership { version, members }: Membership) -> Self {
        let last_joined = members.iter().map(|(_, joined)| *joined).max().unwrap_or(0);
        let (everybody, joined): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        Self { version, everybody: everybody.into(), joined: joined.into(), last_joined }
    }
}

impl Picture {
    /// Those who may see the message at a position.
    fn readers(&self, position: u64) -> Arc<[UserId]> {
        if position > self.last_joined {
            return self.everybody.clone();
        }
        let sees = self.everybody.iter().zip(&self.joined).filter(|(_, joined)| **joined < position);
        sees.map(|(user, _)| user.clone()).collect()
    }
}

impl Remembered {
    fn put(&mut self, group: GroupId, picture: Arc<Picture>) {
        if picture.everybody.is_empty() || self.groups.get(&group).is_some_and(|held| held.version > picture.version) {
            return;
        }
        self.forget(group);
        self.members += picture.everybody.len();
        self.groups.insert(group, picture);
        while self.members > REMEMBERED_MAX
            && let Some(some) = self.groups.keys().find(|other| **other != group).copied()
        {
            self.forget(some);
        }
    }

    fn forget(&mut self, group: GroupId) {
        if let Some(picture) = self.groups.remove(&group) {
            self.members -= picture.everybody.len();
        }
    }
}

impl Groups {
    pub fn new(store: Arc<dyn ChatStore>) -> Self {
        Self { store, remembered: Mutex::default() }
    }

    /// Who is told of a message. When a group's members cannot be read nobody is: it is stored, and
    /// everybody finds it at the next sync.
    pub async fn readers_of(&self, message: &Message, version: Option<u64>) -> Arc<[UserId]> {
        match &message.to {
            Recipient::User(other) => Arc::new([message.from_user.clone(), other.clone()]),
            Recipient::Group(group) => self.readers(*group, version, message.position).await.unwrap_or_default(),
        }
    }

    /// Who may see a message that the group's state `version` received; without one the group is read.
    async fn readers(&self, group: GroupId, version: Option<u64>, position: u64) -> Result<Arc<[UserId]>> {
        let remembered = self.remembered.lock().groups.get(&group).cloned();
        let picture = match remembered.filter(|picture| Some(picture.version) == version) {
            Some(picture) => picture,
            None => self.look(group).await?,
        };
        Ok(picture.readers(position))
    }

    /// Who belongs to a group, as far as this node has heard: for what is not kept.
    pub async fn members(&self, group: GroupId) -> Result<Arc<Picture>> {
        let remembered = self.remembered.lock().groups.get(&group).cloned();
        match remembered {
            Some(picture) => Ok(picture),
            None => self.look(group).await,
        }
    }

    /// Reads a group. It may have changed since the message that asks was stored: whoever came
    /// since does not see it, whoever went since is not told.
    async fn look(&self, group: GroupId) -> Result<Arc<Picture>> {
        let picture = Arc::new(Picture::from(self.store.membership(group).await?));
        self.remembered.lock().put(group, picture.clone());
        Ok(picture)
    }

    fn forget(&self, group: GroupId) {
        self.remembered.lock().forget(group);
    }
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
    /// [`crate::ChatError::Invalid`] or `content_*` for the name, [`crate::ChatError::GroupFull`], [`crate::ChatError::Unavailable`].
    pub async fn create_group(&self, who: &Identity, name: &str, members: Vec<UserId>) -> Result<GroupId> {
        self.act(who).await?;
        let name = self.group_name(who, name)?;
        let members_max = self.parts.settings.group_members_max;
        let mut others: Vec<UserId> = members.into_iter().filter(|user| *user != who.user_id).collect();
        others.sort_unstable();
        others.dedup();
        if others.len() >= members_max as usize {
            return Err(ChatError::GroupFull { members_max });
        }
        let (id, at_ms) = (GroupId(self.parts.ids.next()?), self.now_ms());
        let everybody: Vec<UserId> = std::iter::once(who.user_id.clone()).chain(others.iter().cloned()).collect();
        let new = NewGroup { id, name: name.clone(), owner: who.user_id.clone(), members: others, at_ms };
        self.parts.store.create_group(new).await?;
        self.tell_group(who, id, everybody.clone(), GroupDone::Created { name, users: everybody });
        Ok(id)
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
        self.wish(who, group, GroupWish::Rename(name)).await.map(|_| ())
    }

    /// Adds people; returns those who were not in it.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::GroupFull`] (then nobody was added), [`crate::ChatError::Unavailable`].
    pub async fn add_members(&self, who: &Identity, group: GroupId, users: Vec<UserId>) -> Result<Vec<UserId>> {
        let members_max = self.parts.settings.group_members_max;
        match self.wish(who, group, GroupWish::Add { users, members_max }).await? {
            Some(GroupDone::MembersAdded { users }) => Ok(users),
            _ => Ok(Vec::new()),
        }
    }

    /// Removes a member, or leaves.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn remove_member(&self, who: &Identity, group: GroupId, user: UserId) -> Result<()> {
        self.wish(who, group, GroupWish::Remove(user)).await.map(|_| ())
    }

    /// Gives a member another role; the role owner hands the group over.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn set_role(&self, who: &Identity, group: GroupId, user: UserId, role: GroupRole) -> Result<()> {
        self.wish(who, group, GroupWish::SetRole(user, role)).await.map(|_| ())
    }

    /// Ends a group.
    ///
    /// # Errors
    /// [`crate::ChatError::NotFound`], [`crate::ChatError::Forbidden`], [`crate::ChatError::Unavailable`].
    pub async fn close_group(&self, who: &Identity, group: GroupId) -> Result<()> {
        self.wish(who, group, GroupWish::Close).await.map(|_| ())
    }

    /// Has the store do it and tells everybody; `None` when it was so before.
    async fn wish(&self, who: &Identity, group: GroupId, wish: GroupWish) -> Result<Option<GroupDone>> {
        self.act(who).await?;
        match self.parts.store.change_group(group, &who.user_id, wish, self.now_ms()).await? {
            GroupAnswer::Done { done, told } => {
                self.tell_group(who, group, told, done.clone());
                Ok(Some(done))
            }
            GroupAnswer::Unchanged => Ok(None),
            GroupAnswer::NotFound => Err(NO_GROUP),
            GroupAnswer::Forbidden => Err(ChatError::Forbidden("your role in the group does not allow it")),
            GroupAnswer::Full => Err(ChatError::GroupFull { members_max: self.parts.settings.group_members_max }),
        }
    }

    fn tell_group(&self, who: &Identity, group_id: GroupId, told: Vec<UserId>, done: GroupDone) {
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
        (self.parts.screen)(who, &name, MsgType::Text).map(Into::into).map_err(ChatError::Screened)
    }
}

//! Groups: making, naming and closing them, and who belongs to them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::chat::{ConversationId, Group, GroupId, GroupMember, GroupRole};
use model::{Snowflake, UserId, WireError, rfc3339_ms};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::App;
use crate::caller::Caller;
use crate::error::Answer;
use crate::extract::{Json as Body, Path, Query};

const MEMBERS_PAGE_MAX: usize = 500;

#[derive(Deserialize)]
pub(crate) struct NewGroup {
    name: String,
    #[serde(default)]
    members: Vec<UserId>,
}

/// Makes a group that the caller owns.
pub(crate) async fn create(State(app): State<App>, caller: Caller, Body(new): Body<NewGroup>) -> Answer {
    #[derive(Serialize)]
    struct Created {
        group_id: GroupId,
        conversation_id: ConversationId,
    }
    let group_id = app.chat.create_group(caller.author()?, &new.name, new.members).await?;
    let created = Created { group_id, conversation_id: group_id.conversation() };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

#[derive(Serialize)]
struct GroupView {
    group_id: GroupId,
    conversation_id: ConversationId,
    name: Box<str>,
    owner_id: UserId,
    member_count: u32,
    role: GroupRole,
    created_at: String,
}

impl From<Group> for GroupView {
    fn from(Group { id, name, owner_id, member_count, role, created_at_ms }: Group) -> Self {
        let (conversation_id, created_at) = (id.conversation(), rfc3339_ms(created_at_ms));
        Self { group_id: id, conversation_id, name, owner_id, member_count, role, created_at }
    }
}

/// One group, to its members.
pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<GroupId>) -> Answer {
    Ok(Json(GroupView::from(app.chat.group(caller.author()?, id).await?)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Renamed {
    name: String,
}

/// Gives a group another name.
pub(crate) async fn rename(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GroupId>,
    Body(wish): Body<Renamed>,
) -> Answer {
    let who = caller.author()?;
    app.chat.rename_group(who, id, &wish.name).await?;
    Ok(Json(GroupView::from(app.chat.group(who, id).await?)).into_response())
}

/// Ends a group.
pub(crate) async fn close(State(app): State<App>, caller: Caller, Path(id): Path<GroupId>) -> Answer {
    app.chat.close_group(caller.author()?, id).await?;
    Ok(Json(json!({})).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Listing {
    after: Option<UserId>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct MemberView {
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<Box<str>>,
    role: GroupRole,
    joined_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_id: Option<Snowflake>,
}

impl From<GroupMember> for MemberView {
    fn from(GroupMember { user_id, username, role, joined_at_ms, read_id }: GroupMember) -> Self {
        Self { user_id, username, role, joined_at: rfc3339_ms(joined_at_ms), read_id }
    }
}

/// A group's members, by id.
pub(crate) async fn members(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GroupId>,
    Query(query): Query<Listing>,
) -> Answer {
    #[derive(Serialize)]
    struct Listed {
        members: Vec<MemberView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<UserId>,
    }
    let limit = query.limit.map(|limit| limit.clamp(1, MEMBERS_PAGE_MAX));
    let page = app.chat.group_members(caller.author()?, id, query.after, limit).await?;
    let members = page.members.into_iter().map(MemberView::from).collect();
    Ok(Json(Listed { members, next_cursor: page.next_cursor }).into_response())
}

/// One or more users; the names mean the same.
#[derive(Deserialize)]
pub(crate) struct Added {
    user_id: Option<UserId>,
    #[serde(default, alias = "members")]
    user_ids: Vec<UserId>,
}

/// Adds people to a group: all of them or, when they do not fit, nobody.
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GroupId>,
    Body(wish): Body<Added>,
) -> Answer {
    #[derive(Serialize)]
    struct Done {
        added: Vec<UserId>,
    }
    let users: Vec<UserId> = wish.user_ids.into_iter().chain(wish.user_id).collect();
    if users.is_empty() {
        return Err(WireError::invalid("user_id or user_ids is missing").into());
    }
    let added = app.chat.add_members(caller.author()?, id, users).await?;
    Ok(Json(Done { added }).into_response())
}

/// Removes a member; oneself leaves.
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((id, user)): Path<(GroupId, UserId)>,
) -> Answer {
    app.chat.remove_member(caller.author()?, id, user).await?;
    Ok(Json(json!({})).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Role {
    role: GroupRole,
}

/// Gives a member another role; `owner` hands the group over.
pub(crate) async fn set_role(
    State(app): State<App>,
    caller: Caller,
    Path((id, user)): Path<(GroupId, UserId)>,
    Body(wish): Body<Role>,
) -> Answer {
    app.chat.set_role(caller.author()?, id, user, wish.role).await?;
    Ok(Json(json!({})).into_response())
}

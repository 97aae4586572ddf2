//! Groups: creating, renaming and closing them, and their members.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::chat::{ConversationId, Group, GroupId, GroupMember, GroupRole};
use model::{Snowflake, UserId, WireError, rfc3339_ms};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, BodyRefused, Conflict, RateLimited, Refused, TextRefused, Unknown};
use crate::extract::{JsonBody, Path, Query};
use crate::params::Limit;
use crate::shared::Done;

type MemberLimit = Limit<100, 500>;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(create))
        .routes(routes!(show, rename, close))
        .routes(routes!(list_members, add_members))
        .routes(routes!(set_role, remove_member))
}

#[derive(Deserialize, ToSchema)]
struct NewGroup {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    #[serde(default)]
    members: Vec<UserId>,
}

#[derive(Serialize, ToSchema)]
struct GroupCreated {
    group_id: GroupId,
    conversation_id: ConversationId,
    /// People who were left out: they block the caller or, if the server asks for that, have never written to the caller.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_added: Vec<UserId>,
}

/// Creates a group that the caller owns
#[utoipa::path(
    post, path = "/groups", tag = "chat", operation_id = "create_group", request_body = NewGroup,
    responses(
        (status = 201, description = "The group.", body = GroupCreated),
        Refused, Unknown, Conflict, BodyRefused, TextRefused, RateLimited,
    ),
)]
async fn create(State(app): State<App>, caller: Caller, JsonBody(new): JsonBody<NewGroup>) -> Answer {
    let made = app.chat.create_group(caller.author()?, &new.name, new.members).await?;
    let created =
        GroupCreated { group_id: made.id, conversation_id: made.id.conversation(), not_added: made.not_added };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
struct GroupView {
    group_id: GroupId,
    conversation_id: ConversationId,
    name: Box<str>,
    owner_id: UserId,
    member_count: u32,
    /// The caller's.
    role: GroupRole,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<Group> for GroupView {
    fn from(Group { id, name, owner_id, member_count, role, created_at_ms }: Group) -> Self {
        let (conversation_id, created_at) = (id.conversation(), rfc3339_ms(created_at_ms));
        Self { group_id: id, conversation_id, name, owner_id, member_count, role, created_at }
    }
}

/// Shows a group to its members
#[utoipa::path(
    get, path = "/groups/{id}", tag = "chat", operation_id = "show_group", params(("id" = GroupId, Path)),
    responses((status = 200, description = "The group.", body = GroupView), Refused, Unknown),
)]
async fn show(State(app): State<App>, caller: Caller, Path(id): Path<GroupId>) -> Answer {
    Ok(Json(GroupView::from(app.chat.group(caller.author()?, id).await?)).into_response())
}

#[derive(Deserialize, ToSchema)]
struct GroupPatch {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
}

/// Renames a group
///
/// Its owner and its admins may.
#[utoipa::path(
    patch, path = "/groups/{id}", tag = "chat", operation_id = "rename_group", params(("id" = GroupId, Path)),
    request_body = GroupPatch,
    responses(
        (status = 200, description = "The group as it is now.", body = GroupView),
        Refused, Unknown, BodyRefused, TextRefused, RateLimited,
    ),
)]
async fn rename(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GroupId>,
    JsonBody(patch): JsonBody<GroupPatch>,
) -> Answer {
    let who = caller.author()?;
    app.chat.rename_group(who, id, &patch.name).await?;
    Ok(Json(GroupView::from(app.chat.group(who, id).await?)).into_response())
}

/// Closes a group
///
/// Its owner may.
#[utoipa::path(
    delete, path = "/groups/{id}", tag = "chat", operation_id = "close_group", params(("id" = GroupId, Path)),
    responses((status = 200, description = "It is closed.", body = Done), Refused, Unknown, RateLimited),
)]
async fn close(State(app): State<App>, caller: Caller, Path(id): Path<GroupId>) -> Answer {
    app.chat.close_group(caller.author()?, id).await?;
    Ok(Json(Done {}).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MembersQuery {
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    after: Option<UserId>,
    #[serde(default)]
    #[param(inline)]
    limit: MemberLimit,
}

#[derive(Serialize, ToSchema)]
#[schema(as = GroupMember)]
struct MemberView {
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    username: Option<Box<str>>,
    role: GroupRole,
    #[schema(format = DateTime)]
    joined_at: String,
    /// The last message that this member has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    read_id: Option<Snowflake>,
}

impl From<GroupMember> for MemberView {
    fn from(GroupMember { user_id, username, role, joined_at_ms, read_id }: GroupMember) -> Self {
        Self { user_id, username, role, joined_at: rfc3339_ms(joined_at_ms), read_id }
    }
}

#[derive(Serialize, ToSchema)]
struct MemberList {
    members: Vec<MemberView>,
    /// Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<UserId>,
}

/// Lists a group's members
#[utoipa::path(
    get, path = "/groups/{id}/members", tag = "chat", operation_id = "list_members",
    params(("id" = GroupId, Path), MembersQuery),
    responses((status = 200, description = "By id.", body = MemberList), Refused, Unknown),
)]
async fn list_members(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GroupId>,
    Query(query): Query<MembersQuery>,
) -> Answer {
    let page = app.chat.group_members(caller.author()?, id, query.after, Some(query.limit.get())).await?;
    let members = page.members.into_iter().map(MemberView::from).collect();
    Ok(Json(MemberList { members, next_cursor: page.next_cursor }).into_response())
}

/// One or more users; both names mean the same.
#[derive(Deserialize, ToSchema)]
struct NewMembers {
    user_id: Option<UserId>,
    #[serde(default, alias = "members")]
    user_ids: Vec<UserId>,
}

#[derive(Serialize, ToSchema)]
struct MembersAdded {
    /// Those who were not in it before.
    added: Vec<UserId>,
}

/// Adds people to a group
///
/// Its owner and its admins may. When not all of them fit, nobody is added, and the answer is `group_full`.
#[utoipa::path(
    post, path = "/groups/{id}/members", tag = "chat", operation_id = "add_members", params(("id" = GroupId, Path)),
    request_body = NewMembers,
    responses(
        (status = 200, description = "Who was added.", body = MembersAdded),
        Refused, Unknown, Conflict, BodyRefused, RateLimited,
    ),
)]
async fn add_members(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GroupId>,
    JsonBody(new): JsonBody<NewMembers>,
) -> Answer {
    let users: Vec<UserId> = new.user_ids.into_iter().chain(new.user_id).collect();
    if users.is_empty() {
        return Err(WireError::invalid("user_id or user_ids is missing").into());
    }
    let added = app.chat.add_members(caller.author()?, id, users).await?;
    Ok(Json(MembersAdded { added }).into_response())
}

/// Removes a member, or leaves
///
/// Everybody may leave; admins remove members, the owner anybody. An owner who leaves hands over to the oldest admin,
/// else to the oldest member; when the last one leaves, the group closes.
#[utoipa::path(
    delete, path = "/groups/{id}/members/{user_id}", tag = "chat", operation_id = "remove_member",
    params(("id" = GroupId, Path), ("user_id" = UserId, Path)),
    responses((status = 200, description = "Done.", body = Done), Refused, Unknown, RateLimited),
)]
async fn remove_member(State(app): State<App>, caller: Caller, Path((id, user)): Path<(GroupId, UserId)>) -> Answer {
    app.chat.remove_member(caller.author()?, id, user).await?;
    Ok(Json(Done {}).into_response())
}

#[derive(Deserialize, ToSchema)]
struct MemberPatch {
    role: GroupRole,
}

/// Gives a member another role
///
/// Its owner may. `owner` hands the group over; the owner before becomes an admin.
#[utoipa::path(
    patch, path = "/groups/{id}/members/{user_id}", tag = "chat", operation_id = "set_role",
    params(("id" = GroupId, Path), ("user_id" = UserId, Path)), request_body = MemberPatch,
    responses((status = 200, description = "Done.", body = Done), Refused, Unknown, BodyRefused, RateLimited),
)]
async fn set_role(
    State(app): State<App>,
    caller: Caller,
    Path((id, user)): Path<(GroupId, UserId)>,
    JsonBody(patch): JsonBody<MemberPatch>,
) -> Answer {
    app.chat.set_role(caller.author()?, id, user, patch.role).await?;
    Ok(Json(Done {}).into_response())
}

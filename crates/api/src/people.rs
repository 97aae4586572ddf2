//! Who is here, and from whom one takes no messages.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{Code, UserId, WireError};
use protocol::chat::PresenceJson;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::App;
use crate::caller::Caller;
use crate::error::Answer;
use crate::extract::{Json as Body, Path};

/// What the path may call the caller, besides by name.
const ME: &str = "me";

/// Whether somebody is here, as far as the caller may know.
pub(crate) async fn presence(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    let presence = app.chat.presence(caller.author()?, &user).await?;
    Ok(Json(PresenceJson::from(&presence)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Visibility {
    visible: bool,
}

/// Shows the caller's presence to others, or hides it.
pub(crate) async fn show_presence(
    State(app): State<App>,
    caller: Caller,
    Path(user): Path<UserId>,
    Body(wish): Body<Visibility>,
) -> Answer {
    let who = caller.author()?;
    if user.as_str() != ME && user != who.user_id {
        return Err(WireError::new(Code::Forbidden, "this is somebody else's presence").into());
    }
    app.chat.set_visible(who, wish.visible).await?;
    Ok(Json(json!({})).into_response())
}

/// Takes no direct messages from somebody any more.
pub(crate) async fn block(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    app.chat.block(caller.author()?, &user).await?;
    Ok(Json(json!({})).into_response())
}

/// Takes them again.
pub(crate) async fn unblock(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    app.chat.unblock(caller.author()?, &user).await?;
    Ok(Json(json!({})).into_response())
}

/// Whom the caller blocks.
pub(crate) async fn blocks(State(app): State<App>, caller: Caller) -> Answer {
    #[derive(Serialize)]
    struct Blocks {
        user_ids: Vec<UserId>,
    }
    let user_ids = app.chat.blocks(caller.author()?).await?;
    Ok(Json(Blocks { user_ids }).into_response())
}

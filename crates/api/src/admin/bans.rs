//! Bans and mutes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ingest::moderation::NewBan;
use model::{RoomId, Snowflake, UserId, rfc3339_ms};
use serde::{Deserialize, Serialize};
use store::{Ban, BanKind};

use super::{By, list_limit};
use crate::App;
use crate::error::Answer;
use crate::extract::{Json as Body, Path, Query};

#[derive(Serialize)]
struct BanView {
    id: Snowflake,
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<RoomId>,
    kind: BanKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_at: String,
    expires_at: String,
    created_by: String,
}

impl From<Ban> for BanView {
    fn from(ban: Ban) -> Self {
        Self {
            id: ban.id,
            user_id: ban.user_id,
            room_id: ban.room_id,
            kind: ban.kind,
            reason: ban.reason,
            created_at: rfc3339_ms(ban.at_ms),
            expires_at: rfc3339_ms(ban.until_ms),
            created_by: ban.by,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    room_id: Option<RoomId>,
    limit: Option<usize>,
}

/// Bans in force, newest first; with `room_id` those of one room.
pub(crate) async fn list(State(app): State<App>, By(who): By, Query(asked): Query<Asked>) -> Answer {
    #[derive(Serialize)]
    struct Bans {
        bans: Vec<BanView>,
    }
    let bans = app.ingest.bans_in_force(&who, asked.room_id.as_ref(), list_limit(asked.limit)).await?;
    Ok(Json(Bans { bans: bans.into_iter().map(BanView::from).collect() }).into_response())
}

/// Bans or mutes a user, in force at once.
pub(crate) async fn impose(State(app): State<App>, By(who): By, Body(new): Body<NewBan>) -> Answer {
    let ban = app.ingest.ban(&who, new).await?;
    Ok((StatusCode::CREATED, Json(BanView::from(ban))).into_response())
}

/// Lifts a ban.
pub(crate) async fn lift(State(app): State<App>, By(who): By, Path(id): Path<Snowflake>) -> Answer {
    app.ingest.lift_ban(&who, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! The HTTP API that back ends call: they say comments, publish to subscribers, and ask who is there.
//!
//! Each call is signed with the app's secret. A comment passes every rule; anything else reaches Pusher's
//! subscribers alone.

use std::sync::Arc;

use api::ApiError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use model::{Code, Level, RoomId, Style, UserId, WireError};
use protocol::handshake::query_pairs;
use protocol::message::CommentDraft;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::channels::Occupancy;
use super::name::ChannelName;
use super::signature::Call;
use super::{Door, codec};
use crate::identity;

/// Channels of one event.
const CHANNELS_MAX: usize = 100;
/// Events of one batch.
const BATCH_MAX: usize = 10;

type Answer = Result<Response, ApiError>;

/// An event that a back end publishes.
#[derive(Debug, Deserialize)]
struct Published {
    name: String,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    socket_id: Option<String>,
    #[serde(default)]
    info: Option<String>,
}

/// A comment that a back end says in somebody's name.
#[derive(Debug, Deserialize)]
struct SaidComment {
    content: String,
    user_id: UserId,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    level: Level,
    #[serde(default)]
    style: Option<Style>,
    #[serde(default)]
    client_msg_id: Option<String>,
}

/// `POST /apps/{app_id}/events`
pub(super) async fn events(
    State(door): State<Arc<Door>>,
    Path(app_id): Path<String>,
    parts: Parts,
    body: Bytes,
) -> Answer {
    door.check(&app_id, &parts, &body)?;
    let event: Published = parse(&body)?;
    let info = event.info.clone();
    let channels = door.publish(event).await?;
    let Some(info) = info else { return Ok(Json(json!({})).into_response()) };
    let asked = Asked::new(&info);
    let listed: Map<String, Value> =
        channels.into_iter().map(|name| (name.clone(), asked.of(door.channels.occupancy(&name)))).collect();
    Ok(Json(json!({ "channels": listed })).into_response())
}

/// `POST /apps/{app_id}/batch_events`
pub(super) async fn batch_events(
    State(door): State<Arc<Door>>,
    Path(app_id): Path<String>,
    parts: Parts,
    body: Bytes,
) -> Answer {
    #[derive(Deserialize)]
    struct Batch {
        batch: Vec<Published>,
    }
    door.check(&app_id, &parts, &body)?;
    let Batch { batch } = parse(&body)?;
    if batch.len() > BATCH_MAX {
        return Err(WireError::invalid(format!("a batch has at most {BATCH_MAX} events")).into());
    }
    let mut first_refusal = None;
    for event in batch {
        if let Err(error) = door.publish(event).await {
            first_refusal.get_or_insert(error);
        }
    }
    first_refusal.map_or_else(|| Ok(Json(json!({})).into_response()), |error| Err(error.into()))
}

/// `GET /apps/{app_id}/channels`
pub(super) async fn list(State(door): State<Arc<Door>>, Path(app_id): Path<String>, parts: Parts) -> Answer {
    door.check(&app_id, &parts, &[])?;
    let prefix = parameter(&parts, "filter_by_prefix").unwrap_or_default();
    let asked = Asked::new(&parameter(&parts, "info").unwrap_or_default());
    if asked.user_count && !prefix.starts_with("presence-") {
        return Err(
            WireError::invalid("user_count is known of presence channels alone: filter_by_prefix=presence-").into()
        );
    }
    let listed = door.channels.list(&prefix).into_iter();
    let channels: Map<String, Value> = listed.map(|(name, occupancy)| (name, asked.of(occupancy))).collect();
    Ok(Json(json!({ "channels": channels })).into_response())
}

/// `GET /apps/{app_id}/channels/{channel}`
pub(super) async fn channel(
    State(door): State<Arc<Door>>,
    Path((app_id, channel)): Path<(String, String)>,
    parts: Parts,
) -> Answer {
    door.check(&app_id, &parts, &[])?;
    let occupancy = door.channels.occupancy(&channel);
    let mut answer = Asked::new(&parameter(&parts, "info").unwrap_or_default()).of(occupancy);
    answer["occupied"] = (occupancy.subscriptions > 0).into();
    Ok(Json(answer).into_response())
}

/// `GET /apps/{app_id}/channels/{channel}/users`
pub(super) async fn users(
    State(door): State<Arc<Door>>,
    Path((app_id, channel)): Path<(String, String)>,
    parts: Parts,
) -> Answer {
    door.check(&app_id, &parts, &[])?;
    if !channel.starts_with("presence-") {
        return Err(WireError::invalid("users are known of presence channels alone").into());
    }
    let users: Vec<Value> = door.channels.users(&channel).into_iter().map(|id| json!({ "id": id })).collect();
    Ok(Json(json!({ "users": users })).into_response())
}

impl Door {
    /// Refuses calls that do not hold the secret.
    fn check(&self, app_id: &str, parts: &Parts, body: &[u8]) -> Result<(), WireError> {
        if app_id != self.keys.app_id {
            return Err(WireError::not_found("there is no such app"));
        }
        let call = Call {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            body,
        };
        let now_s = self.edge.app.clock.now_ms() / 1_000;
        call.check(&self.keys, now_s).map_err(|why| WireError::new(Code::Unauthorized, why))
    }

    /// Publishes an event, and returns the channels that it names.
    async fn publish(&self, event: Published) -> Result<Vec<String>, WireError> {
        let channels: Vec<String> = event.channel.into_iter().chain(event.channels).collect();
        if channels.is_empty() || channels.len() > CHANNELS_MAX {
            return Err(WireError::invalid(format!("an event has 1 to {CHANNELS_MAX} channels")));
        }
        let names: Option<Vec<ChannelName>> = channels.iter().map(|name| ChannelName::parse(name)).collect();
        let names = names
            .ok_or_else(|| WireError::invalid("channels are room-{id}, private-room-{id} and presence-room-{id}"))?;
        if event.name == "comment" {
            let mut rooms: Vec<RoomId> = names.into_iter().map(|name| name.room).collect();
            rooms.sort_unstable();
            rooms.dedup();
            for room in rooms {
                self.say(room, &event.data).await?;
            }
            return Ok(channels);
        }
        if event.name.starts_with("pusher") {
            return Err(WireError::invalid("names that begin with pusher are the protocol's own"));
        }
        // Its data is a text; what else is sent is told as the text of it.
        let data = event.data.as_str().map_or_else(|| event.data.to_string(), str::to_owned);
        for channel in &channels {
            let message = codec::event(&event.name, channel, &data);
            self.channels.publish(channel, &message, event.socket_id.as_deref());
        }
        Ok(channels)
    }

    async fn say(&self, room: RoomId, data: &Value) -> Result<(), WireError> {
        let invalid = |error: serde_json::Error| WireError::invalid(format!("data: {error}"));
        let said: SaidComment = match data {
            Value::String(text) => serde_json::from_str(text).map_err(invalid)?,
            data => serde_json::from_value(data.clone()).map_err(invalid)?,
        };
        let app = &self.edge.app;
        let who = identity::vouched(app, said.user_id, said.username.as_deref(), said.level, &room);
        let draft = CommentDraft {
            room_id: None,
            content: said.content,
            client_msg_id: said.client_msg_id,
            style: said.style,
            mentions: Vec::new(),
            session_id: None,
            offset_ms: None,
            // The call comes from the back end, not from the person.
            address: None,
        };
        app.admission.admit(&who, &room, draft).await?;
        Ok(())
    }
}

/// What a call wants to know of channels.
struct Asked {
    user_count: bool,
    subscription_count: bool,
}

impl Asked {
    fn new(info: &str) -> Self {
        let asks = |name: &str| info.split(',').any(|asked| asked.trim() == name);
        Self { user_count: asks("user_count"), subscription_count: asks("subscription_count") }
    }

    fn of(&self, occupancy: Occupancy) -> Value {
        let mut answer = json!({});
        if self.user_count {
            answer["user_count"] = occupancy.users.into();
        }
        if self.subscription_count {
            answer["subscription_count"] = occupancy.subscriptions.into();
        }
        answer
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(body).map_err(|error| WireError::invalid(error.to_string()))
}

fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let mut pairs = query_pairs(parts.uri.query().unwrap_or_default());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

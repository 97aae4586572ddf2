//! Keys of end-to-end encryption: publishing one's own, asking for others', taking one to begin with.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{DeviceId, UserId};
use serde::{Deserialize, Serialize};
use store::keys::{ClaimedKey, DeviceKeys, OneTimeKey};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::Caller;
use crate::error::{Answer, BodyRefused, RateLimited, Refused, Unknown};
use crate::extract::{JsonBody, Path};
use crate::shared::Done;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(publish, remove)).routes(routes!(devices)).routes(routes!(claim))
}

/// A device's lasting keys. `signature` is by `signing_key` over the lines `barrage device keys 1`, user id, device id,
/// `identity_key`, `signing_key`, joined by line feeds. The server checks the shape; whoever encrypts checks the
/// signature.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceKeys)]
struct DeviceJson {
    device_id: DeviceId,
    /// Curve25519, 32 bytes in base64 without padding.
    identity_key: Box<str>,
    /// Ed25519, 32 bytes in base64 without padding.
    signing_key: Box<str>,
    /// Ed25519, 64 bytes in base64 without padding.
    signature: Box<str>,
}

impl From<DeviceKeys> for DeviceJson {
    fn from(DeviceKeys { device_id, identity_key, signing_key, signature }: DeviceKeys) -> Self {
        Self { device_id, identity_key, signing_key, signature }
    }
}

#[derive(Deserialize, ToSchema)]
struct SignedKey {
    /// 32 bytes in base64 without padding.
    #[schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$")]
    key: Box<str>,
    /// Ed25519, 64 bytes in base64 without padding.
    #[schema(pattern = "^[A-Za-z0-9+/]{85}[AQgw]$")]
    signature: Box<str>,
}

/// A key for one session. `signature` is by the device's `signing_key` over the lines `barrage one-time key 1` (of a
/// fallback key: `barrage fallback key 1`), user id, device id, `key_id`, `key`, joined by line feeds.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = OneTimeKey)]
struct NamedKey {
    #[schema(pattern = "^[A-Za-z0-9+/_-]{1,32}$")]
    key_id: Box<str>,
    /// 32 bytes in base64 without padding.
    #[schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$")]
    key: Box<str>,
    /// Ed25519, 64 bytes in base64 without padding.
    #[schema(pattern = "^[A-Za-z0-9+/]{85}[AQgw]$")]
    signature: Box<str>,
    /// Handed out again and again, because no one-time key was left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fallback: bool,
}

#[derive(Deserialize, ToSchema)]
struct PublishKeys {
    /// Curve25519, 32 bytes in base64 without padding.
    #[schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$")]
    identity_key: Box<str>,
    /// Ed25519, 32 bytes in base64 without padding.
    #[schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$")]
    signing_key: Box<str>,
    /// Ed25519, 64 bytes in base64 without padding.
    #[schema(pattern = "^[A-Za-z0-9+/]{85}[AQgw]$")]
    signature: Box<str>,
    /// By name; at most 100.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, SignedKey>)]
    one_time_keys: BTreeMap<Box<str>, SignedKey>,
    fallback_key: Option<NamedKey>,
}

#[derive(Serialize, ToSchema)]
struct KeysPublished {
    /// One-time keys left.
    one_time_key_count: u32,
}

/// Publishes keys of one of the caller's devices
///
/// For end-to-end encryption. Adds one-time keys; of a device the newest 100 are kept, of a user the 32 devices that
/// published last. A name that was published before is not added again. Other lasting keys than before remove the old
/// one-time keys.
#[utoipa::path(
    put, path = "/keys/{device_id}", tag = "chat", operation_id = "publish_keys",
    params(("device_id" = DeviceId, Path)), request_body = PublishKeys,
    responses((status = 200, description = "Published.", body = KeysPublished), Refused, BodyRefused, RateLimited),
)]
async fn publish(
    State(app): State<App>,
    caller: Caller,
    Path(device_id): Path<DeviceId>,
    JsonBody(body): JsonBody<PublishKeys>,
) -> Answer {
    let PublishKeys { identity_key, signing_key, signature, one_time_keys, fallback_key } = body;
    let device = DeviceKeys { device_id, identity_key, signing_key, signature };
    let named = |(key_id, SignedKey { key, signature })| OneTimeKey { key_id, key, signature };
    let one_time_keys = one_time_keys.into_iter().map(named).collect();
    let fallback = fallback_key.map(|NamedKey { key_id, key, signature, .. }| OneTimeKey { key_id, key, signature });
    let one_time_key_count = app.keys.publish(caller.author()?, device, one_time_keys, fallback).await?;
    Ok(Json(KeysPublished { one_time_key_count }).into_response())
}

/// Forgets one of the caller's devices
#[utoipa::path(
    delete, path = "/keys/{device_id}", tag = "chat", operation_id = "remove_device",
    params(("device_id" = DeviceId, Path)),
    responses((status = 200, description = "Nobody encrypts for it any more.", body = Done), Refused, Unknown, RateLimited),
)]
async fn remove(State(app): State<App>, caller: Caller, Path(device): Path<DeviceId>) -> Answer {
    app.keys.remove(caller.author()?, &device).await?;
    Ok(Json(Done {}).into_response())
}

#[derive(Serialize, ToSchema)]
struct DeviceView {
    #[serde(flatten)]
    device: DeviceJson,
    one_time_key_count: u32,
}

#[derive(Serialize, ToSchema)]
struct DeviceList {
    devices: Vec<DeviceView>,
}

/// Lists a user's devices and their keys
#[utoipa::path(
    get, path = "/users/{user_id}/keys", tag = "chat", operation_id = "list_devices",
    params(("user_id" = UserId, Path)),
    responses(
        (status = 200, description = "By device id; empty for a user without any.", body = DeviceList),
        Refused, RateLimited,
    ),
)]
async fn devices(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    caller.author()?;
    let devices = app.keys.devices(&user).await?.into_iter();
    let view = |(device, one_time_key_count)| DeviceView { device: DeviceJson::from(device), one_time_key_count };
    Ok(Json(DeviceList { devices: devices.map(view).collect() }).into_response())
}

#[derive(Deserialize, ToSchema)]
struct ClaimKeys {
    /// Of these devices; of all when absent.
    device_ids: Option<Vec<DeviceId>>,
}

#[derive(Serialize, ToSchema)]
struct ClaimedDevice {
    #[serde(flatten)]
    device: DeviceJson,
    /// Null for a device that has run out and has no fallback key.
    #[schema(required)]
    one_time_key: Option<NamedKey>,
}

#[derive(Serialize, ToSchema)]
struct ClaimedKeys {
    devices: Vec<ClaimedDevice>,
}

/// Claims one key of each of a user's devices
///
/// To start a session. Each one-time key is handed out once. Two calls a second, 100 at once.
#[utoipa::path(
    post, path = "/users/{user_id}/keys/claim", tag = "chat", operation_id = "claim_keys",
    params(("user_id" = UserId, Path)), request_body = ClaimKeys,
    responses((status = 200, description = "The keys.", body = ClaimedKeys), Refused, BodyRefused, RateLimited),
)]
async fn claim(
    State(app): State<App>,
    caller: Caller,
    Path(user): Path<UserId>,
    JsonBody(body): JsonBody<ClaimKeys>,
) -> Answer {
    let claimed = app.keys.claim(caller.author()?, &user, body.device_ids).await?.into_iter();
    let shown = |ClaimedKey { device, key, fallback }| ClaimedDevice {
        device: DeviceJson::from(device),
        one_time_key: key.map(|OneTimeKey { key_id, key, signature }| NamedKey { key_id, key, signature, fallback }),
    };
    Ok(Json(ClaimedKeys { devices: claimed.map(shown).collect() }).into_response())
}

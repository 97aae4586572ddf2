//! Keys of end-to-end encryption: publishing one's own, asking for others', taking one to begin with.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use model::{DeviceId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::keys::{ClaimedKey, DeviceKeys, OneTimeKey};

use crate::App;
use crate::caller::Caller;
use crate::error::Answer;
use crate::extract::{Json as Body, Path};

/// A device's lasting keys in an answer.
#[derive(Serialize)]
struct DeviceJson {
    device_id: DeviceId,
    identity_key: Box<str>,
    signing_key: Box<str>,
    signature: Box<str>,
}

impl From<DeviceKeys> for DeviceJson {
    fn from(DeviceKeys { device_id, identity_key, signing_key, signature }: DeviceKeys) -> Self {
        Self { device_id, identity_key, signing_key, signature }
    }
}

#[derive(Deserialize)]
struct SignedKey {
    key: Box<str>,
    signature: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct NamedKey {
    key_id: Box<str>,
    key: Box<str>,
    signature: Box<str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fallback: bool,
}

#[derive(Deserialize)]
pub(crate) struct Upload {
    identity_key: Box<str>,
    signing_key: Box<str>,
    signature: Box<str>,
    #[serde(default)]
    one_time_keys: BTreeMap<Box<str>, SignedKey>,
    fallback_key: Option<NamedKey>,
}

/// Publishes keys of one of the caller's devices.
pub(crate) async fn publish(
    State(app): State<App>,
    caller: Caller,
    Path(device_id): Path<DeviceId>,
    Body(upload): Body<Upload>,
) -> Answer {
    let Upload { identity_key, signing_key, signature, one_time_keys, fallback_key } = upload;
    let device = DeviceKeys { device_id, identity_key, signing_key, signature };
    let named = |(key_id, SignedKey { key, signature })| OneTimeKey { key_id, key, signature };
    let one_time_keys = one_time_keys.into_iter().map(named).collect();
    let fallback = fallback_key.map(|NamedKey { key_id, key, signature, .. }| OneTimeKey { key_id, key, signature });
    let left = app.keys.publish(caller.author()?, device, one_time_keys, fallback).await?;
    Ok(Json(json!({ "one_time_key_count": left })).into_response())
}

/// Forgets one of the caller's devices.
pub(crate) async fn remove(State(app): State<App>, caller: Caller, Path(device): Path<DeviceId>) -> Answer {
    app.keys.remove(caller.author()?, &device).await?;
    Ok(Json(json!({})).into_response())
}

/// Somebody's devices.
pub(crate) async fn devices(State(app): State<App>, caller: Caller, Path(user): Path<UserId>) -> Answer {
    #[derive(Serialize)]
    struct Listed {
        #[serde(flatten)]
        device: DeviceJson,
        one_time_key_count: u32,
    }
    caller.author()?;
    let devices = app.keys.devices(&user).await?.into_iter();
    let devices: Vec<_> =
        devices.map(|(device, left)| Listed { device: device.into(), one_time_key_count: left }).collect();
    Ok(Json(json!({ "devices": devices })).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Claim {
    device_ids: Option<Vec<DeviceId>>,
}

/// Takes one key of each of somebody's devices.
pub(crate) async fn claim(
    State(app): State<App>,
    caller: Caller,
    Path(user): Path<UserId>,
    Body(wish): Body<Claim>,
) -> Answer {
    #[derive(Serialize)]
    struct Claimed {
        #[serde(flatten)]
        device: DeviceJson,
        one_time_key: Option<NamedKey>,
    }
    let claimed = app.keys.claim(caller.author()?, &user, wish.device_ids).await?.into_iter();
    let shown = |ClaimedKey { device, key, fallback }| Claimed {
        device: DeviceJson::from(device),
        one_time_key: key.map(|OneTimeKey { key_id, key, signature }| NamedKey { key_id, key, signature, fallback }),
    };
    Ok(Json(json!({ "devices": claimed.map(shown).collect::<Vec<_>>() })).into_response())
}

//! Messages of the Channels protocol as JSON. What the server sends carries its data as a text of JSON, as Pusher's does.

use serde::Deserialize;
use serde_json::{Value, json};

/// A message of a client.
#[derive(Debug, Deserialize)]
pub(super) struct Incoming {
    pub event: String,
    #[serde(default)]
    pub channel: Option<String>,
    #[serde(default)]
    pub data: Value,
}

impl Incoming {
    /// Reads a message; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// A text among the data, which some clients send as a text of JSON.
    pub fn field(&self, name: &str) -> Option<String> {
        match &self.data {
            Value::String(text) => {
                let data: Value = serde_json::from_str(text).ok()?;
                data[name].as_str().map(str::to_owned)
            }
            data => data[name].as_str().map(str::to_owned),
        }
    }
}

/// An event on a channel; `data` is a text already.
pub(super) fn event(name: &str, channel: &str, data: &str) -> Vec<u8> {
    json!({ "event": name, "channel": channel, "data": data }).to_string().into_bytes()
}

/// A client's event as others hear it; `user_id` in presence channels.
pub(super) fn client_event(name: &str, channel: &str, data: &Value, user_id: Option<&str>) -> Vec<u8> {
    let mut message = json!({ "event": name, "channel": channel, "data": data });
    if let Some(user_id) = user_id {
        message["user_id"] = user_id.into();
    }
    message.to_string().into_bytes()
}

/// The first message of a connection.
pub(super) fn established(socket_id: &str, activity_timeout_s: u32) -> Vec<u8> {
    let data = json!({ "socket_id": socket_id, "activity_timeout": activity_timeout_s }).to_string();
    json!({ "event": "pusher:connection_established", "data": data }).to_string().into_bytes()
}

/// An error that concerns the connection or something sent on it.
pub(super) fn error(code: u16, message: &str) -> Vec<u8> {
    json!({ "event": "pusher:error", "data": { "code": code, "message": message } }).to_string().into_bytes()
}

/// A subscription that was refused, or ended.
pub(super) fn subscription_error(channel: &str, status: u16, message: &str) -> Vec<u8> {
    let data = json!({ "type": "AuthError", "error": message, "status": status }).to_string();
    event("pusher:subscription_error", channel, &data)
}

/// A message without data.
pub(super) fn plain(name: &str) -> Vec<u8> {
    json!({ "event": name, "data": "{}" }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn data_come_as_an_object_or_as_a_text() {
        for message in [
            r#"{"event":"pusher:subscribe","data":{"channel":"room-a"}}"#,
            r#"{"event":"pusher:subscribe","data":"{\"channel\":\"room-a\"}"}"#,
        ] {
            let message = Incoming::parse(message.as_bytes()).expect("a message");
            assert_eq!(message.field("channel").as_deref(), Some("room-a"));
            assert_eq!(message.field("auth"), None);
        }
        for none in ["", "[]", "{}", r#"{"event":5}"#, "null", r#"{"event":"x","channel":{}}"#] {
            assert!(Incoming::parse(none.as_bytes()).is_none(), "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_fatal(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            if let Some(message) = Incoming::parse(&bytes) {
                let _ = message.field("channel");
            }
        }
    }
}

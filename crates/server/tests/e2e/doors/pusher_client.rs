//! A socket as pusher-js opens it, and calls as server libraries sign them.

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use testkit::{Reply, Server, now_s};
use tokio_tungstenite::tungstenite::Message;

use super::socket::Socket;

const SECRET: &str = "a secret of the pusher door";
/// Opens the door.
pub const DOOR: &str = "[doors.pusher]\napp_id = \"1\"\nkey = \"k\"\nsecret = \"a secret of the pusher door\"\n";

/// Signs as the holder of the secret.
pub fn sign(text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A client.
pub struct Client {
    pub socket: Socket,
    /// Its `socket_id`.
    pub id: String,
}

impl Client {
    pub async fn connect(server: &Server) -> Self {
        let path = "/app/k?protocol=7&client=js&version=8.4.0&flash=false";
        let mut socket = Socket::open(server, path, &[]).await.expect("an upgrade");
        let first: Value = serde_json::from_str(socket.next().await.to_text().unwrap()).unwrap();
        assert_eq!(first["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(first["data"].as_str().unwrap()).unwrap();
        assert!(data["activity_timeout"].is_u64());
        Self { socket, id: data["socket_id"].as_str().unwrap().to_owned() }
    }

    pub async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await;
    }

    pub async fn next(&mut self) -> Value {
        serde_json::from_str(self.socket.next().await.to_text().unwrap()).unwrap()
    }

    /// The next event of this name, and its data.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["event"] == name {
                let data = message["data"].as_str().and_then(|data| serde_json::from_str(data).ok());
                return data.unwrap_or_else(|| message["data"].clone());
            }
        }
    }

    pub async fn subscribe(&mut self, channel: &str, channel_data: Option<&str>) {
        let text = channel_data
            .map_or_else(|| format!("{}:{channel}", self.id), |data| format!("{}:{channel}:{data}", self.id));
        let mut data = json!({ "channel": channel, "auth": format!("k:{}", sign(&text)) });
        if let Some(channel_data) = channel_data {
            data["channel_data"] = channel_data.into();
        }
        self.send(json!({ "event": "pusher:subscribe", "data": data })).await;
    }

    /// Subscribed; the data of the answer.
    pub async fn subscribed(&mut self, channel: &str, channel_data: Option<&str>) -> Value {
        self.subscribe(channel, channel_data).await;
        self.event("pusher_internal:subscription_succeeded").await
    }
}

/// A call of a back end.
pub async fn call(server: &Server, method: Method, path: &str, query: &str, body: Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let digest: String = Md5::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut pairs: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    pairs.extend(["auth_key=k".into(), format!("auth_timestamp={}", now_s()), "auth_version=1.0".into()]);
    if !body.is_empty() {
        pairs.push(format!("body_md5={digest}"));
    }
    pairs.sort();
    let query = pairs.join("&");
    let signature = sign(&format!("{method}\n{path}\n{query}"));
    Reply::of(server.http().request(method, &format!("{path}?{query}&auth_signature={signature}")).body(body)).await
}

/// An event that says something.
pub fn comment(channel: &str, data: Value) -> Value {
    json!({ "name": "comment", "channels": [channel], "data": data.to_string() })
}

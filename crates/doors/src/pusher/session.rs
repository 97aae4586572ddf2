//! One connection of the Pusher door: what it subscribes to, and what it says to others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hub::batch::{SharedEvent, TapBatch};
use model::metrics::count;
use model::panics::contained;
use model::{Identity, Level, UserId, WireError};
use protocol::comment::fragment;
use protocol::handshake::query_pairs;
use protocol::message::encode_event;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use words::Verdict;

use super::channels::Member;
use super::name::{Access, ChannelName};
use super::{Door, codec, signature};
use crate::feed::{Feed, Happening, Viewer};
use crate::identity;
use crate::link::{Incoming, Outbox};

/// Messages a second that are worked on at once; further ones wait for the next second.
const MESSAGES_PER_S: u32 = 50;
/// Events of a client in one second.
const CLIENT_EVENTS_PER_S: u32 = 10;
/// Longest data of a client's event, in bytes.
const CLIENT_EVENT_BYTES_MAX: usize = 10_240;
/// Longest name of an event or a channel, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Bad messages after which a connection is closed.
const BAD_MESSAGES_MAX: u32 = 20;
/// The protocols spoken.
const PROTOCOLS: std::ops::RangeInclusive<u32> = 5..=7;

/// Close codes of the protocol.
const UNKNOWN_APP: u16 = 4001;
const BAD_PROTOCOL: u16 = 4007;
const NO_PROTOCOL: u16 = 4008;
const RECONNECT: u16 = 4200;
const NO_PONG: u16 = 4201;
const REFUSED: u16 = 4300;
const TOO_MANY: u16 = 4301;

/// What a connection asks for in its address.
pub(super) struct Asked {
    key: String,
    protocol: Option<String>,
}

impl Asked {
    /// From the path's key and the query.
    pub fn new(key: String, query: Option<&str>) -> Self {
        let mut pairs = query_pairs(query.unwrap_or_default());
        let protocol = pairs.find(|(name, _)| name == "protocol").map(|(_, value)| value.into_owned());
        Self { key, protocol: protocol.filter(|protocol| !protocol.is_empty()) }
    }

    fn check(&self, key: &str) -> Result<(), (u16, &'static str)> {
        if self.key != key {
            return Err((UNKNOWN_APP, "Application does not exist"));
        }
        match self.protocol.as_deref().map(str::parse::<u32>) {
            None => Err((NO_PROTOCOL, "No protocol version supplied")),
            Some(Ok(protocol)) if PROTOCOLS.contains(&protocol) => Ok(()),
            Some(_) => Err((BAD_PROTOCOL, "Unsupported protocol version")),
        }
    }
}

/// A connection.
pub(super) async fn run(door: Arc<Door>, asked: Asked, incoming: Incoming, outbox: Outbox) {
    if let Err((code, message)) = asked.check(&door.keys.key) {
        outbox.send(&codec::error(code, message));
        return outbox.close(code, message);
    }
    let socket_id = format!("{}.{}", rand::random::<u32>(), rand::random::<u32>());
    let second = Instant::now();
    let (channels, said, received, bad_messages) = (HashMap::new(), 0, 0, 0);
    Session { door, outbox, socket_id, channels, second, said, received, bad_messages }.run(incoming).await;
}

struct Session {
    door: Arc<Door>,
    outbox: Outbox,
    socket_id: String,
    channels: HashMap<String, Subscription>,
    second: Instant,
    /// Client events in this second.
    said: u32,
    /// Messages in this second.
    received: u32,
    bad_messages: u32,
}

/// A channel that is read until this is dropped.
struct Subscription {
    door: Arc<Door>,
    channel: String,
    socket_id: String,
    name: ChannelName,
    user_id: Option<UserId>,
    task: JoinHandle<()>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
        self.door.channels.unsubscribe(&self.channel, &self.socket_id);
    }
}

impl Session {
    async fn run(mut self, mut incoming: Incoming) {
        let heartbeat = Duration::from_secs(self.door.edge.settings.sockets.heartbeat_s.into());
        self.outbox.send(&codec::established(&self.socket_id, self.door.edge.settings.sockets.heartbeat_s));
        let (mut heard, mut pinged) = (Instant::now(), false);
        let edge = self.door.edge.clone();
        loop {
            tokio::select! {
                biased;
                () = self.outbox.ended() => return,
                () = edge.draining() => {
                    self.outbox.send(&codec::error(RECONNECT, "Reconnect"));
                    return self.outbox.close(RECONNECT, &edge.reconnect_ms().to_string());
                }
                () = sleep_until(heard + heartbeat * if pinged { 3 } else { 2 }) => {
                    if std::mem::replace(&mut pinged, true) {
                        return self.outbox.close(NO_PONG, "Pong reply not received");
                    }
                    self.outbox.send(&codec::plain("pusher:ping"));
                }
                bytes = incoming.next() => {
                    let Ok(bytes) = bytes else { return };
                    (heard, pinged) = (Instant::now(), false);
                    if !self.message(&bytes).await {
                        return;
                    }
                }
            }
        }
    }

    /// Counts a message, and waits for the next second when this one had enough.
    async fn pace(&mut self) {
        let end = self.second + Duration::from_secs(1);
        if self.received >= MESSAGES_PER_S {
            sleep_until(end).await;
        }
        if Instant::now() >= end {
            (self.second, self.said, self.received) = (Instant::now(), 0, 0);
        }
        self.received += 1;
    }

    /// False when the connection is to end.
    async fn message(&mut self, bytes: &[u8]) -> bool {
        self.pace().await;
        let Some(message) = codec::Incoming::parse(bytes) else {
            count(&self.door.edge.app.metrics.parse_errors, "reason", "pusher_message");
            self.bad_messages += 1;
            self.outbox.send(&codec::error(REFUSED, "the message does not parse"));
            if self.bad_messages >= BAD_MESSAGES_MAX {
                self.outbox.close(4010, "too many messages that do not parse");
                return false;
            }
            return true;
        };
        match message.event.as_str() {
            "pusher:ping" => self.outbox.send(&codec::plain("pusher:pong")),
            "pusher:subscribe" => self.subscribe(&message).await,
            "pusher:unsubscribe" => {
                if let Some(channel) = message.field("channel") {
                    self.channels.remove(&channel);
                }
            }
            name if name.starts_with("client-") => self.client_event(&message),
            // What this version does not know is ignored, as everywhere.
            _ => {}
        }
        true
    }

    async fn subscribe(&mut self, message: &codec::Incoming) {
        let channel = message.field("channel").unwrap_or_default();
        if channel.len() > NAME_BYTES_MAX {
            return self.outbox.send(&codec::error(REFUSED, "the channel's name is too long"));
        }
        self.channels.retain(|_, subscription| !subscription.task.is_finished());
        let is_full = self.channels.len() >= self.door.edge.settings.sockets.rooms_per_socket_max;
        let subscribed = match ChannelName::parse(&channel) {
            _ if self.channels.contains_key(&channel) => {
                Err((409, "this socket subscribes to the channel already".into()))
            }
            _ if is_full => Err((429, "this socket has as many channels as it may".into())),
            None => Err((404, "channels are room-{id}, private-room-{id} and presence-room-{id}".into())),
            Some(name) => self.enter(&channel, name, message).await,
        };
        if let Err((status, text)) = subscribed {
            self.outbox.send(&codec::subscription_error(&channel, status, &text));
        }
    }

    async fn enter(
        &mut self,
        channel: &str,
        name: ChannelName,
        message: &codec::Incoming,
    ) -> Result<(), (u16, String)> {
        let (viewer, member) = self.identify(channel, &name, message)?;
        let refused = |error: WireError| (error.code.status(), error.message.into_owned());
        let user_id = viewer.identity().map(|who| who.user_id.clone());
        let feed = Feed::open(&self.door.edge.app, viewer, name.room.clone()).await.map_err(refused)?;
        let (door, outbox) = (self.door.clone(), self.outbox.clone());
        door.channels.prepare(channel).await;
        let answer = door.channels.subscribe(channel, &self.socket_id, outbox.clone(), member);
        let answer = answer.map_err(|_| (403, "the channel has as many members as it may".to_owned()))?;
        outbox.send(&codec::event("pusher_internal:subscription_succeeded", channel, &answer));
        let reader = ChannelReader {
            door: door.clone(),
            outbox,
            channel: channel.to_owned(),
            socket_id: self.socket_id.clone(),
        };
        let task = tokio::spawn(async move {
            contained(reader.run(feed)).await;
        });
        let socket_id = self.socket_id.clone();
        let subscription = Subscription { door, channel: channel.to_owned(), socket_id, name, user_id, task };
        self.channels.insert(channel.to_owned(), subscription);
        Ok(())
    }

    /// Who subscribes, as the back end has signed.
    fn identify(
        &self,
        channel: &str,
        name: &ChannelName,
        message: &codec::Incoming,
    ) -> Result<(Viewer, Option<Member>), (u16, String)> {
        let unsigned = || (401, "the back end has not signed for this subscription".to_owned());
        let auth = message.field("auth");
        let is_signed = |data: Option<&str>| {
            let auth = auth.as_deref().unwrap_or_default();
            signature::signs_subscription(&self.door.keys, auth, &self.socket_id, channel, data)
        };
        match name.access {
            Access::Public => Ok((Viewer::Anonymous, None)),
            Access::Private => {
                let data = message.field("channel_data");
                if is_signed(data.as_deref()) { Ok((Viewer::Vouched, None)) } else { Err(unsigned()) }
            }
            Access::Presence => {
                let data = message.field("channel_data").ok_or_else(unsigned)?;
                if !is_signed(Some(&data)) {
                    return Err(unsigned());
                }
                let (who, member) = self.present(name, &data)?;
                Ok((Viewer::User(who), Some(member)))
            }
        }
    }

    fn present(&self, name: &ChannelName, data: &str) -> Result<(Identity, Member), (u16, String)> {
        let data: Value = serde_json::from_str(data).map_err(|_| (400, "channel_data is not JSON".to_owned()))?;
        let user_id = match &data["user_id"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let id = UserId::new(&user_id).map_err(|error| (400, format!("channel_data.user_id: {error}")))?;
        let username = data["user_info"]["name"].as_str();
        let who = identity::vouched(&self.door.edge.app, id, username, Level::Normal, &name.room);
        Ok((who, Member { user_id, info: data["user_info"].clone() }))
    }

    fn client_event(&mut self, message: &codec::Incoming) {
        if let Err((code, text)) = self.send_client_event(message) {
            self.outbox.send(&codec::error(code, &text));
        }
    }

    fn send_client_event(&mut self, message: &codec::Incoming) -> Result<(), (u16, String)> {
        self.said += 1;
        if self.said > CLIENT_EVENTS_PER_S {
            return Err((TOO_MANY, format!("a client may send {CLIENT_EVENTS_PER_S} events a second")));
        }
        let refused = |text: &str| (REFUSED, text.to_owned());
        let channel = message.channel.as_deref().unwrap_or_default();
        let subscription = self.channels.get(channel).filter(|subscription| !subscription.task.is_finished());
        let subscription = subscription.ok_or_else(|| refused("this socket does not subscribe to the channel"))?;
        if subscription.name.access == Access::Public {
            return Err(refused("client events are for private and presence channels"));
        }
        if message.event.len() > NAME_BYTES_MAX || message.data.to_string().len() > CLIENT_EVENT_BYTES_MAX {
            return Err(refused("the event is too long"));
        }
        let app = &self.door.edge.app;
        if let Some(user) = &subscription.user_id {
            let speech = app.ingest.bans.check_speech(user, Some(&subscription.name.room), app.clock.now_ms());
            speech.map_err(|refusal| refused(&WireError::from(refusal).message))?;
        }
        let mut data = message.data.clone();
        let is_clean = clean(&mut data, &|text| app.ingest.filter.check(text));
        if !is_clean {
            return Err(refused("the event contains a word that is not allowed here"));
        }
        let user_id = subscription.user_id.as_ref().map(UserId::as_str);
        let message = codec::client_event(&message.event, channel, &data, user_id);
        self.door.channels.publish(channel, &message, Some(&self.socket_id));
        Ok(())
    }
}

/// Masks the texts of an event; false when one may not be sent. Nobody reviews events, so what a moderator would have to
/// look at is not sent.
fn clean(value: &mut Value, check: &impl Fn(&str) -> Verdict) -> bool {
    match value {
        Value::String(text) => match check(text) {
            Verdict::Clean => true,
            Verdict::Masked(masked) => {
                *text = masked;
                true
            }
            Verdict::Review { .. } | Verdict::Block { .. } => false,
        },
        Value::Array(items) => items.iter_mut().all(|item| clean(item, check)),
        Value::Object(fields) => {
            fields.keys().all(|name| matches!(check(name), Verdict::Clean))
                && fields.values_mut().all(|field| clean(field, check))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Sends what happens in a room to one subscriber.
struct ChannelReader {
    door: Arc<Door>,
    outbox: Outbox,
    channel: String,
    socket_id: String,
}

impl ChannelReader {
    async fn run(self, mut feed: Feed) {
        loop {
            match feed.next().await {
                Happening::Comments(batch) => self.comments(&batch),
                Happening::Event(event) => self.event(&event),
                Happening::Sanction(_) | Happening::Settings(_) => {}
                Happening::Refused(refusal) => {
                    let error = WireError::from(refusal);
                    self.door.channels.unsubscribe(&self.channel, &self.socket_id);
                    let message = codec::subscription_error(&self.channel, error.code.status(), &error.message);
                    return self.outbox.send(&message);
                }
            }
        }
    }

    fn comments(&self, batch: &TapBatch) {
        for item in batch.items() {
            let data = fragment(&item.comment, Some(item.count));
            self.outbox.send(&codec::event("comment", &self.channel, &String::from_utf8_lossy(&data)));
        }
    }

    fn event(&self, shared: &SharedEvent) {
        let data = encode_event(&shared.event, false);
        let message = codec::event(shared.event.body.kind(), &self.channel, &String::from_utf8_lossy(&data));
        self.outbox.send(&message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_names_the_app_and_a_protocol() {
        let code = |key: &str, query| Asked::new(key.into(), query).check("k").map_err(|(code, _)| code);
        assert_eq!(code("k", Some("client=js&protocol=7&version=8")), Ok(()));
        assert_eq!(code("k", Some("protocol=5")), Ok(()));
        assert_eq!(code("x", Some("protocol=7")), Err(4001));
        for query in ["protocol=4", "protocol=8", "protocol=x", "protocol=-7"] {
            assert_eq!(code("k", Some(query)), Err(4007), "{query}");
        }
        assert_eq!((code("k", None), code("k", Some("protocol="))), (Err(4008), Err(4008)));
    }

    #[test]
    fn every_text_of_an_event_is_checked() {
        let check = |text: &str| match text {
            "mask" => Verdict::Masked("****".into()),
            "block" => Verdict::Block { word: "block".into() },
            _ => Verdict::Clean,
        };
        let mut event = json!({ "a": ["mask", { "b": "mask" }], "n": 5 });
        assert!(clean(&mut event, &check));
        assert_eq!(event, json!({ "a": ["****", { "b": "****" }], "n": 5 }));
        for mut bad in [json!("block"), json!([[["block"]]]), json!({ "block": 1 }), json!({ "x": { "y": "block" } })] {
            assert!(!clean(&mut bad, &check), "{bad}");
        }
    }
}

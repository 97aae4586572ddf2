//! Who subscribes to which channel on this node, and who is present in it.
//!
//! Sessions subscribe and leave; the HTTP API publishes and lists. Everything is under one short lock, so that members
//! come and go in one order for everybody. What is published goes to other nodes too; members are known of this node
//! alone. Knows no room.

use std::collections::HashMap;
use std::sync::Arc;

use fanout::{ChannelFanout, ChannelMessage};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::codec;
use crate::link::Outbox;

/// Members of one presence channel: each of them is told of all others.
pub(super) const MEMBERS_MAX: usize = 1_000;

/// Somebody present.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub user_id: String,
    pub info: Value,
}

/// The subscriptions of this node.
pub(super) struct Channels {
    subscribed: Mutex<HashMap<String, HashMap<String, Subscriber>>>,
    nodes: Arc<dyn ChannelFanout>,
}

struct Subscriber {
    outbox: Outbox,
    member: Option<Member>,
}

/// How many there are on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub subscriptions: usize,
    /// Of a presence channel.
    pub users: usize,
}

/// The channel has as many members as it may.
#[derive(Debug)]
pub(super) struct ChannelFull;

impl Channels {
    /// Channels that nobody subscribes to yet.
    pub fn new(nodes: Arc<dyn ChannelFanout>) -> Self {
        Self { subscribed: Mutex::default(), nodes }
    }

    /// Waits until what other nodes publish on a channel arrives. Called before its first subscription.
    pub async fn prepare(&self, channel: &str) {
        self.nodes.hold(channel);
        self.nodes.heard(channel).await;
    }

    /// Hands on what other nodes publish, for ever. For one caller.
    pub async fn hear_nodes(&self) {
        loop {
            let ChannelMessage { channel, message } = self.nodes.next().await;
            if let Some(Envelope { except, message }) = Envelope::parse(&message) {
                self.publish_here(&channel, message, except);
            }
        }
    }

    /// Subscribes a socket, and tells the others of a new member. Returns the data of the answer.
    pub fn subscribe(
        &self,
        channel: &str,
        socket_id: &str,
        outbox: Outbox,
        member: Option<Member>,
    ) -> Result<String, ChannelFull> {
        let mut channels = self.subscribed.lock();
        let subscribers = channels.entry(channel.to_owned()).or_insert_with(|| {
            self.nodes.hold(channel);
            HashMap::new()
        });
        let Some(member) = member else {
            subscribers.insert(socket_id.to_owned(), Subscriber { outbox, member: None });
            return Ok("{}".to_owned());
        };
        let is_new = !is_present(subscribers, &member.user_id);
        if is_new && subscribers.len() >= MEMBERS_MAX {
            return Err(ChannelFull);
        }
        if is_new {
            let data = json!({ "user_id": member.user_id, "user_info": member.info }).to_string();
            let message = codec::event("pusher_internal:member_added", channel, &data);
            subscribers.values().for_each(|other| other.outbox.send(&message));
        }
        subscribers.insert(socket_id.to_owned(), Subscriber { outbox, member: Some(member) });
        let members: HashMap<&str, &Value> =
            members(subscribers).map(|member| (member.user_id.as_str(), &member.info)).collect();
        let ids: Vec<&str> = members.keys().copied().collect();
        Ok(json!({ "presence": { "count": ids.len(), "ids": ids, "hash": members } }).to_string())
    }

    /// Takes a socket out, and tells the others when its user is gone.
    pub fn unsubscribe(&self, channel: &str, socket_id: &str) {
        let mut channels = self.subscribed.lock();
        let Some(subscribers) = channels.get_mut(channel) else { return };
        let left = subscribers.remove(socket_id).and_then(|subscriber| subscriber.member);
        if let Some(member) = left.filter(|member| !is_present(subscribers, &member.user_id)) {
            let data = json!({ "user_id": member.user_id }).to_string();
            let message = codec::event("pusher_internal:member_removed", channel, &data);
            subscribers.values().for_each(|other| other.outbox.send(&message));
        }
        if subscribers.is_empty() {
            channels.remove(channel);
            self.nodes.release(channel);
        }
    }

    /// Sends a message to a channel's subscribers but one, on all nodes.
    pub fn publish(&self, channel: &str, message: &[u8], except: Option<&str>) {
        self.publish_here(channel, message, except);
        self.nodes.publish(channel, &Envelope { except, message }.encode());
    }

    fn publish_here(&self, channel: &str, message: &[u8], except: Option<&str>) {
        let channels = self.subscribed.lock();
        let Some(subscribers) = channels.get(channel) else { return };
        let others = subscribers.iter().filter(|(socket_id, _)| Some(socket_id.as_str()) != except);
        others.for_each(|(_, subscriber)| subscriber.outbox.send(message));
    }

    /// The occupied channels whose names begin so.
    pub fn list(&self, prefix: &str) -> Vec<(String, Occupancy)> {
        let channels = self.subscribed.lock();
        let listed = channels.iter().filter(|(name, _)| name.starts_with(prefix));
        listed.map(|(name, subscribers)| (name.clone(), occupancy(subscribers))).collect()
    }

    /// One channel; zeros when nobody is there.
    pub fn occupancy(&self, channel: &str) -> Occupancy {
        let none = Occupancy { subscriptions: 0, users: 0 };
        self.subscribed.lock().get(channel).map_or(none, occupancy)
    }

    /// Who is present.
    pub fn users(&self, channel: &str) -> Vec<String> {
        let channels = self.subscribed.lock();
        let Some(subscribers) = channels.get(channel) else { return Vec::new() };
        let mut users: Vec<String> = members(subscribers).map(|member| member.user_id.clone()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }
}

/// What nodes tell each other: the socket that is left out, a line feed, the message.
#[derive(Debug, PartialEq, Eq)]
struct Envelope<'a> {
    except: Option<&'a str>,
    message: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn encode(&self) -> Vec<u8> {
        // A back end names the socket: it is what it is up to a line feed.
        let except = self.except.unwrap_or_default().lines().next().unwrap_or_default();
        [except.as_bytes(), b"\n", self.message].concat()
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let except = str::from_utf8(bytes.get(..end)?).ok()?;
        Some(Self { except: Some(except).filter(|except| !except.is_empty()), message: bytes.get(end + 1..)? })
    }
}

fn members(subscribers: &HashMap<String, Subscriber>) -> impl Iterator<Item = &Member> {
    subscribers.values().filter_map(|subscriber| subscriber.member.as_ref())
}

fn is_present(subscribers: &HashMap<String, Subscriber>, user_id: &str) -> bool {
    members(subscribers).any(|member| member.user_id == user_id)
}

fn occupancy(subscribers: &HashMap<String, Subscriber>) -> Occupancy {
    let users: std::collections::HashSet<&str> = members(subscribers).map(|member| member.user_id.as_str()).collect();
    Occupancy { subscriptions: subscribers.len(), users: users.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_tell_each_other_whom_to_leave_out() {
        for (except, read) in
            [(Some("1.2"), Some("1.2")), (None, None), (Some("1.2\nx"), Some("1.2")), (Some(""), None)]
        {
            let bytes = Envelope { except, message: b"{\"a\":\n1}" }.encode();
            assert_eq!(Envelope::parse(&bytes), Some(Envelope { except: read, message: b"{\"a\":\n1}" }));
        }
        assert_eq!((Envelope::parse(b"no end"), Envelope::parse(b"\xff\nx")), (None, None));
    }
}

//! One connection of the goim door: it says who it is and which room it reads, then it hears.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hub::batch::TapBatch;
use model::metrics::count;
use model::{Code, RoomId, WireError};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::codec::{self, BodyVersion, Operation, Packet, Packets};
use super::message;
use crate::edge::Edge;
use crate::feed::{Feed, Happening, Viewer};
use crate::identity;
use crate::link::{Incoming, Outbox};

/// The packet's version of everything that is not a message.
const CONTROL: u16 = 1;
/// The code of a refused login, upon which clients fetch a new token.
const REFUSED: i32 = -101;
/// How many of the sockets' heartbeats a client may be silent for: native ones send theirs every four minutes.
const HEARTBEATS: u32 = 10;
/// Slots of a batch's encodings that are this door's, after the event stream's.
const FIRST_SLOT: usize = 1;

/// A connection, over TCP or WebSocket.
pub(crate) async fn run(edge: Arc<Edge>, incoming: Incoming, outbox: Outbox) {
    Session { edge, outbox, packets: Packets::default() }.run(incoming).await;
}

struct Session {
    edge: Arc<Edge>,
    outbox: Outbox,
    packets: Packets,
}

impl Session {
    async fn run(mut self, mut incoming: Incoming) {
        let Some((feed, version)) = self.login(&mut incoming).await else { return };
        self.read(incoming, feed, version).await;
    }

    /// The first packet, which has to be a login.
    async fn login(&mut self, incoming: &mut Incoming) -> Option<(Feed, BodyVersion)> {
        let login_by = Instant::now() + Duration::from_secs(self.edge.settings.sockets.login_s.into());
        let packet = loop {
            if let Some(packet) = self.packets.next_packet() {
                break packet;
            }
            tokio::select! {
                biased;
                () = self.edge.draining() => {
                    self.drain();
                    return None;
                }
                () = sleep_until(login_by) => {
                    self.outbox.close(4001, "a login is needed");
                    return None;
                }
                bytes = incoming.next() => self.packets.push(&bytes.ok()?),
            }
        };
        let Ok(packet) = packet else {
            self.broken();
            return None;
        };
        if packet.operation != Operation::Auth {
            self.broken();
            return None;
        }
        match self.enter(&packet).await {
            Ok(entered) => {
                self.outbox.send(&codec::encode(Operation::AuthReply, CONTROL, packet.sequence, br#"{"code":0}"#));
                Some(entered)
            }
            Err(error) => {
                count(&self.edge.app.metrics.handshakes, "outcome", error.code.as_str());
                self.refuse(packet.sequence, &error);
                None
            }
        }
    }

    async fn enter(&self, packet: &Packet) -> Result<(Feed, BodyVersion), WireError> {
        let body: Value =
            serde_json::from_slice(&packet.body).map_err(|_| WireError::invalid("the login is not JSON"))?;
        let text = |name: &str| match &body[name] {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        // goim's own clients write a kind of room before its name.
        let room = text("roomid").or_else(|| text("room_id")).unwrap_or_default();
        let room = room.rsplit_once("://").map_or(room.as_str(), |(_, room)| room);
        let room = RoomId::new(room).map_err(|error| WireError::invalid(error.to_string()))?;
        let token = text("key").or_else(|| text("token"));
        let viewer = match token {
            Some(token) => Viewer::User(identity::by_token(&self.edge.app, &token)?),
            None => {
                let named = text("uid").filter(|uid| uid != "0");
                let named = named.and_then(|uid| identity::by_name(&self.edge.app, &uid));
                named.map_or(Viewer::Anonymous, Viewer::User)
            }
        };
        let version = BodyVersion::asked(body["protover"].as_u64().unwrap_or(0));
        Ok((Feed::open(&self.edge.app, viewer, room).await?, version))
    }

    async fn read(&mut self, mut incoming: Incoming, mut feed: Feed, version: BodyVersion) {
        let silence = Duration::from_secs(self.edge.settings.sockets.heartbeat_s.into()) * HEARTBEATS;
        let mut heard = Instant::now();
        loop {
            while let Some(packet) = self.packets.next_packet() {
                match packet {
                    Ok(Packet { operation: Operation::Heartbeat, sequence, .. }) => {
                        self.beat(&feed, sequence).await;
                    }
                    // Read only: what else a client may send is ignored.
                    Ok(_) => {}
                    Err(_) => return self.broken(),
                }
            }
            tokio::select! {
                biased;
                () = self.outbox.ended() => return,
                () = self.edge.draining() => return self.drain(),
                happening = feed.next() => match happening {
                    Happening::Comments(batch) => self.comments(&batch, version),
                    Happening::Refused(refusal) => return self.refuse(0, &refusal.into()),
                    Happening::Event(_) | Happening::Sanction(_) | Happening::Settings(_) => {}
                },
                () = sleep_until(heard + silence) => return self.outbox.close(1000, "no heartbeat"),
                bytes = incoming.next() => {
                    let Ok(bytes) = bytes else { return };
                    heard = Instant::now();
                    self.packets.push(&bytes);
                }
            }
        }
    }

    /// Exactly four bytes: some clients read the number only then.
    async fn beat(&self, feed: &Feed, sequence: u32) {
        let viewers = self.edge.app.hub.viewers_everywhere(feed.room()).await;
        let viewers = u32::try_from(viewers).unwrap_or(u32::MAX).to_be_bytes();
        self.outbox.send(&codec::encode(Operation::HeartbeatReply, CONTROL, sequence, &viewers));
    }

    fn comments(&self, batch: &TapBatch, version: BodyVersion) {
        let mut items = batch.items().peekable();
        if items.peek().is_none() {
            return;
        }
        let encode = || {
            let bodies: Vec<Vec<u8>> = items.map(|item| message::body(&item.comment)).collect();
            // Writing to memory does not fail.
            Bytes::from(codec::messages(bodies.iter().map(Vec::as_slice), version).unwrap_or_default())
        };
        self.outbox.send(batch.encoded.get_or_encode(FIRST_SLOT + version as usize, encode));
    }

    fn refuse(&self, sequence: u32, error: &WireError) {
        let body = serde_json::json!({ "code": REFUSED, "message": error.message }).to_string();
        self.outbox.send(&codec::encode(Operation::AuthReply, CONTROL, sequence, body.as_bytes()));
        self.outbox.close(if error.code == Code::Banned { 4003 } else { 4001 }, &error.message);
    }

    fn broken(&self) {
        count(&self.edge.app.metrics.parse_errors, "reason", "goim_packet");
        self.outbox.close(4010, "this is no packet");
    }

    fn drain(&self) {
        self.outbox.close(1012, &self.edge.reconnect_ms().to_string());
    }
}

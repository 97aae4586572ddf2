//! The ways between the nodes of a cluster: what this node pushes to the others, and what it subscribes to.
//!
//! Batches of rooms come over Redis from nodes that have a log of their own (or whose Kafka is away), and over gRPC from the
//! workers of a log on Kafka. What concerns every node comes over Redis in either shape. The server opens the subscriptions
//! before the first room is held, and closes them when the node drains.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chat::LocalUserFanout;
use cluster::NodeNumber;
use cluster::membership::{Members, NodeLease};
use cluster::redis::{NODES_AGE, RedisDirectory};
use cluster::tls::{PeerTls, TlsError, TlsFiles};
use fanout::grpc::{FanoutParts, GrpcFanout, GrpcInbox, PeerSecurity, PeerServices, Secret, serve};
use fanout::redis::{ControlFanout, ControlInbox, RedisChannelFanout, RedisFanout, RedisInbox, RedisUserFanout};
use fanout::{
    AdmitComments, ChannelFanout, ControlMessage, Fanout, OnGap, RoomPriority, RoomSubscriptions, RoutingFanout,
    UserFanout,
};
use hub::Hub;
use ingest::Ingest;
use log::spool::SpoolingJournal;
use model::{Metrics, Role, Roles, RoomId, UserId};
use parking_lot::Mutex;
use redis_client::InvalidRedisAddress;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::redis::RedisBackend;
use crate::config::{self, Config};
use crate::upgrade::Listeners;

/// A room is read again after this time: by then the store has what was acknowledged, unless it is away.
const REREAD_AFTER: Duration = Duration::from_millis(1_500);
/// Pauses before other nodes learn what the spool handed over to Kafka. The store has it only when the nodes with the role
/// `persist` are back too, which this node does not know; so it notifies them more than once.
const NOTICE_PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(20)];
/// When the node ends, other nodes' connections have this time.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What a cluster consists of, beside Redis.
pub(super) struct PeerParts {
    pub number: Arc<NodeNumber<NodeLease>>,
    /// This node's name between nodes: no other start of a process ever has it.
    pub source: String,
    pub members: Members,
    pub security: PeerSecurity,
    /// What connections with etcd are made with.
    pub etcd_tls: Option<Arc<PeerTls>>,
    pub listener: Option<PeerListener>,
    /// Reports what the spool handed over late.
    pub spooled: Arc<SpoolingJournal>,
    /// Other nodes may store what was acknowledged here, so the store may not have it yet.
    pub persisted_by_others: bool,
}

/// The other nodes, and the ways to them.
pub struct Cluster {
    redis: RedisBackend,
    parts: PeerParts,
    control: Arc<ControlFanout>,
    metrics: Arc<Metrics>,
}

/// The listener for other nodes, and how they reach it.
pub(super) struct PeerListener {
    listener: TcpListener,
    pub address: String,
}

impl PeerListener {
    /// Opens `nodes.listen`, if it is set.
    pub fn open(config: &Config, listeners: &mut Listeners) -> anyhow::Result<Option<Self>> {
        let config::Nodes { listen, advertise, .. } = &config.nodes;
        if listen.is_empty() {
            return Ok(None);
        }
        let listener = listeners.listen("nodes.listen", listen)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let bound = listener.local_addr()?.to_string();
        Ok(Some(Self { listener, address: if advertise.is_empty() { bound } else { advertise.clone() } }))
    }
}

/// Certificates of connections between nodes, if they are configured.
pub(super) fn node_tls(config: &Config) -> Result<Option<Arc<PeerTls>>, TlsError> {
    let config::Nodes { ca_file, certificate_file, key_file, tls_name, .. } = &config.nodes;
    load_tls("nodes", [ca_file, certificate_file, key_file], tls_name)
}

/// Certificates of connections with etcd, if they are configured.
pub(super) fn etcd_tls(config: &Config) -> Result<Option<Arc<PeerTls>>, TlsError> {
    let config::Etcd { ca_file, certificate_file, key_file, .. } = &config.etcd;
    load_tls("etcd", [ca_file, certificate_file, key_file], "")
}

fn load_tls(section: &'static str, files: [&PathBuf; 3], name: &str) -> Result<Option<Arc<PeerTls>>, TlsError> {
    let [ca_file, certificate_file, key_file] = files.map(Clone::clone);
    if ca_file.as_os_str().is_empty() {
        return Ok(None);
    }
    PeerTls::load(TlsFiles { section, ca_file, certificate_file, key_file }, name).map(Arc::new).map(Some)
}

/// How the nodes of this deployment know each other.
pub(super) fn security(config: &Config) -> Result<PeerSecurity, TlsError> {
    Ok(PeerSecurity {
        secret: Secret::new(config.auth.hmac_secret.as_bytes()),
        tls: node_tls(config)?,
        tls_optional: config.nodes.tls_optional,
    })
}

/// What this node receives from the others; dropping it ends that.
pub struct ClusterSubscriptions {
    _control: ControlInbox,
    directory: Arc<RedisDirectory>,
    batches: Arc<GrpcInbox>,
    server: Option<PeerServer>,
    _roles: AbortOnDropHandle<()>,
}

/// The task that answers the other nodes' gRPC.
struct PeerServer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Cluster {
    pub(super) fn new(redis: RedisBackend, parts: PeerParts, metrics: Arc<Metrics>) -> Self {
        let control = ControlFanout::new(redis.client.clone(), &parts.source, &*redis.clock, metrics.clone());
        Self { redis, parts, control: Arc::new(control), metrics }
    }

    /// Chat's way to the sockets of all nodes.
    pub fn user_fanout(&self, local: &Arc<LocalUserFanout>) -> Result<Arc<dyn UserFanout>, InvalidRedisAddress> {
        let RedisBackend { address, client, clock } = &self.redis;
        let (source, metrics) = (&self.parts.source, self.metrics.clone());
        let fanout = RedisUserFanout::start(address, client.clone(), source, local.clone(), clock.clone(), metrics)?;
        Ok(Arc::new(fanout))
    }

    /// The way of a door's channels to the same door of all nodes.
    pub fn channel_fanout(&self, door: &'static str) -> Result<Arc<dyn ChannelFanout>, InvalidRedisAddress> {
        let RedisBackend { address, client, .. } = &self.redis;
        let (source, metrics) = (&self.parts.source, self.metrics.clone());
        Ok(Arc::new(RedisChannelFanout::start(address, client.clone(), source, door, metrics)?))
    }

    /// The way of this node's own log to the gateways of all nodes.
    pub fn own_log_fanout(&self, hub: &Arc<Hub>, priority: RoomPriority) -> Arc<dyn Fanout> {
        let RedisBackend { client, clock, .. } = &self.redis;
        let rooms = RedisFanout::new(client.clone(), &self.parts.source, clock.clone(), self.metrics.clone());
        let rooms: Arc<dyn Fanout> = Arc::new(rooms.with_priority(priority));
        let pauses = if self.parts.persisted_by_others { &NOTICE_PAUSES[..] } else { &[Duration::ZERO] };
        tokio::spawn(announce_late_comments(self.parts.spooled.clone(), Arc::downgrade(&rooms), pauses));
        self.route(hub, rooms)
    }

    /// The way of a shared log to the gateways that hold a room.
    pub fn shared_log_fanout(
        &self,
        hub: &Arc<Hub>,
        subscriptions: &ClusterSubscriptions,
        priority: RoomPriority,
    ) -> Arc<dyn Fanout> {
        let PeerParts { source, members, security, listener, .. } = &self.parts;
        let rooms = GrpcFanout::start(FanoutParts {
            me: listener.as_ref().map(|listener| listener.address.clone()).unwrap_or_default(),
            source: source.clone(),
            holders: subscriptions.directory.clone(),
            members: members.clone(),
            security: security.clone(),
            clock: self.redis.clock.clone(),
            metrics: self.metrics.clone(),
        });
        self.route(hub, Arc::new(rooms.with_priority(priority)))
    }

    fn route(&self, hub: &Arc<Hub>, rooms: Arc<dyn Fanout>) -> Arc<dyn Fanout> {
        Arc::new(RoutingFanout { local: hub.clone(), control: self.control.clone(), rooms })
    }

    /// Subscribes to the other nodes, before the first room is held.
    pub fn subscribe(&self, hub: &Arc<Hub>, ingest: &Arc<Ingest>) -> Result<ClusterSubscriptions, InvalidRedisAddress> {
        let Self { redis: RedisBackend { address, client, clock }, parts, metrics, .. } = self;
        let directory = self.open_directory(hub);
        let reread = parts.persisted_by_others.then(|| Arc::new(DelayedReread::new(hub)));
        let on_gap = on_gap(hub, reread.clone());
        let inlet = hub.remote_fanout();
        let batches = Arc::new(GrpcInbox::new(inlet.clone(), on_gap.clone(), clock.clone(), metrics.clone()));
        let inbox = RedisInbox::start(
            address,
            client.clone(),
            &parts.source,
            inlet.clone(),
            on_gap,
            clock.clone(),
            metrics.clone(),
        )?;
        hub.register_subscriptions(Arc::new(HeldRooms {
            inbox,
            batches: batches.clone(),
            directory: directory.clone(),
            reread,
            hub: Arc::downgrade(hub),
        }));
        let on_news = Arc::new(on_control_message(hub, ingest));
        let control = ControlInbox::start(address, client, &parts.source, inlet, on_news, metrics.clone())?;
        let _roles = AbortOnDropHandle::new(tokio::spawn(log_missing_roles(parts.members.clone())));
        Ok(ClusterSubscriptions { _control: control, directory, batches, server: None, _roles })
    }

    /// The directory of rooms, to which this node reports what it holds.
    fn open_directory(&self, hub: &Arc<Hub>) -> Arc<RedisDirectory> {
        let RedisBackend { client, clock, .. } = &self.redis;
        let directory = Arc::new(RedisDirectory::new(client.clone(), self.parts.number.clone(), clock.clone()));
        hub.register_viewers(directory.clone());
        let (of, to) = (hub.clone(), hub.clone());
        let set_viewers = move |room_id: &RoomId, viewers| to.set_remote_viewers(room_id, viewers);
        tokio::spawn(directory.clone().report(move || of.held_rooms(), set_viewers));
        directory
    }

    /// Starts to answer the other nodes' gRPC, if this node listens for it.
    pub fn serve_peers(&mut self, subscriptions: &mut ClusterSubscriptions, roles: Roles, ingest: &Arc<Ingest>) {
        let Some(PeerListener { listener, address }) = self.parts.listener.take() else { return };
        let rules: Arc<dyn AdmitComments> = ingest.clone();
        let services = PeerServices {
            gateway: roles.has_viewers().then(|| subscriptions.batches.clone()),
            ingest: roles.has(Role::Ingest).then_some(rules),
        };
        let stop = CancellationToken::new();
        let serving = serve(listener, self.parts.security.clone(), services, stop.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the listener for other nodes failed");
            }
        });
        let tls = self.parts.security.tls.is_some();
        tracing::info!(address, tls, "other nodes are heard");
        subscriptions.server = Some(PeerServer { stop, task });
    }

    /// The certificates of its connections, to be reloaded when their files change.
    pub fn certificates(&self) -> Vec<Arc<PeerTls>> {
        [&self.parts.security.tls, &self.parts.etcd_tls].into_iter().flatten().cloned().collect()
    }

    /// Releases this node's number, so that another node can have it at once.
    pub async fn leave(&self) {
        if let Some(lease) = self.parts.number.withdraw()
            && let Err(error) = lease.release().await
        {
            tracing::warn!(%error, "this node's number was not given back; its lease runs out");
        }
    }
}

impl ClusterSubscriptions {
    /// Stops answering the other nodes' gRPC; calls that have arrived are still answered.
    pub async fn close(&mut self) {
        let Some(PeerServer { stop, mut task }) = self.server.take() else { return };
        stop.cancel();
        match timeout(CLOSE_TIMEOUT, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the listener for other nodes failed"),
            // A node that hangs does not hang up.
            Err(_) => task.abort(),
        }
    }
}

/// Enters rooms that this node holds into the directory, and subscribes to their batches.
struct HeldRooms {
    inbox: RedisInbox,
    batches: Arc<GrpcInbox>,
    directory: Arc<RedisDirectory>,
    reread: Option<Arc<DelayedReread>>,
    hub: Weak<Hub>,
}

#[async_trait]
impl RoomSubscriptions for HeldRooms {
    async fn hold(&self, room_id: &RoomId) {
        let ((), viewers) = tokio::join!(self.inbox.hold(room_id), self.directory.hold(room_id));
        if let Some(hub) = self.hub.upgrade() {
            hub.set_remote_viewers(room_id, viewers);
        }
        if let Some(reread) = &self.reread {
            // Workers may use an older answer of the directory for this long.
            tokio::time::sleep(NODES_AGE).await;
            reread.schedule(room_id);
        }
    }

    fn release(&self, room_id: &RoomId) {
        self.inbox.release(room_id);
        self.batches.release(room_id);
        let (directory, room_id) = (self.directory.clone(), room_id.clone());
        tokio::spawn(async move { directory.release(&room_id).await });
    }
}

fn on_gap(hub: &Arc<Hub>, reread: Option<Arc<DelayedReread>>) -> OnGap {
    let hub = Arc::downgrade(hub);
    Arc::new(move |room_id: &RoomId, since_ms| {
        if let Some(hub) = hub.upgrade() {
            hub.mark_incomplete(room_id, since_ms);
        }
        if let Some(reread) = &reread {
            reread.schedule(room_id);
        }
    })
}

/// Gives messages of the control channel to the hub and to the copies that the rules keep.
fn on_control_message(hub: &Arc<Hub>, ingest: &Arc<Ingest>) -> impl Fn(ControlMessage) + use<> {
    let rooms = Arc::downgrade(hub);
    let sockets = rooms.clone();
    let recheck = move |user: Option<&UserId>| {
        if let Some(hub) = sockets.upgrade() {
            hub.recheck(user);
        }
    };
    let replica = ingest::ReplicaRefresher::start(ingest, Arc::new(recheck));
    move |message: ControlMessage| {
        match (&message, rooms.upgrade()) {
            (ControlMessage::Disconnected(disconnected), Some(hub)) => hub.set_disconnected(*disconnected),
            (ControlMessage::GapDetected, Some(hub)) => hub.mark_all_incomplete(),
            _ => {}
        }
        replica.submit(message);
    }
}

/// Reads rooms again a while after a read to which the store may not have had everything.
struct DelayedReread {
    hub: Weak<Hub>,
    /// Rooms that are scheduled, so that each is read once.
    scheduled: Mutex<HashSet<RoomId>>,
}

impl DelayedReread {
    fn new(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::downgrade(hub), scheduled: Mutex::default() }
    }

    fn schedule(self: &Arc<Self>, room_id: &RoomId) {
        if !self.scheduled.lock().insert(room_id.clone()) {
            return;
        }
        let (this, room_id) = (self.clone(), room_id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(REREAD_AFTER).await;
            this.scheduled.lock().remove(&room_id);
            if let Some(hub) = this.hub.upgrade() {
                hub.mark_incomplete(&room_id, 0);
            }
        });
    }
}

/// Logs which roles no node has, whenever that changes.
async fn log_missing_roles(members: Members) {
    let (mut changes, mut logged) = (members.changes(), None);
    loop {
        let nodes = changes.borrow_and_update().clone();
        let all: Roles = nodes.iter().flat_map(|node| node.info.roles.iter()).collect();
        let missing = all.others();
        if logged != Some(missing) && missing != Roles::ALL.others() {
            tracing::warn!(%missing, "no node that lives has these roles");
        } else if logged.is_some_and(|logged| logged != missing) {
            tracing::info!("every role has a node");
        }
        logged = Some(missing);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Notifies the other nodes of comments that the spool handed over, after each of the pauses, while the fan-out lives.
async fn announce_late_comments(spooled: Arc<SpoolingJournal>, rooms: Weak<dyn Fanout>, pauses: &[Duration]) {
    loop {
        let late = spooled.late().await;
        for pause in pauses {
            tokio::time::sleep(*pause).await;
            let Some(rooms) = rooms.upgrade() else { return };
            late.iter().for_each(|(room_id, since_ms)| rooms.kept_late(room_id, *since_ms));
        }
    }
}

//! Of a node among several: what it tells the others, and hears of them.
//!
//! Batches of rooms come over Redis, from nodes that have a log of their own (or whose Kafka is away), and over gRPC, from the
//! workers of a log on Kafka; what concerns every node comes over Redis in either shape.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bus::grpc::{Admit, FanoutParts, GrpcFanout, GrpcInbox, IngestNodes, Secret, Stations, serve};
use bus::redis::{
    ControlFanout, ControlInbox, Missed, NODES_AGE, RedisDirectory, RedisFanout, RedisInbox, RedisUserFanout,
};
use bus::registry::{Members, NodeLease};
use bus::spool::SpoolingJournal;
use bus::{ControlNews, Elsewhere, Fanout, NodeNumber, TwoWays, UserFanout, Weigh};
use chat::Post;
use ingest::{Ingest, Tokens};
use model::{Clock, Metrics, Role, Roles, RoomId, UserId};
use parking_lot::Mutex;
use redis_client::{Address, BadAddress, Redis};
use room::Hub;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;

/// When a room is looked at once more: by then what had been acknowledged is kept, unless the store is away.
const ONCE_MORE: Duration = Duration::from_millis(1_500);
/// When other nodes are told of what the spool handed over, one after the other. What went to Kafka is in the store only when those
/// who keep it have come back too, which nobody here knows.
const KEPT_BY_OTHERS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(20)];
/// When the node ends, other nodes' connections have so long.
const GRACE: Duration = Duration::from_millis(500);

/// What a node of several has besides.
pub struct Nodes {
    pub(super) address: Address,
    pub(super) redis: Redis,
    pub(super) number: Arc<NodeNumber<NodeLease>>,
    /// Its name between nodes: no other start of a process has it.
    pub(super) source: String,
    /// Says what this node's own log kept late.
    pub(super) drained: Option<Arc<SpoolingJournal>>,
    pub(super) control: Arc<ControlFanout>,
    pub(super) members: Members,
    pub(super) secret: Secret,
    /// Where it hears the others' gRPC.
    pub(super) ear: Option<Ear>,
    /// Who decides about comments, when it is not this process.
    pub(super) ingest: Option<Arc<IngestNodes>>,
    /// What it may have to wait for before the store has what was acknowledged: a log that is kept by others.
    pub(super) store_lags: bool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// A listener, and how others reach it.
pub(super) struct Ear {
    listener: TcpListener,
    pub address: String,
}

impl Ear {
    /// Opens `nodes.listen`, if it is set.
    pub async fn open(config: &Config) -> anyhow::Result<Option<Self>> {
        let crate::config::Nodes { listen, advertise } = &config.nodes;
        if listen.is_empty() {
            return Ok(None);
        }
        let address: SocketAddr = listen.parse().context("nodes.listen")?;
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {listen}"))?;
        let bound = listener.local_addr()?.to_string();
        Ok(Some(Self { listener, address: if advertise.is_empty() { bound } else { advertise.clone() } }))
    }
}

/// The ways into this node; dropping them closes them.
pub struct Ways {
    _control: ControlInbox,
    directory: Arc<RedisDirectory>,
    grpc: Arc<GrpcInbox>,
    station: Option<Station>,
    _roles: AbortOnDropHandle<()>,
}

/// What answers the others' gRPC.
struct Station {
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Nodes {
    /// Chat's way to the sockets of all nodes.
    pub(super) fn user_fanout(&self, post: &Arc<Post>) -> Result<Arc<dyn UserFanout>, BadAddress> {
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        let redis = self.redis.clone();
        let fanout = RedisUserFanout::start(&self.address, redis, &self.source, post.clone(), clock, metrics)?;
        Ok(Arc::new(fanout))
    }

    /// The way of this node's own log to the gateways of all nodes.
    pub(super) fn fanout(&self, hub: &Arc<Hub>, weigh: Weigh) -> Arc<dyn Fanout> {
        let (control, clock, metrics) = (self.control.clone(), self.clock.clone(), self.metrics.clone());
        let rooms = RedisFanout::new(self.redis.clone(), &self.source, hub.clone(), control, clock, metrics);
        let rooms: Arc<dyn Fanout> = Arc::new(rooms.weighing(weigh));
        if let Some(drained) = self.drained.clone() {
            let pauses = if self.store_lags { &KEPT_BY_OTHERS[..] } else { &[Duration::ZERO] };
            tokio::spawn(tell_late(drained, Arc::downgrade(&rooms), pauses));
        }
        rooms
    }

    /// The way of a log that nodes share to the gateways that hold a room.
    pub(super) fn push(&self, hub: &Arc<Hub>, ways: &Ways, weigh: Weigh) -> Arc<dyn Fanout> {
        let rooms = GrpcFanout::start(FanoutParts {
            me: self.ear.as_ref().map(|ear| ear.address.clone()).unwrap_or_default(),
            source: self.source.clone(),
            here: Arc::new(()),
            holders: ways.directory.clone(),
            members: self.members.clone(),
            secret: self.secret.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        });
        Arc::new(TwoWays { here: hub.clone(), control: self.control.clone(), rooms: Arc::new(rooms.weighing(weigh)) })
    }

    /// Opens the ways in, before the first room is held.
    pub(super) fn open(&self, hub: &Arc<Hub>, ingest: &Arc<Ingest>, tokens: &Arc<Tokens>) -> Result<Ways, BadAddress> {
        let Self { address, redis, number, source, clock, metrics, .. } = self;
        let directory = Arc::new(RedisDirectory::new(redis.clone(), number.clone(), clock.clone()));
        hub.register_viewers(directory.clone());
        let (of, to) = (hub.clone(), hub.clone());
        let told = move |room_id: &RoomId, viewers| to.viewers_elsewhere(room_id, viewers);
        tokio::spawn(directory.clone().keep(move || of.held(), told));

        let once_more = self.store_lags.then(|| Arc::new(OnceMore::new(hub)));
        let missed = missed(hub, once_more.clone());
        let inlet = hub.inlet();
        let grpc = Arc::new(GrpcInbox::new(inlet.clone(), missed.clone(), clock.clone(), metrics.clone()));
        let inbox =
            RedisInbox::start(address, redis.clone(), source, inlet.clone(), missed, clock.clone(), metrics.clone())?;
        let rooms =
            Rooms { inbox, grpc: grpc.clone(), directory: directory.clone(), once_more, hub: Arc::downgrade(hub) };
        hub.register_elsewhere(Arc::new(rooms));

        let rooms = Arc::downgrade(hub);
        let sockets = rooms.clone();
        let recheck = move |user: Option<&UserId>| {
            if let Some(hub) = sockets.upgrade() {
                hub.recheck(user);
            }
        };
        let elsewhere = ingest::Elsewhere::start(ingest, tokens.clone(), Arc::new(recheck));
        let hear = move |news: ControlNews| {
            match (&news, rooms.upgrade()) {
                (ControlNews::Deaf(deaf), Some(hub)) => hub.set_deaf(*deaf),
                (ControlNews::Missed, Some(hub)) => hub.missed_everywhere(),
                _ => {}
            }
            elsewhere.take(news);
        };
        let control = ControlInbox::start(address, redis, source, inlet, Arc::new(hear), metrics.clone())?;
        let _roles = AbortOnDropHandle::new(tokio::spawn(tell_of_roles(self.members.clone())));
        Ok(Ways { _control: control, directory, grpc, station: None, _roles })
    }

    /// Begins to answer the others' gRPC, where this node listens for it.
    pub(super) fn listen(&mut self, ways: &mut Ways, roles: Roles, ingest: &Arc<Ingest>) {
        let Some(Ear { listener, address }) = self.ear.take() else { return };
        let decides: Arc<dyn Admit> = ingest.clone();
        let stations = Stations {
            gateway: roles.has_viewers().then(|| ways.grpc.clone()),
            ingest: roles.has(Role::Ingest).then_some(decides),
        };
        let stop = CancellationToken::new();
        let serving = serve(listener, self.secret.clone(), stations, stop.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the listener for other nodes failed");
            }
        });
        tracing::info!(address, "other nodes are heard");
        ways.station = Some(Station { stop, serving });
    }

    /// Gives the number back, so that another node may have it at once.
    pub async fn leave(&self) {
        if let Some(lease) = self.number.leave()
            && let Err(error) = lease.give_up().await
        {
            tracing::warn!(%error, "this node's number was not given back; its lease runs out");
        }
    }
}

impl Ways {
    /// Hears the others' gRPC no longer; what it had heard is answered.
    pub async fn close(&mut self) {
        let Some(Station { stop, mut serving }) = self.station.take() else { return };
        stop.cancel();
        match timeout(GRACE, &mut serving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the listener for other nodes failed"),
            // A node that hangs does not hang up.
            Err(_) => serving.abort(),
        }
    }
}

/// What a room that is held here is written into: the channel's hearers, and the directory.
struct Rooms {
    inbox: RedisInbox,
    grpc: Arc<GrpcInbox>,
    directory: Arc<RedisDirectory>,
    once_more: Option<Arc<OnceMore>>,
    hub: Weak<Hub>,
}

#[async_trait]
impl Elsewhere for Rooms {
    async fn hold(&self, room_id: &RoomId) {
        let ((), viewers) = tokio::join!(self.inbox.hold(room_id), self.directory.hold(room_id));
        if let Some(hub) = self.hub.upgrade() {
            hub.viewers_elsewhere(room_id, viewers);
        }
        if let Some(once_more) = &self.once_more {
            // For so long workers may not know.
            tokio::time::sleep(NODES_AGE).await;
            once_more.look_at(room_id);
        }
    }

    fn release(&self, room_id: &RoomId) {
        self.inbox.release(room_id);
        self.grpc.release(room_id);
        let (directory, room_id) = (self.directory.clone(), room_id.clone());
        tokio::spawn(async move { directory.release(&room_id).await });
    }
}

fn missed(hub: &Arc<Hub>, once_more: Option<Arc<OnceMore>>) -> Missed {
    let hub = Arc::downgrade(hub);
    Arc::new(move |room_id: &RoomId, since_ms| {
        if let Some(hub) = hub.upgrade() {
            hub.missed(room_id, since_ms);
        }
        if let Some(once_more) = &once_more {
            once_more.look_at(room_id);
        }
    })
}

/// Reads rooms again a while after they were read, when the store may not have had everything then.
struct OnceMore {
    hub: Weak<Hub>,
    /// Those that wait for it, so that each does once.
    waiting: Mutex<HashSet<RoomId>>,
}

impl OnceMore {
    fn new(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::downgrade(hub), waiting: Mutex::default() }
    }

    fn look_at(self: &Arc<Self>, room_id: &RoomId) {
        if !self.waiting.lock().insert(room_id.clone()) {
            return;
        }
        let (this, room_id) = (self.clone(), room_id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(ONCE_MORE).await;
            this.waiting.lock().remove(&room_id);
            if let Some(hub) = this.hub.upgrade() {
                hub.missed(&room_id, 0);
            }
        });
    }
}

/// Says which roles no node has, whenever that changes.
async fn tell_of_roles(members: Members) {
    let (mut changes, mut told) = (members.changes(), None);
    loop {
        let nodes = changes.borrow_and_update().clone();
        let all: Roles = nodes.iter().flat_map(|node| node.card.roles.iter()).collect();
        let missing = all.others();
        if told != Some(missing) && missing != Roles::ALL.others() {
            tracing::warn!(%missing, "no node that lives has these roles");
        } else if told.is_some_and(|told| told != missing) {
            tracing::info!("every role has a node");
        }
        told = Some(missing);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the other nodes of what the spool handed over, after each of these pauses, for as long as there is a way to them.
async fn tell_late(drained: Arc<SpoolingJournal>, rooms: Weak<dyn Fanout>, pauses: &[Duration]) {
    loop {
        let late = drained.late().await;
        for pause in pauses {
            tokio::time::sleep(*pause).await;
            let Some(rooms) = rooms.upgrade() else { return };
            late.iter().for_each(|(room_id, since_ms)| rooms.kept_late(room_id, *since_ms));
        }
    }
}

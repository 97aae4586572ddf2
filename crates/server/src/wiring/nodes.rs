//! The ways between the nodes of the Redis shape: what this one tells the others, and hears of them.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bus::redis::{ControlInbox, RedisDirectory, RedisFanout, RedisInbox, RedisUserFanout};
use bus::{ControlNews, Elsewhere, Fanout, UserFanout, Weigh};
use chat::Post;
use ingest::{Ingest, Tokens};
use model::{Clock, Metrics, RoomId};
use redis_client::BadAddress;
use room::Hub;

use super::backends::Nodes;

/// The ways into this node; dropping them closes them.
pub struct Ways {
    _control: ControlInbox,
}

impl Nodes {
    /// Chat's way to the sockets of all nodes.
    pub fn user_fanout(
        &self,
        post: &Arc<Post>,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<dyn UserFanout>, BadAddress> {
        let fanout = RedisUserFanout::start(
            &self.address,
            self.redis.clone(),
            &self.source,
            post.clone(),
            clock.clone(),
            metrics.clone(),
        )?;
        Ok(Arc::new(fanout))
    }

    /// The worker's way to the gateways of all nodes.
    pub fn fanout(
        &self,
        hub: &Arc<Hub>,
        weigh: Weigh,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Arc<dyn Fanout> {
        let (redis, clock) = (self.redis.clone(), clock.clone());
        Arc::new(RedisFanout::new(redis, &self.source, hub.clone(), clock, metrics.clone()).weighing(weigh))
    }

    /// Opens the ways in, before the first room is held.
    pub fn open(
        &self,
        hub: &Arc<Hub>,
        ingest: &Arc<Ingest>,
        tokens: &Arc<Tokens>,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Result<Ways, BadAddress> {
        let Self { address, redis, number, source } = self;
        let directory = Arc::new(RedisDirectory::new(redis.clone(), number.clone(), clock.clone()));
        hub.register_viewers(directory.clone());
        let (of, to) = (hub.clone(), hub.clone());
        let told = move |room_id: &RoomId, viewers| to.viewers_elsewhere(room_id, viewers);
        tokio::spawn(directory.clone().keep(move || of.held(), told));

        let behind = Arc::downgrade(hub);
        let missed = move |room_id: &RoomId, since_ms| {
            if let Some(hub) = behind.upgrade() {
                hub.missed(room_id, since_ms);
            }
        };
        let (inlet, missed) = (hub.inlet(), Arc::new(missed));
        let inbox =
            RedisInbox::start(address, redis.clone(), source, inlet.clone(), missed, clock.clone(), metrics.clone())?;
        hub.register_elsewhere(Arc::new(Rooms { inbox, directory, hub: Arc::downgrade(hub) }));

        let elsewhere = ingest::Elsewhere::start(ingest, tokens.clone());
        let rooms = Arc::downgrade(hub);
        let hear = move |news: ControlNews| {
            match (&news, rooms.upgrade()) {
                (ControlNews::Deaf(deaf), Some(hub)) => hub.set_deaf(*deaf),
                (ControlNews::Missed, Some(hub)) => hub.missed_everywhere(),
                _ => {}
            }
            elsewhere.take(news);
        };
        let control = ControlInbox::start(address, redis, source, inlet, Arc::new(hear), metrics.clone())?;
        Ok(Ways { _control: control })
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

/// What a room that is held here is written into: the channel's hearers, and the directory.
struct Rooms {
    inbox: RedisInbox,
    directory: Arc<RedisDirectory>,
    hub: Weak<Hub>,
}

#[async_trait]
impl Elsewhere for Rooms {
    async fn hold(&self, room_id: &RoomId) {
        let ((), viewers) = tokio::join!(self.inbox.hold(room_id), self.directory.hold(room_id));
        if let Some(hub) = self.hub.upgrade() {
            hub.viewers_elsewhere(room_id, viewers);
        }
    }

    fn release(&self, room_id: &RoomId) {
        self.inbox.release(room_id);
        let (directory, room_id) = (self.directory.clone(), room_id.clone());
        tokio::spawn(async move { directory.release(&room_id).await });
    }
}

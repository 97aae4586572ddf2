//! Reports to chat who connects and disconnects, in order for each user.
//!
//! Shards record without waiting; one task forwards. With a task for each report, a disconnect could overtake its connect
//! and leave a user online for ever, and the end of a replaced socket could overtake its successor and show the user
//! offline for a moment. What waits is bounded by the sockets: a disconnect whose connect still waits removes it.

use std::sync::Arc;

use ahash::HashMap;
use chat::Chat;
use futures::StreamExt;
use model::UserId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::conn::Session;

/// Users whose reports are forwarded at once: each report may ask other machines.
const CONCURRENT_MAX: usize = 64;

/// The reports that wait to be forwarded.
#[derive(Default)]
pub(crate) struct PresenceEvents {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    /// By the sockets' numbers.
    reports: HashMap<u64, Report>,
    /// No shard reports any more.
    closed: bool,
}

enum Report {
    Connected(Arc<Session>),
    /// Its socket comes from another process of this node.
    TakenOver(Arc<Session>),
    Disconnected(Arc<Session>),
    /// Its socket was told to connect again.
    Drained(Arc<Session>),
}

impl Report {
    fn user(&self) -> UserId {
        match self {
            Self::Connected(session)
            | Self::TakenOver(session)
            | Self::Disconnected(session)
            | Self::Drained(session) => session.identity.user_id.clone(),
        }
    }

    async fn forward(self, chat: &Chat) {
        match self {
            Self::Connected(session) => {
                chat.connected(&session.identity, session.socket).await;
                // Other nodes close the device's older sockets only now, so that the user stays online meanwhile.
                if let Some(device) = session.device.clone() {
                    chat.announce_device(&session.identity.user_id, device, session.since_ms, session.number).await;
                }
            }
            Self::TakenOver(session) => chat.taken_over(&session.identity, session.socket).await,
            Self::Disconnected(session) => chat.disconnected(&session.identity, session.socket).await,
            Self::Drained(session) => chat.drained(&session.identity),
        }
    }
}

/// The reports of each user, connects first: who comes and goes at once stays online.
fn by_user(reports: HashMap<u64, Report>) -> HashMap<UserId, Vec<Report>> {
    let mut users: HashMap<UserId, Vec<Report>> = HashMap::default();
    for report in reports.into_values() {
        users.entry(report.user()).or_default().push(report);
    }
    for reports in users.values_mut() {
        reports.sort_by_key(|report| matches!(report, Report::Disconnected(_)));
    }
    users
}

impl PresenceEvents {
    /// A user's session has begun on a socket.
    pub fn connected(&self, session: Arc<Session>) {
        self.queue.lock().reports.insert(session.socket, Report::Connected(session));
        self.changed.notify_one();
    }

    /// A user's session goes on, on a socket of another process.
    pub fn taken_over(&self, session: Arc<Session>) {
        self.queue.lock().reports.insert(session.socket, Report::TakenOver(session));
        self.changed.notify_one();
    }

    /// The user's session on a socket has ended. While the node drains, the user is about to come back elsewhere.
    pub fn disconnected(&self, session: Arc<Session>, drains: bool) {
        let mut queue = self.queue.lock();
        if queue.reports.remove(&session.socket).is_none() {
            let report = if drains { Report::Drained } else { Report::Disconnected };
            queue.reports.insert(session.socket, report(session));
        }
        self.changed.notify_one();
    }

    /// The shards have ended: the task forwards what waits, then ends.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_one();
    }

    /// Forwards reports until it is closed.
    pub async fn forward(self: Arc<Self>, chat: Arc<Chat>) {
        loop {
            let (reports, closed) = self.drain();
            if reports.is_empty() {
                if closed {
                    break;
                }
                self.changed.notified().await;
            }
            let users = futures::stream::iter(by_user(reports).into_values());
            let forward = async |reports: Vec<Report>| {
                for report in reports {
                    report.forward(&chat).await;
                }
            };
            users.for_each_concurrent(CONCURRENT_MAX, forward).await;
        }
        chat.store_sightings().await;
    }

    fn drain(&self) -> (HashMap<u64, Report>, bool) {
        let mut queue = self.queue.lock();
        (std::mem::take(&mut queue.reports), queue.closed)
    }
}

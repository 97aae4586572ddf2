//! Applies what other nodes changed: words, bans, revocations, rooms, users with pending events.
//!
//! The store is the truth of all of these; this node keeps copies. The wiring gives [`ReplicaRefresher`] the news of the
//! control channel. Its one task reads again what changed. After a gap, and now and then while it is disconnected, it
//! reads everything again. A single node does not start it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use fanout::ControlMessage;
use log::{Change, Entry, Record};
use model::UserId;
use store::StoreError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, interval_at, sleep_until};

use crate::Ingest;
use crate::filter::ReadError;

/// Batches of entries that may wait; beyond it they are dropped and everything is read again.
const QUEUE_MAX: usize = 8_192;
/// Everything is read again at most this often.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(3);
/// How often everything is read again while disconnected. Rooms in use are read sooner
/// ([`crate::rooms::REREAD_MS`]).
const DISCONNECTED_REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// How often this node looks for sessions of dead nodes, so that it can end them.
const LIVE_SESSIONS_INTERVAL: Duration = Duration::from_secs(600);

/// Called after bans or revocations of a user (`Some`), or of anybody (`None`), were read: those who connected before
/// must be checked again. Must not block.
pub type Recheck = Arc<dyn Fn(Option<&UserId>) + Send + Sync>;

/// Receives the news. Ends with the last [`Ingest`].
pub struct ReplicaRefresher {
    ingest: Weak<Ingest>,
    queue: mpsc::Sender<Vec<Entry>>,
    gap: Arc<Notify>,
}

impl ReplicaRefresher {
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(ingest: &Arc<Ingest>, recheck: Recheck) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE_MAX);
        let gap = Arc::new(Notify::new());
        let ingest = Arc::downgrade(ingest);
        tokio::spawn(RefreshTask { ingest: ingest.clone(), recheck, entries, gap: gap.clone() }.run());
        Self { ingest, queue, gap }
    }

    /// Queues a message; never blocks.
    pub fn submit(&self, message: ControlMessage) {
        match message {
            ControlMessage::Changed(mut entries) => {
                entries.retain(|entry| !matches!(entry.record, Record::Event(_)));
                if !entries.is_empty() && self.queue.try_send(entries).is_err() {
                    self.gap.notify_one();
                }
            }
            ControlMessage::GapDetected => self.gap.notify_one(),
            ControlMessage::Disconnected(disconnected) => {
                if let Some(ingest) = self.ingest.upgrade() {
                    ingest.rooms.set_disconnected(disconnected);
                }
            }
        }
    }
}

struct RefreshTask {
    ingest: Weak<Ingest>,
    recheck: Recheck,
    entries: mpsc::Receiver<Vec<Entry>>,
    gap: Arc<Notify>,
}

impl RefreshTask {
    async fn run(mut self) {
        let start = Instant::now();
        // Copies stay stale until everything was read without a failure.
        let (mut stale, mut refreshed) = (false, start);
        let mut disconnected = interval_at(start + DISCONNECTED_REFRESH_INTERVAL, DISCONNECTED_REFRESH_INTERVAL);
        let mut live = interval_at(start + LIVE_SESSIONS_INTERVAL, LIVE_SESSIONS_INTERVAL);
        loop {
            tokio::select! {
                entries = self.entries.recv() => {
                    let (Some(entries), Some(ingest)) = (entries, self.ingest.upgrade()) else { return };
                    for entry in &entries {
                        stale |= ingest.apply_remote(entry).await.is_err();
                        if let Record::Banned { user_id, .. } | Record::Revoked { user_id, .. } = &entry.record {
                            (self.recheck)(Some(user_id));
                        }
                    }
                }
                () = self.gap.notified() => stale = true,
                () = sleep_until(refreshed + REFRESH_INTERVAL_MIN), if stale => {
                    let Some(ingest) = self.ingest.upgrade() else { return };
                    // The store has logged and counted its failure.
                    stale = ingest.refresh().await.is_err();
                    (self.recheck)(None);
                    refreshed = Instant::now();
                }
                _ = disconnected.tick() => {
                    let Some(ingest) = self.ingest.upgrade() else { return };
                    stale |= ingest.rooms.is_disconnected();
                }
                _ = live.tick() => {
                    let Some(ingest) = self.ingest.upgrade() else { return };
                    stale |= ingest.rooms.load_live().await.is_err();
                }
            }
        }
    }
}

impl Ingest {
    /// Applies a change that another node announced. The store has it already.
    ///
    /// # Errors
    /// When the store is away; this node's copy is stale then.
    pub async fn apply_remote(&self, entry: &Entry) -> Result<(), StoreError> {
        match &entry.record {
            Record::Settings(settings) => {
                self.rooms.apply_remote_settings(&entry.room_id, settings);
                self.access_changes.notify();
            }
            Record::SessionStarted(session) => self.rooms.apply_remote_session(session),
            Record::SessionEnded(_) | Record::Changed(Change::Room) => self.rooms.mark_changed(&entry.room_id),
            Record::Banned { user_id, .. } | Record::Changed(Change::Bans(user_id)) => {
                self.reload_bans_of(user_id).await?;
                self.access_changes.notify();
            }
            Record::Changed(Change::Words) => self.reload_words().await?,
            Record::Changed(Change::PendingEvents(user)) => self.pending_event_users.add(user.clone()),
            Record::Revoked { user_id, before_ms } => {
                self.tokens.revoke(user_id.clone(), *before_ms);
                self.access_changes.notify();
            }
            Record::Comment { .. }
            | Record::Early(_)
            | Record::Liked { .. }
            | Record::Event(_)
            | Record::Changed(Change::Purged { .. }) => {}
        }
        Ok(())
    }

    /// Reads everything again that other nodes may have changed.
    ///
    /// # Errors
    /// When the store is away; what was read before the failure is in force.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.rooms.mark_all_changed();
        self.rooms.load_live().await?;
        self.bans.reload_all(&*self.store, self.clock.now_ms()).await?;
        self.tokens.reload_revocations(&*self.store).await?;
        self.reload_words().await?;
        self.access_changes.notify();
        self.pending_event_users.reload(&*self.store).await
    }

    async fn reload_bans_of(&self, user: &UserId) -> Result<(), StoreError> {
        self.bans.reload_user(&*self.store, user, self.clock.now_ms()).await
    }

    async fn reload_words(&self) -> Result<(), StoreError> {
        match self.filter.reload(&*self.store).await {
            Ok(()) => Ok(()),
            Err(ReadError::Store(error)) => Err(error),
            Err(ReadError::Unusable(error)) => {
                tracing::error!(%error, "cannot use the word lists of another node; the old ones stay in force");
                Ok(())
            }
        }
    }
}

//! What other nodes changed, put in force here: words, bans, revocations, rooms, for whom events are kept.
//!
//! The store is the truth of all of these and this node keeps copies. [`Elsewhere`] is given the news of the control
//! channel by the wiring and has one task, which reads again what is said to have changed. When something may have been
//! missed, and now and then while nothing is heard, it reads everything again. In the shape of one node nobody starts it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bus::{Change, ControlNews, Entry, Record};
use model::UserId;
use store::StoreError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, interval_at, sleep_until};

use crate::filter::ReadError;
use crate::{Ingest, Tokens};

/// Runs of entries that may wait; beyond it they are let go and everything is read again instead.
const WAITING_MAX: usize = 8_192;
/// Everything is read again at most this often.
const AGAIN: Duration = Duration::from_secs(3);
/// And this often while nothing is heard of other nodes; rooms in use are read again sooner
/// ([`crate::rooms::REREAD_MS`]).
const DEAF_AGAIN: Duration = Duration::from_secs(30);
/// Sessions of nodes that are gone are looked for this often, so that somebody ends them.
const LIVE_AGAIN: Duration = Duration::from_secs(600);

/// Hears that bans or revoked tokens of a user (`Some`), or of anybody (`None`), were read: only now are they known here, and
/// whoever came before is to be looked at again. Must not block.
pub type Recheck = Arc<dyn Fn(Option<&UserId>) + Send + Sync>;

/// Hears the news. Ends with the last [`Ingest`].
pub struct Elsewhere {
    ingest: Weak<Ingest>,
    waiting: mpsc::Sender<Vec<Entry>>,
    missed: Arc<Notify>,
}

impl Elsewhere {
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(ingest: &Arc<Ingest>, tokens: Arc<Tokens>, recheck: Recheck) -> Self {
        let (waiting, told) = mpsc::channel(WAITING_MAX);
        let missed = Arc::new(Notify::new());
        let ingest = Arc::downgrade(ingest);
        tokio::spawn(Reader { ingest: ingest.clone(), tokens, recheck, told, missed: missed.clone() }.run());
        Self { ingest, waiting, missed }
    }

    /// Takes news; never blocks.
    pub fn take(&self, news: ControlNews) {
        match news {
            ControlNews::Told(mut entries) => {
                entries.retain(|entry| !matches!(entry.record, Record::Event(_)));
                if !entries.is_empty() && self.waiting.try_send(entries).is_err() {
                    self.missed.notify_one();
                }
            }
            ControlNews::Missed => self.missed.notify_one(),
            ControlNews::Deaf(deaf) => {
                if let Some(ingest) = self.ingest.upgrade() {
                    ingest.rooms.set_deaf(deaf);
                }
            }
        }
    }
}

struct Reader {
    ingest: Weak<Ingest>,
    tokens: Arc<Tokens>,
    recheck: Recheck,
    told: mpsc::Receiver<Vec<Entry>>,
    missed: Arc<Notify>,
}

impl Reader {
    async fn run(mut self) {
        let start = Instant::now();
        // What is known is stale until it was read without a failure.
        let (mut stale, mut read) = (false, start);
        let mut deaf = interval_at(start + DEAF_AGAIN, DEAF_AGAIN);
        let mut live = interval_at(start + LIVE_AGAIN, LIVE_AGAIN);
        loop {
            tokio::select! {
                told = self.told.recv() => {
                    let (Some(entries), Some(ingest)) = (told, self.ingest.upgrade()) else { return };
                    for entry in &entries {
                        stale |= ingest.heed(&self.tokens, entry).await.is_err();
                        if let Record::Banned { user_id, .. } | Record::Revoked { user_id, .. } = &entry.record {
                            (self.recheck)(Some(user_id));
                        }
                    }
                }
                () = self.missed.notified() => stale = true,
                () = sleep_until(read + AGAIN), if stale => {
                    let Some(ingest) = self.ingest.upgrade() else { return };
                    // The store has logged and counted why it is away.
                    stale = ingest.refresh(&self.tokens).await.is_err();
                    (self.recheck)(None);
                    read = Instant::now();
                }
                _ = deaf.tick() => {
                    let Some(ingest) = self.ingest.upgrade() else { return };
                    stale |= ingest.rooms.is_deaf();
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
    /// Puts in force what an entry of the control channel says to have changed, once the store has it.
    ///
    /// # Errors
    /// When the store is away: what is known is stale then.
    pub async fn heed(&self, tokens: &Tokens, entry: &Entry) -> Result<(), StoreError> {
        match &entry.record {
            Record::Settings(settings) => self.rooms.set_elsewhere(&entry.room_id, settings),
            Record::SessionStarted(session) => self.rooms.started_elsewhere(session),
            Record::SessionEnded(_) | Record::Changed(Change::Room) => self.rooms.changed_elsewhere(&entry.room_id),
            Record::Banned { user_id, .. } | Record::Changed(Change::Bans(user_id)) => self.heed_bans(user_id).await?,
            Record::Changed(Change::Words) => self.heed_words().await?,
            Record::Changed(Change::Awaited(user)) => self.awaited.add(user.clone()),
            Record::Revoked { user_id, before_ms } => tokens.revoke(user_id.clone(), *before_ms),
            Record::Comment { .. } | Record::Liked { .. } | Record::Event(_) => {}
        }
        Ok(())
    }

    /// Reads everything again that other nodes may have changed.
    ///
    /// # Errors
    /// When the store is away; what was read until then is in force.
    pub async fn refresh(&self, tokens: &Tokens) -> Result<(), StoreError> {
        self.rooms.all_changed_elsewhere();
        self.rooms.load_live().await?;
        self.bans.read_all_again(&*self.store, self.clock.now_ms()).await?;
        tokens.read_again(&*self.store).await?;
        self.heed_words().await?;
        self.awaited.read_again(&*self.store).await
    }

    async fn heed_bans(&self, user: &UserId) -> Result<(), StoreError> {
        self.bans.read_again(&*self.store, user, self.clock.now_ms()).await
    }

    async fn heed_words(&self) -> Result<(), StoreError> {
        match self.filter.read_again(&*self.store).await {
            Ok(()) => Ok(()),
            Err(ReadError::Store(error)) => Err(error),
            Err(ReadError::Unusable(error)) => {
                tracing::error!(%error, "the word lists of another node cannot be used here; the old ones stay in force");
                Ok(())
            }
        }
    }
}

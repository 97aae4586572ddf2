//! A journal that goes on while what it writes to is away.
//!
//! Runs go to what lies behind; when that fails, or takes longer than [`PATIENCE`], they go to the spool, at once and
//! without asking again, until what lies behind is found there. [`SpoolingJournal::drain`] moves the spool over then, oldest first.
//!
//! New runs may overtake what still waits: the order is that of the positions, which were given before. A run
//! whose fate is not known (it took too long) is kept twice: in the spool, and perhaps behind. That is harmless, since what lies
//! behind knows each comment by its id.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::RoomId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{Spool, SpoolError, Spooled};
use crate::local::Journal;
use crate::log::{AppendError, Entry, Record};

/// How long a run may take before it goes to the spool: an acknowledgement must not take longer.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How often the spool is looked at, and what lies behind while it is away.
const LOOK: Duration = Duration::from_millis(200);
/// Before what was handed over is handed over again, when the spool's disk did not let it be forgotten.
const HALT: Duration = Duration::from_secs(5);
/// Records handed over in one run.
const RUN_MAX: usize = 500;
/// So often a record is tried by itself.
const REFUSALS_MAX: u32 = 5;

/// What a journal keeps its runs in. A run may be given to it again.
#[async_trait]
pub trait Behind: Journal {
    /// Whether it takes runs now. Answers within a second or two.
    async fn is_there(&self) -> bool;
    /// Whether it keeps an entry at all; what it does not is not spooled.
    fn keeps(&self, entry: &Entry) -> bool;
}

/// The journal.
pub struct SpoolingJournal {
    behind: Arc<dyn Behind>,
    spool: Spool,
    /// As the last run or look found it.
    is_there: AtomicBool,
    /// Rooms of which something was handed over late, and since when it was said (Unix milliseconds).
    late: Mutex<HashMap<RoomId, i64>>,
    some_late: Notify,
}

/// Why the spool is not empty yet.
enum Halt {
    /// What lies behind is away.
    Away,
    /// The spool cannot be read.
    Spool,
}

impl From<SpoolError> for Halt {
    fn from(_: SpoolError) -> Self {
        Self::Spool
    }
}

impl SpoolingJournal {
    /// Over `behind`, which is taken to be there.
    #[must_use]
    pub fn new(behind: Arc<dyn Behind>, spool: Spool) -> Self {
        let (is_there, late, some_late) = (AtomicBool::new(true), Mutex::default(), Notify::new());
        Self { behind, spool, is_there, late, some_late }
    }

    /// The rooms of which comments were handed over late, each with the moment since which they were said (Unix
    /// milliseconds), as soon as there are any; for one caller.
    pub async fn late(&self) -> HashMap<RoomId, i64> {
        self.some_late.notified().await;
        // More follows soon: what is told together costs others one look.
        sleep(LOOK).await;
        std::mem::take(&mut *self.late.lock())
    }

    fn note_late(&self, run: &[Spooled]) {
        let entries = run.iter().filter_map(|spooled| Some(&spooled.logged.as_ref()?.entry));
        let mut late = self.late.lock();
        for Entry { room_id, record, .. } in entries {
            if let Record::Comment { comment, .. } = record {
                let since_ms = late.entry(room_id.clone()).or_insert(comment.created_at_ms);
                *since_ms = comment.created_at_ms.min(*since_ms);
            }
        }
        self.some_late.notify_one();
    }

    /// Whether runs go to the spool now, or some wait in it.
    #[must_use]
    pub fn is_spooling(&self) -> bool {
        !self.is_there.load(Ordering::Relaxed) || self.spool.depth().rows > 0
    }

    /// Moves the spool to what lies behind whenever that is there. Never returns: to be spawned, and aborted at any moment.
    pub async fn drain(&self) {
        loop {
            if !self.is_there.load(Ordering::Relaxed) && self.behind.is_there().await {
                tracing::info!(waiting = self.spool.depth().rows, "what was away is back");
                self.is_there.store(true, Ordering::Relaxed);
            }
            let drained = match self.is_there.load(Ordering::Relaxed) && self.spool.depth().rows > 0 {
                true => self.drain_all().await,
                false => Ok(()),
            };
            if let Err(Halt::Away) = drained {
                self.note_away();
            }
            sleep(if let Err(Halt::Spool) = drained { HALT } else { LOOK }).await;
        }
    }

    async fn drain_all(&self) -> Result<(), Halt> {
        loop {
            let run = self.spool.oldest(RUN_MAX).await?;
            if run.is_empty() {
                tracing::info!("the spool is empty");
                return Ok(());
            }
            let rows = run.iter().map(|spooled| spooled.row).collect();
            if self.hand_over(&run).await.is_ok() {
                self.note_late(&run);
                self.spool.remove(rows).await?;
            } else {
                self.one_by_one(run).await?;
            }
        }
    }

    /// What no version understands any more is handed over as nothing.
    async fn hand_over(&self, run: &[Spooled]) -> Result<(), AppendError> {
        let entries = run.iter().filter_map(|spooled| Some(spooled.logged.as_ref()?.entry.clone()));
        self.behind.commit(&entries.collect::<Vec<_>>()).await
    }

    /// A run was refused: because what lies behind is away, or because of one record in it, which is found and put
    /// aside.
    async fn one_by_one(&self, run: Vec<Spooled>) -> Result<(), Halt> {
        for spooled in run {
            if self.is_taken(&spooled).await? {
                self.note_late(std::slice::from_ref(&spooled));
                self.spool.remove(vec![spooled.row]).await?;
            } else {
                tracing::error!(row = spooled.row, "a record is refused where others are taken; it is put aside");
                self.spool.put_aside(spooled.row).await?;
            }
        }
        Ok(())
    }

    /// Hands one over. It is refused when that fails [`REFUSALS_MAX`] times while what lies behind is there.
    async fn is_taken(&self, spooled: &Spooled) -> Result<bool, Halt> {
        for _ in 0..REFUSALS_MAX {
            if self.hand_over(std::slice::from_ref(spooled)).await.is_ok() {
                return Ok(true);
            }
            if !self.behind.is_there().await {
                return Err(Halt::Away);
            }
            sleep(LOOK).await;
        }
        Ok(false)
    }

    fn note_away(&self) {
        if self.is_there.swap(false, Ordering::Relaxed) {
            tracing::warn!("what comments are kept in is away; they go to the spool");
        }
    }
}

#[async_trait]
impl Journal for SpoolingJournal {
    async fn commit(&self, entries: &[Entry]) -> Result<(), AppendError> {
        if self.is_there.load(Ordering::Relaxed) {
            if let Ok(Ok(())) = timeout(PATIENCE, self.behind.commit(entries)).await {
                return Ok(());
            }
            self.note_away();
        }
        let kept: Vec<_> = entries.iter().filter(|entry| self.behind.keeps(entry)).cloned().collect();
        if kept.is_empty() { Ok(()) } else { self.spool.put(&kept, true).await }
    }
}

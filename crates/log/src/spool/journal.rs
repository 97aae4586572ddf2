//! A journal that keeps working while its sink is away.
//!
//! Runs go to the sink. When the sink fails or takes longer than [`PATIENCE`], this run and all later ones go to the spool,
//! until a check finds the sink available again. [`SpoolingJournal::drain`] then moves the spool over, oldest first.
//!
//! New runs may overtake spooled ones: positions, assigned before, give the order. A run whose outcome is unknown (it took too
//! long) is in the spool and perhaps in the sink too. That is harmless, because the sink drops repeats by id.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::{Repeat, RoomId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{Spool, SpoolError, Spooled};
use crate::local::Journal;
use crate::port::{AppendError, Entry, Record};

/// How long the sink may take before a run goes to the spool: an acknowledgement must not take longer.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// A run that failed after longer than this failed because this node was frozen, not because the sink is away. It is tried once
/// more: another node may have taken the same comments meanwhile, and only the sink knows.
const FROZEN_AFTER: Duration = Duration::from_secs(3);
/// Interval of checking the spool, and the sink while it is away.
const LOOK: Duration = Duration::from_millis(200);
/// Pause before handed-over records are handed over again, because the spool's disk did not remove them.
const HALT: Duration = Duration::from_secs(5);
/// Records handed over in one run.
const RUN_MAX: usize = 500;
/// Attempts to hand over one record by itself.
const REFUSALS_MAX: u32 = 5;

/// Where a journal's runs end. It may receive a run again.
#[async_trait]
pub trait Sink: Journal {
    /// Whether it accepts runs now. Answers within two seconds.
    async fn is_there(&self) -> bool;
    /// Whether it stores an entry at all; others are not spooled.
    fn keeps(&self, entry: &Entry) -> bool;
}

/// The journal.
pub struct SpoolingJournal {
    behind: Arc<dyn Sink>,
    spool: Spool,
    /// The sink's state at the last run or check.
    is_there: AtomicBool,
    /// Rooms with comments that the sink got late, and the moment of the oldest (Unix milliseconds).
    late: Mutex<HashMap<RoomId, i64>>,
    some_late: Notify,
}

/// `None` when this version does not understand the record.
fn entry_of(spooled: &Spooled) -> Option<&Entry> {
    Some(&spooled.logged.as_ref()?.entry)
}

/// Why the spool is not empty yet.
enum Halt {
    /// The sink is away.
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
    /// A journal over `behind`, which it assumes to be available.
    #[must_use]
    pub fn new(behind: Arc<dyn Sink>, spool: Spool) -> Self {
        let (is_there, late, some_late) = (AtomicBool::new(true), Mutex::default(), Notify::new());
        Self { behind, spool, is_there, late, some_late }
    }

    /// Waits for rooms with comments that the sink got late (from the spool, or after this node was frozen); each with the
    /// moment of the oldest (Unix milliseconds). For one caller.
    pub async fn late(&self) -> HashMap<RoomId, i64> {
        self.some_late.notified().await;
        // More follows soon: what is told together costs others one look.
        sleep(LOOK).await;
        std::mem::take(&mut *self.late.lock())
    }

    fn note_late<'a>(&self, entries: impl Iterator<Item = &'a Entry>) {
        let mut late = self.late.lock();
        for Entry { room_id, record, .. } in entries {
            if let Record::Comment { comment, .. } = record {
                let since_ms = late.entry(room_id.clone()).or_insert(comment.created_at_ms);
                *since_ms = comment.created_at_ms.min(*since_ms);
            }
        }
        self.some_late.notify_one();
    }

    /// Whether runs go to the spool now or records wait in it.
    #[must_use]
    pub fn is_spooling(&self) -> bool {
        !self.is_there.load(Ordering::Relaxed) || self.spool.depth().rows > 0
    }

    /// Moves the spool to the sink whenever the sink is available. Never returns; may be aborted at any moment.
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
                self.note_late(run.iter().filter_map(entry_of));
                self.spool.remove(rows).await?;
            } else {
                self.one_by_one(run).await?;
            }
        }
    }

    /// A record that this version does not understand is removed without being handed over.
    async fn hand_over(&self, run: &[Spooled]) -> Result<(), AppendError> {
        let entries = run.iter().filter_map(|spooled| Some(spooled.logged.as_ref()?.entry.clone()));
        self.behind.commit(&entries.collect::<Vec<_>>()).await.map(drop)
    }

    /// Handles a refused run: either the sink is away, or one record is the cause, which is found and set aside.
    async fn one_by_one(&self, run: Vec<Spooled>) -> Result<(), Halt> {
        for spooled in run {
            if self.is_taken(&spooled).await? {
                self.note_late(entry_of(&spooled).into_iter());
                self.spool.remove(vec![spooled.row]).await?;
            } else {
                tracing::error!(row = spooled.row, "a record is refused where others are taken; it is put aside");
                self.spool.put_aside(spooled.row).await?;
            }
        }
        Ok(())
    }

    /// Hands over one record. It counts as refused when that fails [`REFUSALS_MAX`] times while the sink is available.
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
    async fn commit(&self, entries: &[Entry]) -> Result<Vec<Repeat>, AppendError> {
        let mut is_known = true;
        if self.is_there.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let mut committed = timeout(PATIENCE, self.behind.commit(entries)).await;
            if !matches!(committed, Ok(Ok(_))) && begun.elapsed() > FROZEN_AFTER {
                committed = timeout(PATIENCE, self.behind.commit(entries)).await;
            }
            match committed {
                Ok(Ok(repeats)) => {
                    // Others may have read the room beyond these positions meanwhile, and a push to them may be lost.
                    if begun.elapsed() > FROZEN_AFTER {
                        self.note_late(entries.iter());
                    }
                    return Ok(repeats);
                }
                Ok(Err(_)) => {}
                Err(_) => is_known = false,
            }
            self.note_away();
        }
        let kept: Vec<_> = entries.iter().filter(|entry| self.behind.keeps(entry)).cloned().collect();
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        let put = self.spool.put(&kept, true).await;
        put.map(|()| Vec::new()).map_err(|why| if is_known { why } else { AppendError::Unknown })
    }
}

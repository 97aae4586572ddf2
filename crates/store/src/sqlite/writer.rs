//! The single writing thread. It owns the writing connection; callers submit jobs to it.
//!
//! Group commit: the thread takes all waiting jobs, runs each in a savepoint of one transaction, commits, and only then
//! answers them. So many concurrent writes share one fsync. A failing job rolls back its own changes alone; a single job
//! needs no savepoint. When the commit fails (a full disk, an I/O error), every job in it gets the error, nothing of it is
//! stored, and the thread continues with the next.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::checkpoint::Checkpointer;
use super::{Failures, contained};
use crate::{Result, StoreError};

/// Jobs that may wait. The next one is refused at once, so no caller's thread ever blocks here.
const WAITING_MAX: usize = 8_192;
/// Jobs of one transaction.
const JOBS_PER_COMMIT_MAX: usize = 1_024;

/// The handle. Dropping it lets the thread finish waiting jobs and close the file.
pub(super) struct Writer {
    jobs: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    failures: Failures,
    failing: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread; it holds `lock` until the file is closed.
    pub(super) fn start(
        db: Connection,
        checkpointer: Checkpointer,
        lock: File,
        failures: Failures,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let failing = Arc::new(AtomicBool::new(false));
        let (failures_too, failing_too) = (failures.clone(), failing.clone());
        let thread =
            WriterThread { waiting, checkpointer, db, failures: failures_too, failing: failing_too, _lock: lock };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(move || thread.serve())?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), failures, failing })
    }

    /// Reports failures.
    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Whether a job of the last transaction failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Runs `work` inside a transaction of the writing connection and waits until it is durable.
    pub(super) async fn submit<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let failures = self.failures.clone();
        let call = Box::new(Call { operation, work: Some(work), result: None, reply, failures });
        let refused = |why| self.failures.refused(operation, why);
        match self.jobs.as_ref().map(|jobs| jobs.try_send(call)) {
            Some(Ok(())) => answer.await.unwrap_or_else(|_| Err(refused("the writer has stopped"))),
            Some(Err(TrySendError::Full(_))) => Err(refused("too many writes are waiting")),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(refused("the writer has stopped")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

/// A piece of work whose answer waits for the commit.
trait Job: Send {
    /// Does the work, in a savepoint unless it has the transaction to itself; false when it failed.
    fn execute(&mut self, db: &Connection, alone: bool) -> bool;
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Call<T, F> {
    operation: &'static str,
    work: Option<F>,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
    failures: Failures,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn execute(&mut self, db: &Connection, alone: bool) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        let work = |db: &Connection| contained(db, work);
        let result = if alone { work(db) } else { in_savepoint(db, work) };
        let result = result.map_err(|error| self.failures.log(self.operation, &error));
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let answer = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError("the write was not run".into())),
        };
        if answer.is_err() {
            self.failures.count(self.operation);
        }
        // A caller that stopped waiting needs no answer.
        let _ = self.reply.send(answer);
    }
}

/// `db` is the last to close the file, which copies all of the write-ahead log back.
struct WriterThread {
    waiting: Receiver<Box<dyn Job>>,
    checkpointer: Checkpointer,
    db: Connection,
    failures: Failures,
    failing: Arc<AtomicBool>,
    _lock: File,
}

impl WriterThread {
    fn serve(self) {
        while let Ok(first) = self.waiting.recv() {
            let more = self.waiting.try_iter().take(JOBS_PER_COMMIT_MAX - 1);
            let mut jobs: VecDeque<_> = std::iter::once(first).chain(more).collect();
            while !jobs.is_empty() {
                self.commit_some(&mut jobs);
            }
            self.checkpointer.wake();
        }
    }

    /// One transaction over the jobs; usually over all of them.
    fn commit_some(&self, jobs: &mut VecDeque<Box<dyn Job>>) {
        let mut done = Vec::with_capacity(jobs.len());
        let outcome = self.transaction(jobs, &mut done);
        self.failing.store(!matches!(outcome, Ok(true)), Ordering::Relaxed);
        let committed = outcome.map(|_| ()).map_err(|error| self.failures.log("commit", &error));
        if done.is_empty() {
            // It did not even begin.
            done.extend(jobs.drain(..));
        }
        for job in done {
            job.answer(committed.clone());
        }
    }

    /// Runs and commits jobs. Returns whether all of them succeeded.
    fn transaction(&self, jobs: &mut VecDeque<Box<dyn Job>>, done: &mut Vec<Box<dyn Job>>) -> rusqlite::Result<bool> {
        let alone = jobs.len() == 1;
        let mut all_succeeded = true;
        execute(&self.db, "BEGIN IMMEDIATE")?;
        while let Some(mut job) = jobs.pop_front() {
            let succeeded = job.execute(&self.db, alone);
            done.push(job);
            all_succeeded &= succeeded;
            if alone && !succeeded {
                roll_back(&self.db);
                return Ok(false);
            }
            // Some errors end the whole transaction (<https://www.sqlite.org/lang_transaction.html>):
            // the COMMIT below then fails, and the jobs after this one get a transaction of their own.
            if self.db.is_autocommit() {
                break;
            }
        }
        execute(&self.db, "COMMIT").inspect_err(|_| roll_back(&self.db))?;
        Ok(all_succeeded)
    }
}

fn in_savepoint<T>(db: &Connection, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    execute(db, "SAVEPOINT job")?;
    let result = work(db);
    let undone = match result {
        Ok(_) => Ok(()),
        Err(_) if db.is_autocommit() => return result,
        Err(_) => execute(db, "ROLLBACK TO job"),
    };
    if let Err(error) = undone.and_then(|()| execute(db, "RELEASE job")) {
        roll_back(db);
        return Err(error);
    }
    result
}

fn execute(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Rolls back a transaction, unless it has ended by itself.
fn roll_back(db: &Connection) {
    if !db.is_autocommit() {
        let _ = db.execute_batch("ROLLBACK");
    }
}

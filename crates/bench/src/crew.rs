//! The threads of one process of the generator: starts them on their sockets, passes orders on, adds up what they
//! counted. `swarm` gives the orders, in this process or through the pipes of `generator`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use mio::{Poll, Waker};
use serde::{Deserialize, Serialize};

use crate::conn::{Conn, Spec};
use crate::measure::{Counts, RunTotals, histogram, packed};
use crate::options::CpuList;
use crate::pace::{Feed, Load};
use crate::procfs::{self, Usage};
use crate::scenario::Plan;
use crate::target::pin;
use crate::wire::Marks;
use crate::worker::{self, Command, OnTheWay, Setup, Shared, WAKER, Worker};

/// Descriptors that are not sockets of the swarm.
const OTHER_FILES: u64 = 200;

/// What a crew is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Have this share of the sockets open; answered with how many they are.
    Open(f64),
    /// A round begins.
    Begin {
        /// What is said.
        load: Load,
        /// Its start.
        start_us: u64,
        /// Moments between which due comments are measured.
        window: (u64, u64),
    },
    /// Cut all reading sockets and open them again; answered with how many they were.
    Cut,
    /// Move all reading sockets to this address; answered with how many had to connect anew.
    Move(Ipv4Addr),
    /// Slow sockets read like any other until the next round.
    CatchUp,
    /// Say what was counted.
    Counts,
    /// Say what was counted and what it took.
    Meters,
    /// Say all that was measured.
    RunTotals,
    /// Say how long deliveries took since this was last asked.
    Recent,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// So many sockets.
    Sockets(u64),
    /// To [`Order::Counts`].
    Counts(Counts),
    /// To [`Order::Meters`].
    Meters(Meters),
    /// To [`Order::RunTotals`].
    RunTotals(Box<RunTotals>),
    /// To [`Order::Recent`].
    Recent(#[serde(with = "packed")] Histogram<u64>),
    /// It cannot go on.
    Failed(String),
}

/// What one process of the generator has counted and used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Meters {
    /// Counters of all threads.
    pub counts: Counts,
    /// CPU time of each thread, nanoseconds.
    pub threads_ns: Vec<u64>,
    /// CPU time of the process.
    pub used: Usage,
}

/// The running threads. Dropping it ends them and closes the sockets.
pub struct Crew {
    handles: Vec<Handle>,
    on_the_way: Arc<OnTheWay>,
}

struct Handle {
    commands: Option<Sender<Command>>,
    waker: Waker,
    shared: Arc<Shared>,
    sockets: usize,
    sends: bool,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// Starts the threads; nothing is open yet. Those that write have threads of their own. A thread that fails says so
    /// to `failed`.
    ///
    /// # Errors
    /// When there are too few descriptors, or the system gives no thread.
    pub fn start(
        plan: &Plan,
        specs: Vec<Spec>,
        cpus: &CpuList,
        threads: usize,
        failed: &Sender<String>,
    ) -> anyhow::Result<Self> {
        let files = raise_file_limit()?;
        ensure!(
            specs.len() as u64 + OTHER_FILES <= files,
            "{} sockets need more than the {files} files that a process may open here: use more --generators",
            specs.len()
        );
        let senders = specs.iter().filter(|spec| spec.role.sends()).count();
        let readers = if specs.len() > senders { threads.max(1) } else { 0 };
        let writers = match senders {
            0 => 0,
            senders if readers == 0 => threads.clamp(1, senders),
            _ => 1,
        };
        let mut shares: Vec<Vec<Conn>> = (0..writers + readers).map(|_| Vec::new()).collect();
        for (i, spec) in specs.into_iter().enumerate() {
            let share = if spec.role.sends() { i % writers } else { writers + i % readers };
            shares.get_mut(share).context("no thread for a socket")?.push(Conn::new(spec));
        }
        let (plan, on_the_way) = (Arc::new(plan.clone()), Arc::<OnTheWay>::default());
        let start = |(i, conns): (usize, Vec<Conn>)| {
            let (poll, shared) = (Poll::new()?, Arc::<Shared>::default());
            let waker = Waker::new(poll.registry(), WAKER)?;
            let (commands, orders) = mpsc::channel();
            let (sockets, sends, cpus, failed) = (conns.len(), i < writers, cpus.clone(), failed.clone());
            let setup = Setup {
                plan: plan.clone(),
                conns,
                shared: shared.clone(),
                on_the_way: on_the_way.clone(),
                commands: orders,
            };
            let work = move || {
                let outcome = pin(&cpus).and_then(|()| Worker::new(setup, poll)).and_then(Worker::run);
                if let Err(error) = outcome {
                    // Nobody listens when the main thread has given up already.
                    let _ = failed.send(format!("a thread of the generator failed: {error}"));
                }
            };
            let name = format!("{}-{i}", if sends { "sender" } else { "reader" });
            let thread = Some(std::thread::Builder::new().name(name).spawn(work)?);
            Ok(Handle { commands: Some(commands), waker, shared, sockets, sends, thread })
        };
        let handles = shares.into_iter().enumerate().map(start).collect::<anyhow::Result<_>>()?;
        Ok(Self { handles, on_the_way })
    }

    /// Does what it is told.
    ///
    /// # Errors
    /// When a thread has ended.
    pub fn obey(&self, order: Order) -> anyhow::Result<Answer> {
        Ok(match order {
            Order::Open(share) => Answer::Sockets(self.open(share)?),
            Order::Begin { load, start_us, window } => {
                self.begin(&load, start_us, window)?;
                Answer::Done
            }
            Order::Cut => Answer::Sockets(self.cut(Command::Cut)?),
            Order::Move(to) => Answer::Sockets(self.cut(|reply| Command::Move(to, reply))?),
            Order::CatchUp => {
                self.handles.iter().try_for_each(|handle| handle.tell(Command::CatchUp))?;
                Answer::Done
            }
            Order::Counts => Answer::Counts(self.counts()),
            Order::Meters => Answer::Meters(self.meters()),
            Order::RunTotals => Answer::RunTotals(self.tally().into()),
            Order::Recent => Answer::Recent(self.recent()),
        })
    }

    fn open(&self, share: f64) -> anyhow::Result<u64> {
        let mut wanted = 0;
        for handle in &self.handles {
            let count = (handle.sockets as f64 * share).ceil() as usize;
            handle.tell(Command::Open(count))?;
            wanted += count as u64;
        }
        Ok(wanted)
    }

    fn begin(&self, load: &Load, start_us: u64, window: (u64, u64)) -> anyhow::Result<()> {
        self.on_the_way.reset();
        let senders = self.handles.iter().filter(|handle| handle.sends).count();
        let marks = match load {
            Load::Recorded(lines) => Marks::Colour { start_us, lines: lines.clone() },
            _ => Marks::Content,
        };
        for (i, handle) in self.handles.iter().enumerate() {
            let feed = if handle.sends {
                Feed::new(load.clone(), i, senders, window.1 - start_us)
            } else {
                Feed::new(Load::Silent, 0, 1, 0)
            };
            handle.tell(Command::Begin(worker::Round { start_us, window, feed, marks: marks.clone() }))?;
        }
        Ok(())
    }

    /// Opening times of before are forgotten, so that those of the way back stand alone.
    fn cut(&self, command: impl Fn(Sender<u64>) -> Command) -> anyhow::Result<u64> {
        self.handles.iter().for_each(|handle| handle.shared.tally.lock().handshake = histogram());
        let (reply, replies) = mpsc::channel();
        for handle in &self.handles {
            handle.tell(command(reply.clone()))?;
        }
        drop(reply);
        Ok(replies.iter().sum())
    }

    fn tally(&self) -> RunTotals {
        let mut sum = RunTotals::default();
        self.handles.iter().for_each(|handle| sum.add(&handle.shared.tally.lock()));
        sum
    }

    fn recent(&self) -> Histogram<u64> {
        let mut sum = histogram();
        for handle in &self.handles {
            let mut tally = handle.shared.tally.lock();
            // The bounds are the same, so adding cannot fail.
            let _ = sum.add(&tally.recent);
            tally.recent.reset();
        }
        sum
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.handles.iter().for_each(|handle| counts.add(&handle.shared.tally.lock().counts));
        counts
    }

    fn meters(&self) -> Meters {
        let tids = self.handles.iter().map(|handle| handle.shared.tid.load(Ordering::Acquire));
        Meters {
            counts: self.counts(),
            threads_ns: tids.map(|tid| procfs::thread_cpu_ns(tid).unwrap_or(0)).collect(),
            used: procfs::usage(std::process::id()).unwrap_or_default(),
        }
    }
}

impl Handle {
    fn tell(&self, command: Command) -> anyhow::Result<()> {
        let commands = self.commands.as_ref().context("the thread has ended")?;
        commands.send(command).ok().context("a thread of the generator has ended")?;
        self.waker.wake().context("cannot wake a thread")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.commands = None;
        // A thread that has ended needs no waking, and has told why it failed.
        let _ = self.waker.wake();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Takes as many descriptors as the system allows; returns how many.
fn raise_file_limit() -> anyhow::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only use the struct, which lives here.
    unsafe {
        ensure!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0, "cannot read the limit of open files");
        limit.rlim_cur = limit.rlim_max;
        ensure!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0, "cannot raise the limit of open files");
    }
    Ok(limit.rlim_cur)
}

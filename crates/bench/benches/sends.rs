//! What one `send` to one of many sockets costs, and whether anything a server can do beside it makes it cheaper.
//!
//! On a machine whose speed differs by half between minutes, two runs compare badly. Here all ways are compared within one
//! run: ten thousand sockets are dealt to the ways in turn, every tick all of them are sent to, way after way, beginning
//! with another one each time, and the thread's CPU clock is read between the ways. A bad moment is bad for all.
//!
//! `cargo bench -p bench --bench sends`: server on CPU 0, reader on CPU 1, about a minute.

#![allow(clippy::disallowed_methods)] // A tick is slept through: nothing else is to be done meanwhile.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::net::SendFlags;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

const SOCKETS: usize = 9_900;
/// Sockets that connect from one address.
const PER_ADDRESS: usize = 8_000;
const TICK: Duration = Duration::from_millis(100);
const TICKS: usize = 80;
/// Ticks before measuring: kernel buffers and windows settle.
const WARM_UP: usize = 10;
/// Ten comments as JSON.
const BATCH: usize = 3_800;
/// What a server keeps of a socket, somewhere in memory.
const STATE_BYTES: usize = 320;

/// How the sockets of one group are sent to.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    bytes: usize,
    order: Order,
    before: Before,
    call: Call,
    congestion: Option<&'static str>,
    unsent_max: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    /// As they were accepted, so neighbours in the kernel's memory follow each other.
    Accepted,
    Backwards,
    Shuffled,
}

/// What is done before a send.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// The server reads and writes a line of its own state of the socket.
    State,
    /// The same, after the processor was told about the next one a send ahead.
    StateAhead,
    /// A cheap call on the next socket, so that the kernel touches some of its state.
    CallAhead,
}

/// Who makes the system call.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// The C library, which lets other threads cancel this one meanwhile.
    Library,
    /// Nobody between.
    Direct,
}

const PLAIN: Way = Way {
    name: "as accepted, 3,800 bytes",
    bytes: BATCH,
    order: Order::Accepted,
    before: Before::Nothing,
    call: Call::Library,
    congestion: None,
    unsent_max: None,
};

fn comparisons() -> Vec<Vec<Way>> {
    vec![
        vec![
            PLAIN,
            Way { name: "backwards", order: Order::Backwards, ..PLAIN },
            Way { name: "shuffled", order: Order::Shuffled, ..PLAIN },
        ],
        vec![
            PLAIN,
            Way { name: "own state read and written", before: Before::State, ..PLAIN },
            Way { name: "the same, prefetched a send ahead", before: Before::StateAhead, ..PLAIN },
            Way { name: "a call on the next socket first", before: Before::CallAhead, ..PLAIN },
        ],
        vec![PLAIN, Way { name: "the system call made directly", call: Call::Direct, ..PLAIN }],
        vec![
            PLAIN,
            Way { name: "150 bytes", bytes: 150, ..PLAIN },
            Way { name: "500 bytes", bytes: 500, ..PLAIN },
            Way { name: "16,000 bytes", bytes: 16_000, ..PLAIN },
        ],
        vec![
            Way { name: "reno", congestion: Some("reno"), ..PLAIN },
            Way { name: "cubic", congestion: Some("cubic"), ..PLAIN },
            Way { name: "bbr", congestion: Some("bbr"), ..PLAIN },
            Way {
                name: "reno, TCP_NOTSENT_LOWAT 32 KiB",
                congestion: Some("reno"),
                unsent_max: Some(32 << 10),
                ..PLAIN
            },
        ],
    ]
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    if let (Some("--read"), Some(port)) = (args.next().as_deref(), args.next()) {
        return read(port.parse()?);
    }
    // As in a server, which has many: the library and the kernel are quicker in a process of one.
    std::thread::spawn(std::thread::park);
    println!("{SOCKETS} sockets, every one sent to each {} ms, {TICKS} times\n", TICK.as_millis());
    println!("| way | ns of CPU a send, median | × first, median of ticks | 10 % · 90 % of ticks |\n|---|---|---|---|");
    for ways in comparisons() {
        for (i, line) in compare(&ways)?.iter().enumerate() {
            println!("| {}{line}", if i == 0 { "**first:** " } else { "" });
        }
    }
    Ok(())
}

/// The reader, in a process of its own because of the number of sockets: connects, reads whatever comes, ends when the
/// server hangs up.
fn read(port: u16) -> anyhow::Result<()> {
    pin(1)?;
    let mut poll = Poll::new()?;
    let mut streams = Vec::with_capacity(SOCKETS);
    for i in 0..SOCKETS {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let from = Ipv4Addr::new(127, 0, 0, 2 + (i / PER_ADDRESS) as u8);
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
        socket.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(socket.into());
        poll.registry().register(&mut stream, Token(i), Interest::READABLE)?;
        streams.push(stream);
    }
    let (mut events, mut scratch) = (Events::with_capacity(1_024), vec![0; 1 << 19]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let stream = streams.get_mut(event.token().0).context("no such socket")?;
            if stream.read(&mut scratch).is_ok_and(|n| n == 0) {
                return Ok(());
            }
        }
    }
}

/// One line for each way.
fn compare(ways: &[Way]) -> anyhow::Result<Vec<String>> {
    pin(0)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port().to_string();
    let mut reader = Command::new(std::env::current_exe()?).args(["--read", &port]).stdin(Stdio::null()).spawn()?;
    let mut groups: Vec<Vec<std::net::TcpStream>> = ways.iter().map(|_| Vec::new()).collect();
    for i in 0..SOCKETS {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (way, group) = (&ways[i % ways.len()], i % ways.len());
        if let Some(name) = way.congestion {
            SockRef::from(&stream).set_tcp_congestion(name.as_bytes()).with_context(|| format!("no {name} here"))?;
        }
        if let Some(bytes) = way.unsent_max {
            SockRef::from(&stream).set_tcp_notsent_lowat(bytes)?;
        }
        // Whoever ends first waits for a minute, so the sockets are to end without a word.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        groups[group].push(stream);
    }
    for (way, group) in ways.iter().zip(&mut groups) {
        match way.order {
            Order::Accepted => {}
            Order::Backwards => group.reverse(),
            Order::Shuffled => shuffle(group),
        }
    }
    let mut states = vec![[0_u64; STATE_BYTES / 8]; SOCKETS];
    let bytes = vec![b'x'; ways.iter().map(|way| way.bytes).max().unwrap_or(0)];
    let mut costs: Vec<Vec<f64>> = ways.iter().map(|_| Vec::new()).collect();
    let mut due = Instant::now();
    for tick in 0..WARM_UP + TICKS {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += TICK;
        for turn in 0..ways.len() {
            let i = (tick + turn) % ways.len();
            let from = cpu_ns();
            send_all(&ways[i], &groups[i], &bytes[..ways[i].bytes], &mut states)?;
            if tick >= WARM_UP {
                costs[i].push((cpu_ns() - from) as f64 / groups[i].len() as f64);
            }
        }
    }
    drop(groups);
    reader.kill()?;
    reader.wait()?;
    let first = costs[0].clone();
    Ok(ways.iter().zip(&costs).map(|(way, costs)| line(way, costs, &first)).collect())
}

fn send_all(
    way: &Way,
    group: &[std::net::TcpStream],
    bytes: &[u8],
    states: &mut [[u64; STATE_BYTES / 8]],
) -> anyhow::Result<()> {
    // States of neighbours do not lie side by side, as those of a room's members do not.
    let place = |i: usize| i * 7_919 % SOCKETS;
    for (i, mut stream) in group.iter().enumerate() {
        if way.before == Before::StateAhead {
            prefetch(&states[place(i + 1)]);
        }
        if matches!(way.before, Before::State | Before::StateAhead) {
            let state = &mut states[place(i)];
            state[0] += state[8] + 1;
            state[16] ^= state[0];
        }
        if way.before == Before::CallAhead
            && let Some(next) = group.get(i + 1)
        {
            SockRef::from(next).tcp_mss()?;
        }
        let sent = match way.call {
            Call::Library => stream.write(bytes),
            Call::Direct => rustix::net::send(stream, bytes, SendFlags::NOSIGNAL).map_err(Into::into),
        };
        let sent = sent.with_context(|| format!("a reader of {} lags", way.name))?;
        anyhow::ensure!(sent == bytes.len(), "a reader of {} lags: {sent} of {} bytes", way.name, bytes.len());
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn prefetch(state: &[u64; STATE_BYTES / 8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for word in [0, 8, 16] {
        // SAFETY: a hint about memory that is there; it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const state[word]).cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: &[u64; STATE_BYTES / 8]) {}

fn line(way: &Way, costs: &[f64], first: &[f64]) -> String {
    let ratios: Vec<f64> = costs.iter().zip(first).map(|(cost, first)| cost / first).collect();
    let at = |values: &[f64], share: f64| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * share) as usize]
    };
    format!(
        "{} | {:.0} | {:.2} | {:.2} · {:.2} |",
        way.name,
        at(costs, 0.5),
        at(&ratios, 0.5),
        at(&ratios, 0.1),
        at(&ratios, 0.9)
    )
}

/// Fisher and Yates, with a generator of our own so that each run has the same order.
fn shuffle<T>(items: &mut [T]) {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for i in (1..items.len()).rev() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        items.swap(i, (seed % (i as u64 + 1)) as usize);
    }
}

/// This thread runs on that CPU from now on.
fn pin(cpu: usize) -> std::io::Result<()> {
    // SAFETY: an empty set is a valid one, the number is below CPU_SETSIZE, and the kernel only reads the set.
    let done = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct lives here; every Linux has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

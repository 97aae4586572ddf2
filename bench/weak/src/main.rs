//! A bad network between two network namespaces: a TUN device in each, and this program between them, which passes on,
//! delays, loses and reorders IP packets. Kernels without `sch_netem` have no other way to show real TCP and QUIC stacks
//! real loss.
//!
//!     weak-link LEFT RIGHT [--rtt-ms MS] [--loss PERCENT] [--reorder PERCENT] [--seed N]
//!
//! LEFT and RIGHT are names of `ip netns`; each gets a device `weak0`, which the caller gives its address. Each direction
//! delays by half of the round trip and loses that share of its packets. Packets chosen by --reorder arrive 10 ms later than
//! their turn, so others overtake them. The same seed loses the same places of the sequence of packets.
//!
//! Says `ready` when the devices are there, serves until its standard input ends, then says in JSON what it did. Needs root.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// How much later than their turn reordered packets arrive.
const HELD_BACK: Duration = Duration::from_millis(10);
/// Packets of one direction that may be under way, as in a router's queue; more are lost and counted.
const QUEUE_MAX: usize = 50_000;
/// The largest packet of a device whose MTU is 1,500, with room to spare.
const PACKET_MAX: usize = 2_048;
const DEVICE: &str = "weak0";

fn main() -> io::Result<()> {
    let options = Options::parse(std::env::args().skip(1)).unwrap_or_else(|wrong| {
        eprintln!("weak-link: {wrong}\nusage: weak-link LEFT RIGHT [--rtt-ms MS] [--loss PERCENT] [--reorder PERCENT] [--seed N]");
        std::process::exit(2);
    });
    let [left, right] = &options.namespaces;
    let (mut left, mut right) = (device(left)?, device(right)?);
    let mut ways = [Way::new(&options, 1), Way::new(&options, 2)];
    println!("ready");
    io::stdout().flush()?;
    let mut ended = false;
    while !ended {
        let [there, back] = &mut ways;
        let until = [there.next(), back.next()].into_iter().flatten().min();
        ended = wait([left.as_raw_fd(), right.as_raw_fd()], until)?;
        there.take(&mut left)?;
        back.take(&mut right)?;
        there.deliver(&mut right);
        back.deliver(&mut left);
    }
    let [there, back] = &ways;
    println!("{{\"left_to_right\":{},\"right_to_left\":{}}}", there.counts(), back.counts());
    Ok(())
}

struct Options {
    namespaces: [String; 2],
    delay: Duration,
    loss: f64,
    reorder: f64,
    seed: u64,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut names, mut rtt_ms, mut loss, mut reorder, mut seed) = (Vec::new(), 0.0, 0.0, 0.0, 1);
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut number = || {
                let value: f64 =
                    args.next().and_then(|value| value.parse().ok()).ok_or(format!("{arg} needs a number"))?;
                if value >= 0.0 { Ok(value) } else { Err(format!("{arg} must not be negative")) }
            };
            match &*arg {
                "--rtt-ms" => rtt_ms = number()?,
                "--loss" => loss = number()? / 100.0,
                "--reorder" => reorder = number()? / 100.0,
                "--seed" => seed = number()? as u64,
                flag if flag.starts_with("--") => return Err(format!("unknown flag {flag}")),
                _ => names.push(arg),
            }
        }
        let namespaces = names.try_into().map_err(|_| "two namespaces are needed")?;
        Ok(Self { namespaces, delay: Duration::from_secs_f64(rtt_ms / 2_000.0), loss, reorder, seed })
    }
}

/// One direction.
struct Way {
    delay: Duration,
    loss: f64,
    reorder: f64,
    random: u64,
    queue: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    taken: u64,
    delivered: u64,
    bytes: u64,
    lost: u64,
    held_back: u64,
    overflowed: u64,
}

impl Way {
    fn new(options: &Options, direction: u64) -> Self {
        Self {
            delay: options.delay,
            loss: options.loss,
            reorder: options.reorder,
            random: options.seed.wrapping_mul(2).wrapping_add(direction),
            queue: BinaryHeap::new(),
            taken: 0,
            delivered: 0,
            bytes: 0,
            lost: 0,
            held_back: 0,
            overflowed: 0,
        }
    }

    /// A number from 0 to 1 (SplitMix64).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// When the next packet arrives.
    fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes all packets that the device has. Each uses two numbers, whatever happens to it.
    fn take(&mut self, device: &mut File) -> io::Result<()> {
        let mut packet = [0; PACKET_MAX];
        loop {
            let n = match device.read(&mut packet) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Nothing may be sent before the caller has set the device up.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
                Err(error) => return Err(error),
            };
            self.taken += 1;
            let (lost, held_back) = (self.chance() < self.loss, self.chance() < self.reorder);
            if lost {
                self.lost += 1;
            } else if self.queue.len() >= QUEUE_MAX {
                self.overflowed += 1;
            } else {
                self.held_back += u64::from(held_back);
                let late = if held_back { HELD_BACK } else { Duration::ZERO };
                let packet = packet.get(..n).unwrap_or_default().to_vec();
                self.queue.push(Reverse((Instant::now() + self.delay + late, self.taken, packet)));
            }
        }
    }

    /// Hands over what has arrived.
    fn deliver(&mut self, device: &mut File) {
        let now = Instant::now();
        while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((.., packet))) = self.queue.pop() else { return };
            // A device that is not up, or is full, loses it as a network would.
            match device.write(&packet) {
                Ok(_) => {
                    self.delivered += 1;
                    self.bytes += packet.len() as u64;
                }
                Err(_) => self.overflowed += 1,
            }
        }
    }

    fn counts(&self) -> String {
        format!(
            "{{\"packets\":{},\"delivered\":{},\"bytes\":{},\"lost\":{},\"held_back\":{},\"overflowed\":{}}}",
            self.taken, self.delivered, self.bytes, self.lost, self.held_back, self.overflowed
        )
    }
}

/// Waits for a packet, a moment, or the end of the standard input; true for that end.
fn wait(devices: [RawFd; 2], until: Option<Instant>) -> io::Result<bool> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut fds = [poll(devices[0]), poll(devices[1]), poll(0)];
    let timeout = until.map(|until| until.saturating_duration_since(Instant::now())).map(|left| libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(left.subsec_nanos()),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the array and the time live here; no signal mask is given.
    let done = unsafe { libc::ppoll(fds.as_mut_ptr(), 3, timeout, std::ptr::null()) };
    if done < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    if fds[2].revents == 0 {
        return Ok(false);
    }
    Ok(io::stdin().read(&mut [0; 64])? == 0)
}

/// Makes the device in a namespace. It goes with this process.
fn device(namespace: &str) -> io::Result<File> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("namespace {namespace}: {error}"));
    let namespace = File::open(format!("/run/netns/{namespace}")).map_err(named)?;
    // SAFETY: setns takes no pointers; the descriptor is open.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
        return Err(named(io::Error::last_os_error()));
    }
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let name = CString::new(DEVICE).unwrap_or_default();
    // SAFETY: zeroes are a valid request; the kernel reads it, writes into it, and it lives here.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request)
    };
    if done < 0 { Err(named(io::Error::last_os_error())) } else { Ok(device) }
}

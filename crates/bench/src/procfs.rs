//! What Linux knows of a process and of the machine: CPU time, memory, names. Reads `/proc` and
//! nothing else; everything is a difference of two readings, made by the caller.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// Nanoseconds of one tick of `/proc/*/stat`: `USER_HZ` is 100 on every Linux this runs on.
const TICK_NS: u64 = 10_000_000;

/// CPU time of a process since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// On a CPU, nanoseconds, by the process's own clock: exact, threads that have ended included.
    pub cpu_ns: u64,
    /// Ready but waiting for a CPU, nanoseconds (`task/*/schedstat`, living threads): how contended it was.
    pub waited_ns: u64,
    /// In user mode, nanoseconds, counted in ticks.
    pub user_ns: u64,
    /// In the kernel, nanoseconds, counted in ticks; on loopback with the receiver's softirq.
    pub system_ns: u64,
}

impl Usage {
    /// Together with another process's.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            waited_ns: self.waited_ns + other.waited_ns,
            user_ns: self.user_ns + other.user_ns,
            system_ns: self.system_ns + other.system_ns,
        }
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }
}

/// CPU time of a process.
///
/// # Errors
/// When the process is gone or not ours to look at.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (user, system) = stat_ticks(&stat).ok_or_else(|| invalid("stat"))?;
    let (user_ns, system_ns) = (user * TICK_NS, system * TICK_NS);
    let mut usage = Usage { cpu_ns: process_cpu_ns(pid)?, waited_ns: 0, user_ns, system_ns };
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let (_, waited_ns) = schedstat_ns(&schedstat).ok_or_else(|| invalid("schedstat"))?;
        usage.waited_ns += waited_ns;
    }
    Ok(usage)
}

/// A process's CPU clock (`clock_getcpuclockid(3)`).
fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| invalid("pid"))?;
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both calls fill variables that live here.
    let known = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    if known {
        Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// These processes and everything that they started.
#[must_use]
pub fn with_children(pids: &[u32]) -> Vec<u32> {
    let mut all = pids.to_vec();
    if pids.is_empty() {
        return all;
    }
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        // A process may end between the listing and the reading.
        .filter_map(|pid: u32| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect();
    let mut i = 0;
    while let Some(known) = all.get(i).copied() {
        all.extend(parents.iter().filter(|(_, parent)| *parent == known).map(|(pid, _)| *pid));
        i += 1;
    }
    all
}

/// CPU time of all of them that are still there; none when there is none.
#[must_use]
pub fn usage_of_all(pids: &[u32]) -> Option<Usage> {
    pids.iter().filter_map(|pid| usage(*pid).ok()).reduce(|sum, one| sum.and(&one))
}

/// Resident memory of all of them, bytes; pages that they share count for each.
#[must_use]
pub fn resident_of_all(pids: &[u32]) -> Option<u64> {
    pids.iter().filter_map(|pid| resident_bytes(*pid).ok()).reduce(|sum, one| sum + one)
}

/// CPU time of one thread of this process, nanoseconds.
///
/// # Errors
/// When the thread has ended.
pub fn thread_cpu_ns(tid: i32) -> io::Result<u64> {
    let schedstat = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat"))?;
    schedstat_ns(&schedstat).map(|(cpu_ns, _)| cpu_ns).ok_or_else(|| invalid("schedstat"))
}

/// Resident memory of a process, bytes.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: Option<u64> = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    // SAFETY: sysconf takes no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(pages.ok_or_else(|| invalid("statm"))? * u64::try_from(page).unwrap_or(4_096))
}

/// Kernel memory that sockets are made of (`Slab` of `/proc/meminfo`), bytes, of the whole machine.
#[must_use]
pub fn slab_bytes() -> u64 {
    kib_of(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "Slab:") * 1_024
}

/// Busy time of the whole machine, nanoseconds, and what of it was stolen by the hypervisor.
#[must_use]
pub fn machine_busy_ns() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_ticks(&stat).unwrap_or(0) * TICK_NS
}

/// The machine that figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// Kernel release.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// CPUs that are on.
    pub cpus: usize,
    /// Memory, GiB.
    pub memory_gib: u64,
}

/// Describes this machine.
#[must_use]
pub fn host() -> Host {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Host {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: model.map_or("unknown", |(_, name)| name).trim().to_owned(),
        cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        memory_gib: kib_of(&read("/proc/meminfo"), "MemTotal:") >> 20,
    }
}

/// User and system ticks: fields 14 and 15 of `stat`, behind a name in brackets that may hold anything.
fn stat_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Field 4 of `stat`.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn schedstat_ns(schedstat: &str) -> Option<(u64, u64)> {
    let mut fields = schedstat.split_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The first line of `/proc/stat` without `idle` and `iowait`; `guest` is part of `user` already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu")?.split_whitespace().take(8);
    let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    Some(ticks.iter().enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, ticks)| ticks).sum())
}

fn kib_of(meminfo: &str, key: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/…/{what} has an unknown form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_hostile_name() {
        let stat = "7 (a ) b (c) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0 20 0 1 0";
        assert_eq!((stat_ticks(stat), parent(stat)), (Some((77, 88)), Some(1)));
        assert_eq!(schedstat_ns("123 45 6\n"), Some((123, 45)));
        assert_eq!(busy_ticks("cpu  1 2 3 1000 2000 4 5 6 7 8\ncpu0 1"), Some(21));
        assert_eq!(kib_of("MemFree: 1 kB\nSlab:   42 kB\n", "Slab:"), 42);
    }

    #[test]
    fn threads_that_have_ended_count() {
        let before = usage(std::process::id()).unwrap();
        let spin = || {
            let begun = usage(std::process::id()).unwrap();
            while usage(std::process::id()).unwrap().since(&begun).cpu_ns < 20_000_000 {}
        };
        std::thread::spawn(spin).join().unwrap();
        assert!(usage(std::process::id()).unwrap().since(&before).cpu_ns >= 20_000_000);
    }

    #[test]
    fn children_are_found_and_count() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let all = with_children(&[std::process::id()]);
        assert!(all.contains(&child.id()));
        let alone = resident_of_all(&[child.id()]).unwrap();
        assert!(alone > 0 && resident_of_all(&[child.id(), child.id()]).unwrap() >= 2 * alone);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((usage_of_all(&[]), with_children(&[])), (None, vec![]));
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let before = usage(std::process::id()).unwrap();
        while usage(std::process::id()).unwrap().since(&before).cpu_ns < 2_000_000 {
            std::hint::black_box((0..100_000_u64).fold(0, u64::wrapping_add));
        }
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(host().cpus > 0);
    }
}

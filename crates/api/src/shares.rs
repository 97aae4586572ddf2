//! What one reader may use of a node over HTTP: reads a second, and event streams and long polls at once.
//!
//! [`crate::caller`] counts reads; handlers that wait hold a [`StreamGuard`]. Users are counted by id. Readers without an
//! identity have their address's share of reads, and of connections ([`crate::address`]). Memory is bounded by
//! [`READERS_MAX`] and by the open streams.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Code, Metrics, UserId, WireError};
use state::connections::network;
use state::{MemoryRateLimiter, Rate};

use crate::ranking_bodies::RankingBodies;

/// Readers whose reads are counted at once.
const READERS_MAX: usize = 200_000;
/// Seconds' worth of reads that may come at once.
const READ_BURST_S: u32 = 5;
/// How long a reader waits who has too many streams.
const STREAMS_RETRY_MS: u64 = 5_000;

/// The shares of all readers.
pub struct ReaderShares {
    reads: MemoryRateLimiter,
    rate: Rate,
    streams: Mutex<HashMap<UserId, u32>>,
    streams_max: u32,
    metrics: Arc<Metrics>,
    pub(crate) rankings: RankingBodies,
}

impl ReaderShares {
    /// Shares of `reads_per_s` reads a second, and of `streams_max` streams at once.
    #[must_use]
    pub fn new(reads_per_s: u32, streams_max: u32, metrics: Arc<Metrics>) -> Self {
        let rate = Rate::per_s(reads_per_s).burst(reads_per_s.saturating_mul(READ_BURST_S));
        Self {
            reads: MemoryRateLimiter::new(READERS_MAX),
            rate,
            streams: Mutex::default(),
            streams_max,
            metrics,
            rankings: RankingBodies::default(),
        }
    }

    /// Counts a read of a user.
    pub(crate) fn count_user(&self, user: &UserId, now_ms: i64) -> Result<(), WireError> {
        self.reads.count("reads", user.as_str(), self.rate, now_ms).map_err(too_many_reads)
    }

    /// Counts a read of somebody without an identity.
    pub(crate) fn count_address(&self, address: IpAddr, now_ms: i64) -> Result<(), WireError> {
        self.reads.count("reads_of_address", &network(address).to_string(), self.rate, now_ms).map_err(too_many_reads)
    }

    /// Counts an event stream or a waiting poll for as long as its guard lives.
    pub(crate) fn stream(self: &Arc<Self>, user: Option<&UserId>) -> Result<StreamGuard, WireError> {
        if let Some(user) = user {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            let open = streams.get(user).copied().unwrap_or(0);
            if open >= self.streams_max {
                let error = WireError::new(Code::RateLimited, "too many event streams and waiting polls at once");
                return Err(error.retry_after_ms(STREAMS_RETRY_MS));
            }
            streams.insert(user.clone(), open + 1);
        }
        self.metrics.streams.inc();
        Ok(StreamGuard { shares: self.clone(), user: user.cloned() })
    }
}

fn too_many_reads(retry_after_ms: u64) -> WireError {
    WireError::new(Code::RateLimited, "too many reads").retry_after_ms(retry_after_ms)
}

/// An open event stream or a waiting poll.
pub(crate) struct StreamGuard {
    shares: Arc<ReaderShares>,
    user: Option<UserId>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.shares.metrics.streams.dec();
        let Some(user) = &self.user else { return };
        let mut streams = self.shares.streams.lock().unwrap_or_else(PoisonError::into_inner);
        match streams.get_mut(user) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(streams.remove(user)),
        }
    }
}

//! What a shard counted in one turn, added to the process's metrics at its end.
//!
//! Owned by a shard; connections add to it. Plain numbers, so that counting costs the hot path no atomic operation.

use model::Metrics;
use model::metrics::count_by;

use crate::transport::BatchSent;

#[derive(Debug, Default)]
pub(crate) struct ShardCounters {
    pub frames_out: u64,
    pub bytes_out: u64,
    pub messages_in: u64,
    pub bytes_in: u64,
    /// Comments given to one viewer only, beyond what the hub has counted.
    pub delivered: u64,
    pub omitted_slow: u64,
    pub backlog_bytes: i64,
    pub connections: i64,
    /// Batches sent beside a stream: by datagram, on streams of their own, not at all.
    pub batches_beside: [u64; 3],
}

impl ShardCounters {
    /// Counts a batch sent beside a stream, of so many bytes and with so many comments.
    pub fn batch_sent(&mut self, way: BatchSent, bytes: usize, comments: u64) {
        let [datagrams, streams, dropped] = &mut self.batches_beside;
        let counted = match way {
            BatchSent::Datagram => datagrams,
            BatchSent::Stream => streams,
            BatchSent::Dropped => dropped,
        };
        *counted += 1;
        match way {
            BatchSent::Datagram | BatchSent::Stream => self.bytes_out += bytes as u64,
            BatchSent::Dropped => self.omitted_slow += comments,
        }
    }

    /// Adds everything to `metrics` and starts again from zero.
    pub fn flush(&mut self, metrics: &Metrics) {
        let Self {
            frames_out,
            bytes_out,
            messages_in,
            bytes_in,
            delivered,
            omitted_slow,
            backlog_bytes,
            connections,
            batches_beside,
        } = std::mem::take(self);
        let counters = [
            (&metrics.frames_out, frames_out),
            (&metrics.bytes_out, bytes_out),
            (&metrics.messages_in, messages_in),
            (&metrics.bytes_in, bytes_in),
            (&metrics.delivered, delivered),
        ];
        for (counter, n) in counters.into_iter().filter(|(_, n)| *n > 0) {
            counter.inc_by(n);
        }
        for (way, n) in ["datagram", "stream", "dropped"].into_iter().zip(batches_beside).filter(|(_, n)| *n > 0) {
            count_by(&metrics.batches_beside, "way", way, n);
        }
        if omitted_slow > 0 {
            count_by(&metrics.omitted, "reason", "slow", omitted_slow);
        }
        if backlog_bytes != 0 {
            metrics.backlog_bytes.inc_by(backlog_bytes);
        }
        if connections != 0 {
            metrics.connections.inc_by(connections);
        }
    }
}

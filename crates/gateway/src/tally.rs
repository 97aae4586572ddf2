//! What a shard counted in one turn, added to the process's metrics at its end.
//!
//! Plain numbers, so that counting costs the hot path no atomic operation.

use model::Metrics;
use model::metrics::count_by;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub frames_out: u64,
    pub bytes_out: u64,
    pub messages_in: u64,
    pub bytes_in: u64,
    /// Comments given to one viewer only, beyond what the hub has counted.
    pub delivered: u64,
    pub omitted_slow: u64,
    pub backlog_bytes: i64,
    pub connections: i64,
}

impl Tally {
    /// Adds everything to `metrics` and starts again from zero.
    pub fn settle(&mut self, metrics: &Metrics) {
        let Self { frames_out, bytes_out, messages_in, bytes_in, delivered, omitted_slow, backlog_bytes, connections } =
            std::mem::take(self);
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

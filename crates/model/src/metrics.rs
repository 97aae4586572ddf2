//! Every metric Barrage exports, in one place. Handles are cheap to clone and cost a few
//! nanoseconds; labels are small fixed sets, never a room or a user.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::{Registry, Unit};

/// A label set of one name; which name is said where the family is declared.
pub type Labelled = Family<Vec<(&'static str, &'static str)>, Counter>;

/// Histograms by one label; which is said where the family is declared.
pub type Times = Family<Vec<(&'static str, &'static str)>, Histogram, fn() -> Histogram>;

/// Records that a consumer group has yet to read, by `group` and `partition`: those this process holds.
pub type Lag = Family<[(&'static str, String); 2], Gauge>;

/// The handles. One instance per process, shared by reference.
pub struct Metrics {
    /// Open sockets.
    pub connections: Gauge,
    /// Open event streams and waiting long polls.
    pub streams: Gauge,
    /// Rooms this node holds in memory.
    pub rooms_held: Gauge,
    /// By how much this machine's clock is ahead of the one that all nodes share, in milliseconds.
    pub clock_off_ms: Gauge,
    /// Handshakes by `outcome`: accepted, or the code of the refusal.
    pub handshakes: Labelled,
    /// Comments that asked to enter, by `outcome`: accepted, pending_review, replayed, or an error code.
    pub comments: Labelled,
    /// Of these, the accepted ones: found once, because there are so many.
    pub accepted: Counter,
    /// Private and group messages that asked to be sent, by `outcome`: accepted, repeated, or an error code.
    pub messages: Labelled,
    /// Comments delivered: one for each comment and viewer.
    pub delivered: Counter,
    /// Comments not given to a viewer, by `reason`: budget, merged, slow.
    pub omitted: Labelled,
    /// WebSocket frames written.
    pub frames_out: Counter,
    /// Bytes written to sockets.
    pub bytes_out: Counter,
    /// WebSocket messages read.
    pub messages_in: Counter,
    /// Bytes read from sockets.
    pub bytes_in: Counter,
    /// Sockets closed, by `code`.
    pub closes: Labelled,
    /// Input that did not parse, by `reason`.
    pub parse_errors: Labelled,
    /// From acceptance by ingest to the hand-over to sockets, in seconds.
    pub publish_to_socket: Histogram,
    /// Comments in one emitted batch.
    pub batch_size: Histogram,
    /// Bytes queued for slow sockets.
    pub backlog_bytes: Gauge<i64>,
    /// Critical events sent again.
    pub events_repeated: Counter,
    /// Critical events nobody acknowledged after the last repeat.
    pub events_unacknowledged: Counter,
    /// Records waiting for the log's commit.
    pub log_depth: Gauge,
    /// Seconds a commit of the log took.
    pub log_commit: Histogram,
    /// Failures of the store, by `operation`.
    pub store_errors: Labelled,
    /// Calls to Redis without an answer, by `operation`.
    pub redis_errors: Labelled,
    /// Failures of Kafka, by `operation`: append, read, commit, watch, tell (to outside consumers), decode.
    pub kafka_errors: Labelled,
    /// How far this process's consumers are behind.
    pub kafka_lag: Lag,
    /// Entries and batches that did not reach another node, by `reason`: full, away (not sent); behind, unreadable, hole
    /// (not heard).
    pub fanout_lost: Labelled,
    /// Seconds a call to a dependency took, by its `name`: redis, mysql, etcd.
    pub call_time: Times,
    /// 1 while a dependency answers, 0 while it does not, by its `name`.
    pub dependency_up: Family<Vec<(&'static str, &'static str)>, Gauge>,
    /// 1 while this node's memory decides because the shared state is away, by `port`: gate,
    /// reservations, heat.
    pub by_memory: Family<Vec<(&'static str, &'static str)>, Gauge>,
    /// Rooms that are hot.
    pub hot_rooms: Gauge,
    /// Runs of hot rooms that went to other nodes together with an earlier one.
    pub gathered_runs: Counter,
    /// Records that wait in the spool.
    pub spool_records: Gauge,
    /// Their bytes.
    pub spool_bytes: Gauge,
    /// Records put aside in the spool because they were refused.
    pub spool_aside: Gauge,
    /// Failures of the spool's file.
    pub spool_errors: Counter,
    /// Batches handed to the streams of other nodes: one for each batch and node.
    pub pushes: Counter,
    /// Comments handed to an ingest node by one that does not decide itself, by `outcome`: answered, full, unsent (no
    /// node could be reached), lost (sent, and no answer came).
    pub remote_admits: Labelled,
    /// Calls to etcd without an answer, by `operation`.
    pub etcd_errors: Labelled,
    /// Words matched, by `list`.
    pub word_hits: Labelled,
    /// Calls of the notification hook, by `outcome`: delivered, failed (to be tried again), given_up, nobody_offline.
    pub hook_calls: Labelled,
    /// Panics, wherever: mistakes of ours.
    pub panics: Counter,
    /// CPU seconds used by this process.
    pub cpu_seconds: Counter<f64, AtomicU64>,
    /// Resident memory of this process in bytes.
    pub resident_bytes: Gauge,
}

impl Metrics {
    /// Creates the handles and registers them under the prefix `barrage_`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("barrage");
        let comments = Labelled::default();
        let accepted = comments.get_or_create(&vec![("outcome", "accepted")]).clone();
        let metrics = Self {
            connections: Gauge::default(),
            streams: Gauge::default(),
            rooms_held: Gauge::default(),
            clock_off_ms: Gauge::default(),
            handshakes: Family::default(),
            accepted,
            comments,
            messages: Family::default(),
            delivered: Counter::default(),
            omitted: Family::default(),
            frames_out: Counter::default(),
            bytes_out: Counter::default(),
            messages_in: Counter::default(),
            bytes_in: Counter::default(),
            closes: Family::default(),
            parse_errors: Family::default(),
            publish_to_socket: short_seconds(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            backlog_bytes: Gauge::default(),
            events_repeated: Counter::default(),
            events_unacknowledged: Counter::default(),
            log_depth: Gauge::default(),
            log_commit: short_seconds(),
            store_errors: Family::default(),
            redis_errors: Family::default(),
            kafka_errors: Family::default(),
            kafka_lag: Family::default(),
            fanout_lost: Family::default(),
            call_time: Family::new_with_constructor(short_seconds),
            dependency_up: Family::default(),
            by_memory: Family::default(),
            hot_rooms: Gauge::default(),
            gathered_runs: Counter::default(),
            spool_records: Gauge::default(),
            spool_bytes: Gauge::default(),
            spool_aside: Gauge::default(),
            spool_errors: Counter::default(),
            pushes: Counter::default(),
            remote_admits: Family::default(),
            etcd_errors: Family::default(),
            word_hits: Family::default(),
            hook_calls: Family::default(),
            panics: Counter::default(),
            cpu_seconds: Counter::default(),
            resident_bytes: Gauge::default(),
        };
        metrics.describe(registry);
        metrics
    }

    fn describe(&self, r: &mut Registry) {
        r.register("connections", "Open sockets", self.connections.clone());
        r.register("streams", "Open event streams and waiting long polls", self.streams.clone());
        r.register("rooms_held", "Rooms held in memory", self.rooms_held.clone());
        r.register(
            "clock_off_ms",
            "How far this machine's clock is ahead of Redis's, milliseconds",
            self.clock_off_ms.clone(),
        );
        r.register("handshakes", "Handshakes by outcome", self.handshakes.clone());
        r.register("comments", "Comments that asked to enter, by outcome", self.comments.clone());
        r.register("messages", "Private and group messages that asked to be sent, by outcome", self.messages.clone());
        r.register("delivered_comments", "Comments delivered, one for each viewer", self.delivered.clone());
        r.register("omitted_comments", "Comments not given to a viewer, by reason", self.omitted.clone());
        r.register("frames_out", "WebSocket frames written", self.frames_out.clone());
        r.register_with_unit("out", "Bytes written to sockets", Unit::Bytes, self.bytes_out.clone());
        r.register("messages_in", "WebSocket messages read", self.messages_in.clone());
        r.register_with_unit("in", "Bytes read from sockets", Unit::Bytes, self.bytes_in.clone());
        r.register("closes", "Sockets closed, by code", self.closes.clone());
        r.register("parse_errors", "Input that did not parse, by reason", self.parse_errors.clone());
        let help = "From acceptance to the hand-over to sockets";
        r.register_with_unit("publish_to_socket", help, Unit::Seconds, self.publish_to_socket.clone());
        r.register("batch_comments", "Comments in one emitted batch", self.batch_size.clone());
        let help = "Bytes queued for slow sockets";
        r.register_with_unit("backlog", help, Unit::Bytes, self.backlog_bytes.clone());
        r.register("events_repeated", "Critical events sent again", self.events_repeated.clone());
        let help = "Critical events given up after the last repeat";
        r.register("events_unacknowledged", help, self.events_unacknowledged.clone());
        r.register("log_depth", "Records waiting for the log's commit", self.log_depth.clone());
        r.register_with_unit("log_commit", "Duration of a commit", Unit::Seconds, self.log_commit.clone());
        r.register("store_errors", "Failures of the store, by operation", self.store_errors.clone());
        r.register("redis_errors", "Calls to Redis without an answer, by operation", self.redis_errors.clone());
        r.register("kafka_errors", "Failures of Kafka, by operation", self.kafka_errors.clone());
        let help = "Records a consumer group has yet to read, by group and partition";
        r.register("kafka_lag_records", help, self.kafka_lag.clone());
        r.register("fanout_lost", "What did not reach another node, by reason", self.fanout_lost.clone());
        let help = "Duration of a call to a dependency, by its name";
        r.register_with_unit("dependency_call", help, Unit::Seconds, self.call_time.clone());
        r.register("dependency_up", "Whether a dependency answers, by its name", self.dependency_up.clone());
        r.register("by_memory", "Whether this node's memory decides, by port", self.by_memory.clone());
        r.register("hot_rooms", "Rooms that are hot", self.hot_rooms.clone());
        let help = "Runs of hot rooms that went to other nodes with an earlier one";
        r.register("gathered_runs", help, self.gathered_runs.clone());
        r.register("spool_records", "Records that wait in the spool", self.spool_records.clone());
        r.register_with_unit("spool", "Bytes that wait in the spool", Unit::Bytes, self.spool_bytes.clone());
        r.register("spool_aside", "Records put aside because they were refused", self.spool_aside.clone());
        r.register("spool_errors", "Failures of the spool's file", self.spool_errors.clone());
        r.register("pushed_batches", "Batches handed to the streams of other nodes", self.pushes.clone());
        r.register("remote_admits", "Comments handed to ingest nodes, by outcome", self.remote_admits.clone());
        r.register("etcd_errors", "Calls to etcd without an answer, by operation", self.etcd_errors.clone());
        r.register("word_hits", "Words matched, by list", self.word_hits.clone());
        r.register("hook_calls", "Calls of the notification hook, by outcome", self.hook_calls.clone());
        r.register("panics", "Panics, mistakes of this program", self.panics.clone());
        r.register_with_unit("process_cpu", "CPU time used", Unit::Seconds, self.cpu_seconds.clone());
        r.register_with_unit("process_resident", "Resident memory", Unit::Bytes, self.resident_bytes.clone());
    }
}

/// From half a millisecond to eight seconds.
fn short_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 15))
}

/// Counts one under a single label.
pub fn count(family: &Labelled, label: &'static str, value: &'static str) {
    family.get_or_create(&vec![(label, value)]).inc();
}

/// Counts `n` under a single label.
pub fn count_by(family: &Labelled, label: &'static str, value: &'static str, n: u64) {
    family.get_or_create(&vec![(label, value)]).inc_by(n);
}

//! Every metric Barrage exports, in one place. Handles are cheap to clone and cost a few
//! nanoseconds; labels are small fixed sets, never a room or a user.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::{Registry, Unit};

use crate::trace::{Trace, Tracer};

/// A label set of one name; which name is said where the family is declared.
pub type Labelled = Family<Vec<(&'static str, &'static str)>, Counter>;

/// Gauges by one label; which is said where the family is declared.
pub type Gauges = Family<Vec<(&'static str, &'static str)>, Gauge>;

/// Histograms by one label; which is said where the family is declared.
pub type Times = Family<Vec<(&'static str, &'static str)>, Histogram, fn() -> Histogram>;

/// Records that a consumer group has yet to read, by `group` and `partition`: those this process holds.
pub type Lag = Family<[(&'static str, String); 2], Gauge>;

/// The handles. One instance per process, shared by reference.
pub struct Metrics {
    /// Open sockets.
    pub connections: Gauge,
    /// Open connections of doors, by `door`: irc, pusher, goim. Exported under the name of the sockets.
    pub door_connections: Gauges,
    /// Of the open sockets, sessions over WebTransport.
    pub webtransport_sessions: Gauge,
    /// Batches sent beside a session's stream, by `way`: datagram, stream, dropped.
    pub batches_beside: Labelled,
    /// Datagrams of clients, which nobody reads.
    pub datagrams_ignored: Counter,
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
    /// From acceptance by ingest to the hand-over to the last of this process's sockets, in seconds: one for each comment.
    pub publish_to_socket: Traced,
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
    /// Comments dropped because an earlier one of their sender has the same `client_msg_id`, by the `part` that noticed:
    /// store, worker, hub.
    pub repeats: Labelled,
    /// Calls to Redis without an answer, by `operation`.
    pub redis_errors: Labelled,
    /// Failures of Kafka, by `operation`: append, read, commit, watch, tell (to outside consumers), decode.
    pub kafka_errors: Labelled,
    /// Messages given to Kafka for the rooms' topic; one may be a block of many records.
    pub kafka_messages: Counter,
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
    /// Live segments sealed, empty ones included.
    pub segments_sealed: Counter,
    /// Live segments dropped before their hour was over, for want of space.
    pub segments_dropped: Counter,
    /// Bytes of live segments that are kept.
    pub segments_bytes: Gauge,
    /// Requests that wait for a live segment.
    pub segment_waiters: Gauge,
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
    /// Comments about which the moderation hook did not answer, by `reason`: timeout, failed, invalid, missing, breaker,
    /// overloaded.
    pub hook_fallbacks: Labelled,
    /// Answers of the moderation hook that came after the budget.
    pub hook_late: Counter,
    /// Comments whose text the moderation hook had answered before.
    pub hook_cache_hits: Counter,
    /// Comments about which the moderation hook was asked.
    pub hook_cache_misses: Counter,
    /// Raids that moderators were told of, by `kind`: newcomers, copies.
    pub raid_alarms: Labelled,
    /// Passed comments that were kept for quality control.
    pub comments_sampled: Counter,
    /// Calls to webhooks, by `outcome`: delivered, failed (to be tried again), dead, dropped (too many waited).
    pub webhook_calls: Labelled,
    /// Archived sessions.
    pub archived_sessions: Counter,
    /// Comments that left the database for objects.
    pub archived_comments: Counter,
    /// Bytes of objects written.
    pub archived_bytes: Counter,
    /// Failures of the archive, by `reason`: store, away, missing, damaged, overtaken.
    pub archive_errors: Labelled,
    /// Archived segments that were read, by `outcome`: hit (from memory), miss.
    pub archive_cache: Labelled,
    /// Objects removed because no segment named them.
    pub archive_collected: Counter,
    /// Panics, wherever: mistakes of ours.
    pub panics: Counter,
    /// Lines that standard error or standard output did not take.
    pub log_lines_dropped: Counter,
    /// CPU seconds used by this process.
    pub cpu_seconds: Counter<f64, AtomicU64>,
    /// Resident memory of this process in bytes.
    pub resident_bytes: Gauge,
    /// Files and sockets that this process may have open.
    pub open_files_max: Gauge,
    /// Bytes received in this process's network namespace.
    pub network_received: Counter,
    /// Bytes sent from it.
    pub network_sent: Counter,
    /// HTTP requests by `route`, `method` and `status` (its class).
    pub http_requests: Family<[(&'static str, String); 3], Counter>,
    /// Seconds until the head of an HTTP answer, by `route` and `method`.
    pub http_time: Histograms<2>,
    /// Seconds that ready work waited for an event loop, by `loop`: tokio, or a shard.
    pub loop_lag: Histograms<1>,
    /// Spans of traces, by `outcome`: exported, failed (the collector did not take them), dropped (too many waited).
    pub trace_spans: Labelled,
    /// Which comments are followed by a trace: none, unless the configuration names a collector.
    pub tracer: Tracer,
}

/// A histogram whose buckets name the latest trace that fell into them.
pub type Traced = HistogramWithExemplars<[(&'static str, String); 1]>;

/// Histograms by `N` labels.
pub type Histograms<const N: usize> = Family<[(&'static str, String); N], Histogram, fn() -> Histogram>;

impl Metrics {
    /// Creates the handles and registers them under the prefix `barrage_`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("barrage");
        let comments = Labelled::default();
        let accepted = comments.get_or_create(&vec![("outcome", "accepted")]).clone();
        let metrics = Self {
            connections: Gauge::default(),
            door_connections: Family::default(),
            webtransport_sessions: Gauge::default(),
            batches_beside: Family::default(),
            datagrams_ignored: Counter::default(),
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
            publish_to_socket: HistogramWithExemplars::new(short_buckets()),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            backlog_bytes: Gauge::default(),
            events_repeated: Counter::default(),
            events_unacknowledged: Counter::default(),
            log_depth: Gauge::default(),
            log_commit: short_seconds(),
            store_errors: Family::default(),
            repeats: Family::default(),
            redis_errors: Family::default(),
            kafka_errors: Family::default(),
            kafka_messages: Counter::default(),
            kafka_lag: Family::default(),
            fanout_lost: Family::default(),
            call_time: Family::new_with_constructor(short_seconds),
            dependency_up: Family::default(),
            by_memory: Family::default(),
            hot_rooms: Gauge::default(),
            segments_sealed: Counter::default(),
            segments_dropped: Counter::default(),
            segments_bytes: Gauge::default(),
            segment_waiters: Gauge::default(),
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
            hook_fallbacks: Family::default(),
            hook_late: Counter::default(),
            hook_cache_hits: Counter::default(),
            hook_cache_misses: Counter::default(),
            raid_alarms: Family::default(),
            comments_sampled: Counter::default(),
            webhook_calls: Family::default(),
            archived_sessions: Counter::default(),
            archived_comments: Counter::default(),
            archived_bytes: Counter::default(),
            archive_errors: Family::default(),
            archive_cache: Family::default(),
            archive_collected: Counter::default(),
            panics: Counter::default(),
            log_lines_dropped: crate::stderr::dropped(),
            cpu_seconds: Counter::default(),
            resident_bytes: Gauge::default(),
            open_files_max: Gauge::default(),
            network_received: Counter::default(),
            network_sent: Counter::default(),
            http_requests: Family::default(),
            http_time: Family::new_with_constructor(short_seconds),
            loop_lag: Family::new_with_constructor(lag_seconds),
            trace_spans: Family::default(),
            tracer: Tracer::default(),
        };
        metrics.describe(registry);
        metrics
    }

    fn describe(&self, r: &mut Registry) {
        let connections = Connections { sockets: self.connections.clone(), doors: self.door_connections.clone() };
        r.register("connections", "Open sockets; with the label door those of a door", connections);
        let help = "Of the open sockets, sessions over WebTransport";
        r.register("webtransport_sessions", help, Declared(self.webtransport_sessions.clone()));
        let help = "Batches sent beside a WebTransport session's stream, by way: datagram, stream, dropped";
        r.register("webtransport_batches", help, Declared(self.batches_beside.clone()));
        let help = "Datagrams of WebTransport clients, which nobody reads";
        r.register("webtransport_datagrams_ignored", help, Declared(self.datagrams_ignored.clone()));
        r.register("streams", "Open event streams and waiting long polls", Declared(self.streams.clone()));
        r.register("rooms_held", "Rooms held in memory", Declared(self.rooms_held.clone()));
        r.register(
            "clock_off_ms",
            "How far this machine's clock is ahead of Redis's, milliseconds",
            Declared(self.clock_off_ms.clone()),
        );
        r.register("handshakes", "Handshakes by outcome", Declared(self.handshakes.clone()));
        r.register("comments", "Comments that asked to enter, by outcome", Declared(self.comments.clone()));
        r.register(
            "messages",
            "Private and group messages that asked to be sent, by outcome",
            Declared(self.messages.clone()),
        );
        r.register("delivered_comments", "Comments delivered, one for each viewer", Declared(self.delivered.clone()));
        r.register("omitted_comments", "Comments not given to a viewer, by reason", Declared(self.omitted.clone()));
        r.register("frames_out", "WebSocket frames written", Declared(self.frames_out.clone()));
        r.register_with_unit("out", "Bytes written to sockets", Unit::Bytes, Declared(self.bytes_out.clone()));
        r.register("messages_in", "WebSocket messages read", Declared(self.messages_in.clone()));
        r.register_with_unit("in", "Bytes read from sockets", Unit::Bytes, Declared(self.bytes_in.clone()));
        r.register("closes", "Sockets closed, by code", Declared(self.closes.clone()));
        r.register("parse_errors", "Input that did not parse, by reason", Declared(self.parse_errors.clone()));
        let help = "From acceptance to the hand-over to sockets, one for each comment";
        r.register_with_unit("publish_to_socket", help, Unit::Seconds, Declared(self.publish_to_socket.clone()));
        r.register("batch_comments", "Comments in one emitted batch", Declared(self.batch_size.clone()));
        let help = "Bytes queued for slow sockets";
        r.register_with_unit("backlog", help, Unit::Bytes, Declared(self.backlog_bytes.clone()));
        r.register("events_repeated", "Critical events sent again", Declared(self.events_repeated.clone()));
        let help = "Critical events given up after the last repeat";
        r.register("events_unacknowledged", help, Declared(self.events_unacknowledged.clone()));
        r.register("log_depth", "Records waiting for the log's commit", Declared(self.log_depth.clone()));
        r.register_with_unit("log_commit", "Duration of a commit", Unit::Seconds, Declared(self.log_commit.clone()));
        r.register("store_errors", "Failures of the store, by operation", Declared(self.store_errors.clone()));
        let help = "Comments dropped because an earlier one has the same client_msg_id, by the part that noticed";
        r.register("repeated_comments", help, Declared(self.repeats.clone()));
        r.register(
            "redis_errors",
            "Calls to Redis without an answer, by operation",
            Declared(self.redis_errors.clone()),
        );
        r.register("kafka_errors", "Failures of Kafka, by operation", Declared(self.kafka_errors.clone()));
        let help = "Messages for the rooms' topic, each a record or a block of them";
        r.register("kafka_messages", help, Declared(self.kafka_messages.clone()));
        let help = "Messages a consumer group has yet to read, by group and partition";
        r.register("kafka_lag_records", help, Declared(self.kafka_lag.clone()));
        r.register("fanout_lost", "What did not reach another node, by reason", Declared(self.fanout_lost.clone()));
        let help = "Duration of a call to a dependency, by its name";
        r.register_with_unit("dependency_call", help, Unit::Seconds, Declared(self.call_time.clone()));
        r.register("dependency_up", "Whether a dependency answers, by its name", Declared(self.dependency_up.clone()));
        r.register("by_memory", "Whether this node's memory decides, by port", Declared(self.by_memory.clone()));
        r.register("hot_rooms", "Rooms that are hot", Declared(self.hot_rooms.clone()));
        let help = "Runs of hot rooms that went to other nodes with an earlier one";
        r.register("gathered_runs", help, Declared(self.gathered_runs.clone()));
        let help = "Live segments sealed, empty ones included";
        r.register("segments_sealed", help, Declared(self.segments_sealed.clone()));
        let help = "Live segments dropped before their hour was over, for want of space";
        r.register("segments_dropped", help, Declared(self.segments_dropped.clone()));
        let help = "Bytes of live segments that are kept";
        r.register_with_unit("segments", help, Unit::Bytes, Declared(self.segments_bytes.clone()));
        let help = "Requests that wait for a live segment";
        r.register("segment_waiters", help, Declared(self.segment_waiters.clone()));
        r.register("spool_records", "Records that wait in the spool", Declared(self.spool_records.clone()));
        r.register_with_unit("spool", "Bytes that wait in the spool", Unit::Bytes, Declared(self.spool_bytes.clone()));
        r.register("spool_aside", "Records put aside because they were refused", Declared(self.spool_aside.clone()));
        r.register("spool_errors", "Failures of the spool's file", Declared(self.spool_errors.clone()));
        r.register("pushed_batches", "Batches handed to the streams of other nodes", Declared(self.pushes.clone()));
        r.register(
            "remote_admits",
            "Comments handed to ingest nodes, by outcome",
            Declared(self.remote_admits.clone()),
        );
        r.register("etcd_errors", "Calls to etcd without an answer, by operation", Declared(self.etcd_errors.clone()));
        r.register("word_hits", "Words matched, by list", Declared(self.word_hits.clone()));
        r.register("hook_calls", "Calls of the notification hook, by outcome", Declared(self.hook_calls.clone()));
        let help = "Comments about which the moderation hook did not answer, by reason";
        r.register("moderation_hook_fallbacks", help, Declared(self.hook_fallbacks.clone()));
        let help = "Answers of the moderation hook after the budget";
        r.register("moderation_hook_late", help, Declared(self.hook_late.clone()));
        let help = "Comments whose text the moderation hook had answered before";
        r.register("moderation_hook_cache_hits", help, Declared(self.hook_cache_hits.clone()));
        let help = "Comments about which the moderation hook was asked";
        r.register("moderation_hook_cache_misses", help, Declared(self.hook_cache_misses.clone()));
        let help = "Raids that moderators were told of, by kind";
        r.register("moderation_raid_alarms", help, Declared(self.raid_alarms.clone()));
        let help = "Passed comments that were kept for quality control";
        r.register("moderation_comments_sampled", help, Declared(self.comments_sampled.clone()));
        r.register("archived_sessions", "Sessions that left the database", Declared(self.archived_sessions.clone()));
        r.register("archived_comments", "Comments that left the database", Declared(self.archived_comments.clone()));
        let help = "Bytes of archived segments written";
        r.register_with_unit("archived", help, Unit::Bytes, Declared(self.archived_bytes.clone()));
        r.register("archive_errors", "Failures of the archive, by reason", Declared(self.archive_errors.clone()));
        r.register("archive_cache", "Archived segments read, by outcome", Declared(self.archive_cache.clone()));
        let help = "Objects removed because no segment named them";
        r.register("archive_collected", help, Declared(self.archive_collected.clone()));
        r.register("webhook_calls", "Calls to webhooks, by outcome", Declared(self.webhook_calls.clone()));
        let help = "Lines that standard error or standard output did not take";
        r.register("log_lines_dropped", help, Declared(self.log_lines_dropped.clone()));
        r.register("panics", "Panics, mistakes of this program", Declared(self.panics.clone()));
        r.register_with_unit("process_cpu", "CPU time used", Unit::Seconds, Declared(self.cpu_seconds.clone()));
        r.register_with_unit("process_resident", "Resident memory", Unit::Bytes, Declared(self.resident_bytes.clone()));
        let help = "Files and sockets that the process may have open";
        r.register("process_open_files_max", help, Declared(self.open_files_max.clone()));
        let help = "Bytes received in the process's network namespace";
        r.register_with_unit("process_network_receive", help, Unit::Bytes, Declared(self.network_received.clone()));
        let help = "Bytes sent from the process's network namespace";
        r.register_with_unit("process_network_transmit", help, Unit::Bytes, Declared(self.network_sent.clone()));
        r.register(
            "http_requests",
            "HTTP requests by route, method and class of status",
            Declared(self.http_requests.clone()),
        );
        let help = "Time until the head of the answer, by route and method";
        r.register_with_unit("http_request", help, Unit::Seconds, Declared(self.http_time.clone()));
        let help = "How long ready work waited for an event loop, by its name";
        r.register_with_unit("event_loop_lag", help, Unit::Seconds, Declared(self.loop_lag.clone()));
        r.register("trace_spans", "Spans of traces, by outcome", Declared(self.trace_spans.clone()));
        r.register("error_reports", "Reports of errors to Sentry, by outcome", Declared(crate::reports::counts()));
    }

    /// Counts one comment that the last of this process's sockets has now, and names its trace if it is followed.
    pub fn delivered_after(&self, seconds: f64, trace: Option<Trace>) {
        let exemplar = trace.map(|trace| [("trace_id", trace.to_string())]);
        let at = exemplar.is_some().then(SystemTime::now);
        self.publish_to_socket.observe(seconds, exemplar, at);
    }
}

/// A metric that is declared before it has a value, so that dashboards and alerts find it from the start.
#[derive(Debug)]
struct Declared<M>(M);

impl<M: EncodeMetric> EncodeMetric for Declared<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// Sockets without a label, and each door's connections with one, as one metric.
#[derive(Debug)]
struct Connections {
    sockets: Gauge,
    doors: Gauges,
}

impl EncodeMetric for Connections {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.sockets.get())?;
        self.doors.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// From half a millisecond to eight seconds.
fn short_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.000_5, 2.0, 15)
}

fn short_seconds() -> Histogram {
    Histogram::new(short_buckets())
}

/// From a tenth of a millisecond to three seconds.
fn lag_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 16))
}

/// Counts one under a single label.
pub fn count(family: &Labelled, label: &'static str, value: &'static str) {
    family.get_or_create(&vec![(label, value)]).inc();
}

/// Counts `n` under a single label.
pub fn count_by(family: &Labelled, label: &'static str, value: &'static str, n: u64) {
    family.get_or_create(&vec![(label, value)]).inc_by(n);
}

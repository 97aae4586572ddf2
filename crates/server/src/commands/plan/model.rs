//! The capacity model: measured figures, prices, and one formula for each line of a plan.
//!
//! Pure data. A measured figure names the command that gave it; `barrage bench --calibrate` writes those of another machine under
//! the same names. Lines build on each other from top to bottom.

/// A figure with its unit and where it comes from.
pub struct Measured {
    /// Its name in formulas.
    pub name: &'static str,
    /// The value on the machine of `bench/RESULTS.md`.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The command or page that gave it.
    pub source: &'static str,
}

const fn measured(name: &'static str, value: f64, unit: &'static str, source: &'static str) -> Measured {
    Measured { name, value, unit, source }
}

/// What a plan rests on. CPU is in microseconds of one core of the machine measured. `(estimated)` marks what nobody measured
/// yet.
pub const MEASURED: &[Measured] = &[
    measured("send_us", 4.0, "us", "barrage bench room --preset paced"),
    measured("delivery_us", 0.05, "us", "barrage bench room --preset full: what a further comment in a send costs"),
    measured("handshake_us", 22.0, "us", "barrage bench connect"),
    measured("idle_socket_bytes", 700.0, "bytes", "barrage bench idle: the server's memory"),
    measured("kernel_socket_bytes", 9_900.0, "bytes", "bench/cluster: the kernel's memory, buffers empty"),
    measured("publish_us", 10.9, "us", "barrage bench publish"),
    measured("node_kafka_us", 52.0, "us", "bench/cluster kafka 1 publish: ingest, worker and persist together"),
    measured("broker_us", 188.0, "us", "bench/cluster kafka 1 publish: three brokers, three copies"),
    measured("redis_us", 24.0, "us", "bench/cluster kafka 1 publish"),
    measured("mysql_us", 31.0, "us", "bench/cluster kafka 1 publish"),
    measured("message_us", 150.0, "us", "barrage bench chat (estimated)"),
    measured("comment_bytes", 331.0, "bytes", "barrage bench bandwidth: JSON in batches"),
    measured("record_bytes", 240.0, "bytes", "a comment's record in Kafka (estimated)"),
    measured("row_bytes", 614.0, "bytes", "a comment in MariaDB with its indexes: information_schema.tables"),
    measured("message_row_bytes", 520.0, "bytes", "a chat message in MySQL with its indexes (estimated)"),
    measured("archived_bytes", 18.3, "bytes", "bench/archive: a comment in a segment, no two users or texts the same"),
    measured("redis_viewer_bytes", 200.0, "bytes", "presence and room of an online viewer in Redis (estimated)"),
];

/// What an operator decides; a calibration file may change these too.
pub const CHOSEN: &[Measured] = &[
    measured("cores_per_node", 8.0, "cores", "size of a node"),
    measured("load_max", 0.6, "share", "share of a core in use at the peak"),
    measured("sockets_per_node", 100_000.0, "sockets", "memory and file descriptors of a node"),
    measured("viewer_budget_per_s", 200.0, "comments/s", "decision 0005: what one viewer is given at most"),
    measured("sends_per_s_max", 20.0, "sends/s", "rooms.window_ms_max = 50"),
    measured("hot_days", 7.0, "days", "archive.after_days"),
    measured("kafka_retention_days", 7.0, "days", "kafka.retention_hours"),
    measured("replicas", 3.0, "copies", "kafka.replicas"),
    measured("partition_per_s", 5_000.0, "comments/s", "comments a second of one partition (estimated)"),
    measured("redis_shard_cores", 1.0, "cores", "Redis runs commands on one core"),
    measured("peak_factor", 3.0, "ratio", "a day's busiest second over its average, for messages"),
    measured("watched_hours_per_day", 6.0, "hours", "hours a day at the given rates"),
];

/// Monthly prices, in any one currency.
pub const PRICES: &[Measured] = &[
    measured("price_node", 160.0, "per month", "8 cores, 32 GiB"),
    measured("price_broker", 200.0, "per month", "a Kafka broker without its disk"),
    measured("price_redis_shard", 60.0, "per month", "master and replica"),
    measured("price_mysql_node", 260.0, "per month", "a database node without its disk"),
    measured("price_disk_gb", 0.10, "per GB and month", "SSD"),
    measured("price_object_gb", 0.023, "per GB and month", "object storage"),
    measured("price_traffic_gb", 0.05, "per GB", "traffic to viewers"),
    measured("price_cdn_gb", 0.03, "per GB", "traffic from a CDN"),
];

/// One line of a plan.
pub struct Line {
    /// Its name in later formulas.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is calculated.
    pub formula: &'static str,
    /// Whether it is of one node rather than the whole deployment.
    pub per_node: bool,
}

const fn total(name: &'static str, unit: &'static str, formula: &'static str) -> Line {
    Line { name, unit, formula, per_node: false }
}

const fn per_node(name: &'static str, unit: &'static str, formula: &'static str) -> Line {
    Line { name, unit, formula, per_node: true }
}

/// The plan, line by line. Rooms are equally busy, so a viewer is given the comments of one room.
pub const LINES: &[Line] = &[
    total("delivered_per_viewer_s", "comments/s", "min(comments_per_s / rooms, viewer_budget_per_s)"),
    total("sends_per_viewer_s", "sends/s", "min(comments_per_s / rooms, sends_per_s_max)"),
    total("deliveries_per_s", "deliveries/s", "viewers * delivered_per_viewer_s"),
    total("sends_per_s", "sends/s", "viewers * sends_per_viewer_s"),
    total("messages_peak_per_s", "messages/s", "messages_per_day * peak_factor / 86400"),
    total("gateway_cores", "cores", "(sends_per_s * send_us + deliveries_per_s * delivery_us) / 1000000"),
    total(
        "gateway_nodes",
        "nodes",
        "ceil(max(1, viewers / sockets_per_node, gateway_cores / (cores_per_node * load_max)))",
    ),
    total("ingest_cores", "cores", "comments_per_s * node_kafka_us / 2 / 1000000"),
    total("ingest_nodes", "nodes", "ceil(max(1, ingest_cores / (cores_per_node * load_max)))"),
    total("worker_cores", "cores", "comments_per_s * node_kafka_us / 4 / 1000000"),
    total("worker_nodes", "nodes", "ceil(max(1, worker_cores / (cores_per_node * load_max)))"),
    total("persist_cores", "cores", "comments_per_s * node_kafka_us / 4 / 1000000"),
    total("persist_nodes", "nodes", "ceil(max(1, persist_cores / (cores_per_node * load_max)))"),
    total("api_cores", "cores", "messages_peak_per_s * message_us / 1000000"),
    total("api_nodes", "nodes", "ceil(max(1, api_cores / (cores_per_node * load_max)))"),
    total("nodes", "nodes", "gateway_nodes + ingest_nodes + worker_nodes + persist_nodes + api_nodes"),
    total("socket_memory_bytes", "bytes", "viewers * (idle_socket_bytes + kernel_socket_bytes)"),
    per_node("sockets_a_gateway", "sockets", "viewers / gateway_nodes"),
    per_node("socket_memory_a_gateway_bytes", "bytes", "socket_memory_bytes / gateway_nodes"),
    per_node("everybody_back_s", "seconds", "sockets_a_gateway * handshake_us / 1000000 / cores_per_node"),
    total("bandwidth_bits_per_s", "bits/s", "deliveries_per_s * comment_bytes * 8"),
    per_node("bandwidth_a_gateway_bits_per_s", "bits/s", "bandwidth_bits_per_s / gateway_nodes"),
    total("kafka_partitions", "partitions", "ceil(max(12, comments_per_s / partition_per_s))"),
    total("kafka_cores", "cores", "comments_per_s * broker_us / 1000000"),
    total("kafka_brokers", "brokers", "ceil(max(3, kafka_cores / (cores_per_node * load_max)))"),
    total("comments_per_day", "comments", "comments_per_s * watched_hours_per_day * 3600"),
    total("kafka_bytes", "bytes", "comments_per_day * kafka_retention_days * record_bytes * replicas"),
    total("redis_cores", "cores", "(comments_per_s + messages_peak_per_s) * redis_us / 1000000"),
    total("redis_shards", "shards", "ceil(max(1, redis_cores / (redis_shard_cores * load_max)))"),
    total("redis_memory_bytes", "bytes", "viewers * redis_viewer_bytes"),
    total("mysql_cores", "cores", "(comments_per_s + messages_peak_per_s) * mysql_us / 1000000"),
    total("mysql_nodes", "nodes", "ceil(max(1, mysql_cores / (cores_per_node * load_max)))"),
    total("mysql_rows_per_month", "rows", "(comments_per_day + messages_per_day) * 30"),
    total(
        "mysql_bytes",
        "bytes",
        "comments_per_day * min(retention_days, hot_days) * row_bytes + messages_per_day * retention_days * message_row_bytes",
    ),
    total("object_bytes", "bytes", "comments_per_day * max(0, retention_days - hot_days) * archived_bytes"),
    total("traffic_bytes_per_month", "bytes", "deliveries_per_s * comment_bytes * watched_hours_per_day * 3600 * 30"),
    total("cdn_bytes_per_month", "bytes", "traffic_bytes_per_month"),
    total("cost_nodes", "per month", "nodes * price_node"),
    total("cost_kafka", "per month", "kafka_brokers * price_broker + kafka_bytes / 1000000000 * price_disk_gb"),
    total("cost_redis", "per month", "redis_shards * price_redis_shard"),
    total("cost_mysql", "per month", "mysql_nodes * price_mysql_node + mysql_bytes / 1000000000 * price_disk_gb"),
    total("cost_objects", "per month", "object_bytes / 1000000000 * price_object_gb"),
    total("cost_traffic", "per month", "traffic_bytes_per_month / 1000000000 * price_traffic_gb"),
    total("cost_cdn_instead", "per month", "cdn_bytes_per_month / 1000000000 * price_cdn_gb"),
    total("cost", "per month", "cost_nodes + cost_kafka + cost_redis + cost_mysql + cost_objects + cost_traffic"),
];

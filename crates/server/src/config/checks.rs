//! What a value must be beyond its type, and which values go together. Called once, when everything is read.

use super::Config;

/// The first key that is out of range, and what it must be.
pub(super) fn out_of_range(config: &Config) -> Option<(&'static str, &'static str)> {
    let Config { server, auth, limits, rooms, sockets, tls, chat, uploads, hook, store, redis, .. } = config;
    let Config { kafka, etcd, nodes, log, .. } = config;
    let heard_at = nodes.listen.parse::<std::net::SocketAddr>();
    let checks = [
        (
            server.listen.parse::<std::net::SocketAddr>().is_ok(),
            "server.listen",
            "an address and port, such as 127.0.0.1:8080",
        ),
        (server.node_id <= model::snowflake::NODE_MAX, "server.node_id", "a number from 0 to 1023"),
        (server.shards <= 128, "server.shards", "a number from 0 to 128"),
        ((1..=10).contains(&server.drain_s_max), "server.drain_s_max", "a number of seconds from 1 to 10"),
        (model::RoomId::new(&server.namespace).is_ok(), "server.namespace", "1-64 characters of A-Z a-z 0-9 _ - . : @"),
        (
            auth.hmac_secret.is_empty() || auth.hmac_secret.len() >= 16,
            "auth.hmac_secret",
            "at least 16 bytes, or empty",
        ),
        (auth.admin_key.is_empty() || auth.admin_key.len() >= 8, "auth.admin_key", "at least 8 bytes, or empty"),
        ((1..=2_000).contains(&limits.comment_chars_max), "limits.comment_chars_max", "a number from 1 to 2000"),
        (
            (256..=1 << 20).contains(&limits.message_bytes_max),
            "limits.message_bytes_max",
            "a number of bytes from 256 to 1048576",
        ),
        (
            limits.message_bytes_max >= limits.comment_chars_max as usize * 4,
            "limits.message_bytes_max",
            "at least four times limits.comment_chars_max, or no comment of that length fits",
        ),
        (
            (1_024..=1 << 24).contains(&limits.body_bytes_max),
            "limits.body_bytes_max",
            "a number of bytes from 1024 to 16777216",
        ),
        (limits.normal_per_s > 0, "limits.normal_per_s", "at least 1"),
        (limits.vip_per_s > 0, "limits.vip_per_s", "at least 1"),
        (limits.owner_per_s > 0, "limits.owner_per_s", "at least 1"),
        (limits.room_per_s > 0, "limits.room_per_s", "at least 1"),
        (limits.global_per_s > 0, "limits.global_per_s", "at least 1"),
        (limits.likes_per_s > 0, "limits.likes_per_s", "at least 1"),
        (
            limits.cool_down_mute_ms <= limits.cool_down_mute_ms_max,
            "limits.cool_down_mute_ms",
            "at most limits.cool_down_mute_ms_max",
        ),
        (
            limits
                .trusted_proxies
                .iter()
                .all(|net| net.parse::<ipnet::IpNet>().is_ok() || net.parse::<std::net::IpAddr>().is_ok()),
            "limits.trusted_proxies",
            "addresses or networks such as 10.0.0.0/8",
        ),
        (rooms.window_ms_max <= 100, "rooms.window_ms_max", "a number of milliseconds from 0 to 100"),
        ((5..=100_000).contains(&rooms.viewer_per_s_max), "rooms.viewer_per_s_max", "a number from 5 to 100000"),
        (rooms.hot_per_s > 0, "rooms.hot_per_s", "at least 1"),
        (rooms.history_max <= 500, "rooms.history_max", "at most 500"),
        (rooms.history_default <= rooms.history_max, "rooms.history_default", "at most rooms.history_max"),
        (rooms.session_silence_s > 0, "rooms.session_silence_s", "at least 1 second"),
        (rooms.session_s_max > 0, "rooms.session_s_max", "at least 1 second"),
        (rooms.retention_days <= 36_500, "rooms.retention_days", "a number of days up to 36500, or 0 to keep comments"),
        ((1..=365).contains(&rooms.client_msg_id_days), "rooms.client_msg_id_days", "a number of days from 1 to 365"),
        ((5..=3_600).contains(&sockets.heartbeat_s), "sockets.heartbeat_s", "a number of seconds from 5 to 3600"),
        ((1..=300).contains(&sockets.login_s), "sockets.login_s", "a number of seconds from 1 to 300"),
        ((1..=300).contains(&sockets.handshake_s), "sockets.handshake_s", "a number of seconds from 1 to 300"),
        ((1..=300).contains(&sockets.slow_patience_s), "sockets.slow_patience_s", "a number of seconds from 1 to 300"),
        (sockets.backlog_bytes_max >= 16_384, "sockets.backlog_bytes_max", "at least 16384 bytes"),
        (
            (1..=1_024).contains(&sockets.rooms_per_socket_max),
            "sockets.rooms_per_socket_max",
            "a number from 1 to 1024",
        ),
        (sockets.compression_bytes_min > 0, "sockets.compression_bytes_min", "at least 1 byte"),
        (
            tls.certificate_file.as_os_str().is_empty() == tls.key_file.as_os_str().is_empty(),
            "tls.key_file",
            "set when tls.certificate_file is, and empty when that is",
        ),
        ((1..=20_000).contains(&chat.message_chars_max), "chat.message_chars_max", "a number from 1 to 20000"),
        (chat.messages_per_s > 0, "chat.messages_per_s", "at least 1"),
        (chat.burst > 0, "chat.burst", "at least 1"),
        ((1..=10_000).contains(&chat.group_members_max), "chat.group_members_max", "a number from 1 to 10000"),
        ((1..=3_650).contains(&chat.offline_days), "chat.offline_days", "a number of days from 1 to 3650"),
        (
            chat.history_days == 0 || (chat.offline_days.max(7)..=36_500).contains(&chat.history_days),
            "chat.history_days",
            "a number of days of at least 7 and chat.offline_days, or 0 to keep messages",
        ),
        (
            (1_024..=1 << 20).contains(&chat.encrypted_bytes_max),
            "chat.encrypted_bytes_max",
            "a number of bytes from 1024 to 1048576",
        ),
        ((60..=604_800).contains(&uploads.url_ttl_s), "uploads.url_ttl_s", "a number of seconds from 60 to 604800"),
        (
            uploads.types.iter().all(|kind| is_safe_type(kind)),
            "uploads.types",
            "media types such as image/png; none that browsers run (HTML, SVG, XML, scripts)",
        ),
        (
            hook.url.is_empty() || hook.url.starts_with("https://") || hook.url.starts_with("http://"),
            "hook.url",
            "an address with https:// or http://, or empty",
        ),
        (hook.url.is_empty() || hook.secret.len() >= 16, "hook.secret", "at least 16 bytes when hook.url is set"),
        (
            hook.kinds.iter().all(|kind| ["direct", "group"].contains(&kind.as_str())),
            "hook.kinds",
            "a list of \"direct\" and \"group\"",
        ),
        ((1..=60).contains(&hook.timeout_s), "hook.timeout_s", "a number of seconds from 1 to 60"),
        ((1..=30).contains(&hook.attempts_max), "hook.attempts_max", "a number from 1 to 30"),
        (store.spool_records_max > 0, "store.spool_records_max", "at least 1"),
        (store.spool_bytes_max >= 1 << 20, "store.spool_bytes_max", "at least 1048576 bytes"),
        (
            store.url.is_empty() || store.url.starts_with("mysql://"),
            "store.url",
            "mysql://user:password@host:port/database, or empty",
        ),
        (
            store.url.is_empty() == redis.url.is_empty(),
            "redis.url",
            "set when store.url is, and empty when that is: several nodes need both",
        ),
        (
            redis.url.is_empty() || redis.url.parse::<redis_client::Address>().is_ok(),
            "redis.url",
            "redis://host:port, redis+sentinel://host:port,host:port/master-name, redis+cluster://host:port,host:port, the same with rediss for TLS, or empty",
        ),
        (
            redis.ca_file.as_os_str().is_empty() || redis.url.starts_with("rediss"),
            "redis.ca_file",
            "empty when redis.url does not begin with rediss: without TLS there are no certificates",
        ),
        (
            redis.url.is_empty() || !auth.hmac_secret.is_empty(),
            "auth.hmac_secret",
            "set when redis.url is: nodes that each make their own do not know each other's tokens",
        ),
        (
            kafka.brokers.is_empty() || !redis.url.is_empty(),
            "kafka.brokers",
            "empty when redis.url is: a log on Kafka goes together with Redis and MySQL",
        ),
        ((1..=10_000).contains(&kafka.partitions), "kafka.partitions", "a number from 1 to 10000"),
        ((1..=15).contains(&kafka.replication), "kafka.replication", "a number of brokers from 1 to 15"),
        ((1..=kafka.replication).contains(&kafka.min_insync), "kafka.min_insync", "from 1 to kafka.replication"),
        (kafka.hot_shards.is_power_of_two() && kafka.hot_shards <= 16, "kafka.hot_shards", "1, 2, 4, 8 or 16"),
        (kafka.retention_hours > 0, "kafka.retention_hours", "at least 1 hour"),
        (
            etcd.endpoints.is_empty() || !redis.url.is_empty(),
            "etcd.endpoints",
            "empty when redis.url is: one process needs no registry",
        ),
        (
            etcd.endpoints.is_empty() || etcd.endpoints.split(',').all(|at| at.trim().starts_with("http://")),
            "etcd.endpoints",
            "http://host:port, several separated by commas, or empty",
        ),
        (
            nodes.listen.is_empty() || heard_at.is_ok(),
            "nodes.listen",
            "an address and port, such as 10.0.0.7:7070, or empty",
        ),
        (
            nodes.listen.is_empty() || !redis.url.is_empty(),
            "nodes.listen",
            "empty when redis.url is: one process speaks to no other",
        ),
        (
            kafka.brokers.is_empty() || !nodes.listen.is_empty(),
            "nodes.listen",
            "set when kafka.brokers is: workers push to gateways there",
        ),
        (
            !heard_at.is_ok_and(|at| at.ip().is_unspecified()) || !nodes.advertise.is_empty(),
            "nodes.advertise",
            "set when nodes.listen is every address of the machine: where do other nodes reach this one?",
        ),
        (
            nodes.advertise.is_empty() || is_place(&nodes.advertise),
            "nodes.advertise",
            "host:port, as other nodes reach this one, or empty",
        ),
        (
            log.level.parse::<tracing_subscriber::EnvFilter>().is_ok(),
            "log.level",
            "error, warn, info, debug, trace, or a filter of tracing",
        ),
    ];
    checks.into_iter().find(|(ok, ..)| !ok).map(|(_, key, expected)| (key, expected))
}

fn is_place(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Whether a media type is a plain `type/subtype` in lower case that no browser runs.
fn is_safe_type(kind: &str) -> bool {
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b))
    };
    let runs = ["html", "svg", "xml", "script"].iter().any(|part| kind.contains(part));
    kind.split_once('/').is_some_and(|(class, name)| plain(class) && plain(name)) && !runs
}

//! Which values go together, and what only the code that uses a value can check. Checked once, when everything is loaded.

use std::collections::HashSet;
use std::path::Path;

use api::Origins;
use archive::objects::Location;
use outbound::guard::{self, Forbidden};
use outbound::hook::Dialect;
use outbound::sentry::Dsn;
use settings::{Config, ENVELOPE_BYTES, ESCAPED_BYTES, ModerationHook};
use tracing_subscriber::EnvFilter;

use crate::backends;

/// Reasons of decisions: as many as a moderator can look through.
const REASONS_MAX: usize = 32;

/// Whether both files are set, or none.
fn are_both(one: &Path, other: &Path) -> bool {
    one.as_os_str().is_empty() == other.as_os_str().is_empty()
}

/// The first key that contradicts another, and what it must be.
pub(super) fn contradiction(config: &Config) -> Option<(&'static str, String)> {
    let Config { auth, limits, rooms, archive, tls, chat, hook, moderation, moderation_hook, store, .. } = config;
    let Config { redis, kafka, etcd, nodes, log, sentry, .. } = config;
    let (is_cluster, has_kafka) = (!redis.url.is_empty(), !kafka.brokers.is_empty());
    let peer_address = nodes.listen.parse::<std::net::SocketAddr>();
    let rules = [
        (
            Origins::new(&auth.origins, false).is_ok(),
            "auth.origins",
            "origins such as https://live.example.org, https://*.example.org or *",
        ),
        (
            Location::parse(&archive.url, Path::new("")).is_ok(),
            "archive.url",
            "empty, file:directory, file:///directory or s3://bucket/prefix",
        ),
        (
            redis.url.is_empty() || backends::is_redis_address(&redis.url),
            "redis.url",
            "redis://host:port, redis+sentinel://host:port,host:port/master-name, redis+cluster://host:port,host:port, \
             the same with rediss for TLS, or empty",
        ),
        (
            log.level.parse::<EnvFilter>().is_ok(),
            "log.level",
            "error, warn, info, debug, trace, or a filter of tracing",
        ),
        (
            sentry.dsn.is_empty() || Dsn::parse(&sentry.dsn).is_some(),
            "sentry.dsn",
            "a DSN such as https://key@host/project, or empty",
        ),
        (
            limits.message_bytes_max >= limits.comment_chars_max as usize * 4 + ENVELOPE_BYTES,
            "limits.message_bytes_max",
            "at least 2048 and four times limits.comment_chars_max, or no comment of that length fits",
        ),
        (
            limits.body_bytes_max >= limits.comment_chars_max as usize * ESCAPED_BYTES + ENVELOPE_BYTES,
            "limits.body_bytes_max",
            "at least 2048 and twelve times limits.comment_chars_max, or no comment of that length fits when it is escaped",
        ),
        (
            limits.cool_down_mute_ms <= limits.cool_down_mute_ms_max,
            "limits.cool_down_mute_ms",
            "at most limits.cool_down_mute_ms_max",
        ),
        (rooms.history_default <= rooms.history_max, "rooms.history_default", "at most rooms.history_max"),
        (
            are_both(&tls.certificate_file, &tls.key_file),
            "tls.key_file",
            "set when tls.certificate_file is, and empty when that is",
        ),
        (
            chat.history_days == 0 || chat.history_days >= chat.offline_days.max(7),
            "chat.history_days",
            "a number of days of at least 7 and chat.offline_days, or 0 to keep messages",
        ),
        (
            moderation.reasons.len() <= REASONS_MAX
                && moderation.reasons.iter().collect::<HashSet<_>>().len() == moderation.reasons.len(),
            "moderation.reasons",
            "at most 32 reasons, none of them twice",
        ),
        (
            moderation_hook.as_ref().is_none_or(|hook| hook_url(hook).is_ok()),
            "moderation.hook.url",
            moderation_hook.as_ref().and_then(|hook| hook_url(hook).err()).unwrap_or_default(),
        ),
        (
            moderation_hook.as_ref().is_none_or(|hook| {
                let mut secrets = hook.secret.split_whitespace();
                !hook.secret.trim().is_empty() && secrets.all(|secret| secret.len() >= 16)
            }),
            "moderation.hook.secret",
            "at least 16 bytes: the service verifies the calls with it",
        ),
        (hook.url.is_empty() || hook.secret.len() >= 16, "hook.secret", "at least 16 bytes when hook.url is set"),
        (
            store.url.is_empty() != is_cluster,
            "redis.url",
            "set when store.url is, and empty when that is: several nodes need both",
        ),
        (
            redis.ca_file.as_os_str().is_empty() || redis.url.starts_with("rediss"),
            "redis.ca_file",
            "empty when redis.url does not begin with rediss: without TLS there are no certificates",
        ),
        (
            redis.certificate_file.as_os_str().is_empty() || redis.url.starts_with("rediss"),
            "redis.certificate_file",
            "empty when redis.url does not begin with rediss: without TLS there are no certificates",
        ),
        (
            are_both(&redis.certificate_file, &redis.key_file),
            "redis.key_file",
            "set when redis.certificate_file is, and empty when that is",
        ),
        (
            !is_cluster || !auth.hmac_secret.is_empty(),
            "auth.hmac_secret",
            "set when redis.url is: nodes that each make their own do not know each other's tokens",
        ),
        (
            !has_kafka || is_cluster,
            "kafka.brokers",
            "empty when redis.url is: a log on Kafka goes together with Redis and MySQL",
        ),
        (
            !kafka.tls || backends::HAS_KAFKA_TLS,
            "kafka.tls",
            "false: this program was built without OpenSSL, by which alone it can speak TLS to Kafka (feature `kafka-tls`)",
        ),
        (
            kafka.tls || [&kafka.ca_file, &kafka.certificate_file].iter().all(|file| file.as_os_str().is_empty()),
            "kafka.tls",
            "true when kafka.ca_file or kafka.certificate_file is set: without TLS there are no certificates",
        ),
        (
            are_both(&kafka.certificate_file, &kafka.key_file),
            "kafka.key_file",
            "set when kafka.certificate_file is, and empty when that is",
        ),
        (kafka.min_insync <= kafka.replication, "kafka.min_insync", "from 1 to kafka.replication"),
        (kafka.hot_shards.is_power_of_two(), "kafka.hot_shards", "1, 2, 4, 8 or 16"),
        (
            etcd.endpoints.is_empty() || is_cluster,
            "etcd.endpoints",
            "empty when redis.url is: one process needs no registry",
        ),
        (
            etcd.ca_file.as_os_str().is_empty() != etcd.endpoints.contains("https://"),
            "etcd.ca_file",
            "set when an endpoint begins with https, and empty when none does",
        ),
        (
            are_both(&etcd.certificate_file, &etcd.key_file),
            "etcd.key_file",
            "set when etcd.certificate_file is, and empty when that is",
        ),
        (
            etcd.certificate_file.as_os_str().is_empty() || !etcd.ca_file.as_os_str().is_empty(),
            "etcd.certificate_file",
            "empty when etcd.ca_file is",
        ),
        (
            are_both(&nodes.ca_file, &nodes.certificate_file),
            "nodes.certificate_file",
            "set when nodes.ca_file is, and empty when that is: each node shows a certificate",
        ),
        (
            are_both(&nodes.certificate_file, &nodes.key_file),
            "nodes.key_file",
            "set when nodes.certificate_file is, and empty when that is",
        ),
        (
            nodes.ca_file.as_os_str().is_empty() || is_cluster,
            "nodes.ca_file",
            "empty when redis.url is: one process speaks to no other",
        ),
        (
            nodes.listen.is_empty() || is_cluster,
            "nodes.listen",
            "empty when redis.url is: one process speaks to no other",
        ),
        (
            !has_kafka || !nodes.listen.is_empty(),
            "nodes.listen",
            "set when kafka.brokers is: workers push to gateways there",
        ),
        (
            !peer_address.is_ok_and(|at| at.ip().is_unspecified()) || !nodes.advertise.is_empty(),
            "nodes.advertise",
            "set when nodes.listen is every address of the machine: where do other nodes reach this one?",
        ),
    ];
    let broken = rules.into_iter().find(|(holds, ..)| !holds).map(|(_, key, expected)| (key, expected.to_owned()));
    broken.or_else(|| {
        let refused = Dialect::load(&moderation_hook.as_ref()?.dialect).err()?;
        Some(("moderation.hook.dialect", format!("a dialect that can be read: {refused}")))
    })
}

/// Whether the moderation hook may be called at its address.
fn hook_url(hook: &ModerationHook) -> Result<(), &'static str> {
    match guard::check_url(&hook.url, hook.allow_private) {
        Ok(_) => Ok(()),
        Err(Forbidden::NoUrl) => Err("an address with https:// or http://, without a user and at most 2048 bytes"),
        Err(Forbidden::Private) => Err("a public address: private ones need moderation.hook.allow_private = true"),
    }
}

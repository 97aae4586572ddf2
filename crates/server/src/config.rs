//! Configuration: the embedded default file, then one TOML file, then the environment.
//!
//! `config/default.toml` is at once the manual and the defaults, so it holds every key there is. What
//! a file or the environment says is checked against it: an unknown key or another type is an error
//! that names the key, what was expected, and the line or variable it came from.

mod checks;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

/// The commented defaults.
pub const DEFAULT: &str = include_str!("../../../config/default.toml");

/// What every variable of ours begins with.
const ENV_PREFIX: &str = "BARRAGE__";

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? })+) => {
        $(
            $(#[$doc])* #[derive(Debug, Clone, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $(pub $field: $type),+ }
        )+
    };
}

// What each key means, its unit and its default stand in config/default.toml.
sections! {
    /// The whole configuration.
    Config {
        server: Server, auth: Auth, limits: Limits, rooms: Rooms, sockets: Sockets, tls: Tls, chat: Chat,
        uploads: Uploads, hook: Hook, store: Store, redis: Redis, kafka: Kafka, etcd: Etcd, nodes: Nodes, log: Log,
    }
    /// `[server]`
    Server { listen: String, data: PathBuf, node_id: u16, namespace: String, shards: usize, drain_s_max: u64 }
    /// `[auth]`
    Auth {
        hmac_secret: String, public_key_file: PathBuf, jwks_file: PathBuf, admin_key: String,
        anonymous_read: bool, origins: Vec<String>,
    }
    /// `[limits]`
    Limits {
        comment_chars_max: u32, message_bytes_max: usize, body_bytes_max: usize,
        normal_per_s: u32, vip_per_s: u32, owner_per_s: u32, room_per_s: u32, global_per_s: u32, likes_per_s: u32,
        duplicate_window_ms: u64, cool_down_refusals: u32, cool_down_within_ms: u64, cool_down_mute_ms: u64,
        cool_down_mute_ms_max: u64, mentions_max: usize, connections_per_address: u32,
        handshakes_per_address_per_s: u32, trusted_proxies: Vec<String>,
    }
    /// `[rooms]`
    Rooms {
        unopened: bool, session_silence_s: u32, session_s_max: u32, window_ms_max: u32, viewer_per_s_max: u32,
        history_default: u32, history_max: u32, history_s_max: u32, only_users_max: usize, held_max: usize,
        retention_days: u32, client_msg_id_days: u32, hot_per_s: u32,
    }
    /// `[sockets]`
    Sockets {
        heartbeat_s: u32, login_s: u32, handshake_s: u32, backlog_bytes_max: usize, slow_patience_s: u32,
        rooms_per_socket_max: usize, compression: bool, compression_bytes_min: usize,
    }
    /// `[tls]`
    Tls { certificate_file: PathBuf, key_file: PathBuf }
    /// `[chat]`
    Chat {
        message_chars_max: u32, messages_per_s: u32, burst: u32, recall_s: u32, recall_keeps_content: bool,
        group_members_max: u32, offline_days: u32, history_days: u32, word_filter: bool, encrypted_bytes_max: u32,
    }
    /// `[uploads]`
    Uploads {
        directory: PathBuf, image_bytes_max: u64, video_bytes_max: u64, file_bytes_max: u64, types: Vec<String>,
        url_ttl_s: u32,
    }
    /// `[hook]`
    Hook {
        url: String, secret: String, kinds: Vec<String>, include_content: bool, timeout_s: u32, attempts_max: u32,
    }
    /// `[store]`
    Store { url: String, spool_records_max: u64, spool_bytes_max: u64 }
    /// `[redis]`
    Redis { url: String, ca_file: PathBuf }
    /// `[kafka]`
    Kafka { brokers: String, partitions: u16, replication: u16, min_insync: u16, hot_shards: u16, retention_hours: u32 }
    /// `[etcd]`
    Etcd { endpoints: String }
    /// `[nodes]`
    Nodes { listen: String, advertise: String }
    /// `[log]`
    Log { level: String, format: LogFormat }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is wrong with the configuration, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// File and line, or the variable; nothing for the defaults.
    place: Option<String>,
    what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Reads the configuration.
///
/// # Errors
/// Names the first key that is unknown, of the wrong type or out of range, and where it stands.
pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut merged = defaults();
    let mut sources = Vec::new();
    if let Some(path) = file {
        merge_file(path, &mut merged, &mut sources)?;
    }
    merge_env(env, &mut merged, &mut sources)?;
    let place = |key: &str| sources.iter().rev().find(|(known, _)| known == key).map(|(_, place)| place.clone());
    // Every value has the type of its default by now: what is left to go wrong is a number beyond its type.
    let config: Config = serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
        let (key, inner) = (error.path().to_string(), error.into_inner());
        ConfigError { place: place(&key), what: format!("{key} is too large: {}", inner.message()) }
    })?;
    match checks::out_of_range(&config) {
        Some((key, expected)) => Err(ConfigError { place: place(key), what: format!("{key} must be {expected}") }),
        None => Ok(config),
    }
}

fn defaults() -> Table {
    DEFAULT.parse().unwrap_or_else(|error| unreachable!("the embedded defaults parse: {error}"))
}

/// Where each key that was set comes from, for errors found later.
type Sources = Vec<(String, String)>;

fn merge_file(path: &Path, into: &mut Table, sources: &mut Sources) -> Result<(), ConfigError> {
    let place = |line: usize| Some(format!("{}:{line}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError { place: Some(path.display().to_string()), what: error.to_string() })?;
    let line_at = |offset: usize| text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
    let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError {
        place: place(error.span().map_or(1, |span| line_at(span.start))),
        what: error.message().to_owned(),
    })?;
    let spans = toml::de::DeTable::parse(&text).map_err(|error| ConfigError {
        place: place(error.span().map_or(1, |span| line_at(span.start))),
        what: error.message().to_owned(),
    })?;
    let line_of = |section: &str, key: Option<&str>| {
        let (name, value) = spans.get_ref().iter().find(|(name, _)| name.get_ref() == section)?;
        let Some(key) = key else { return Some(line_at(name.span().start)) };
        let keys = value.get_ref().as_table()?;
        keys.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| line_at(name.span().start))
    };
    for (section, value) in table {
        let at = |key: Option<&str>| place(line_of(&section, key).unwrap_or(1));
        let Value::Table(keys) = value else {
            return Err(ConfigError { place: at(None), what: format!("{section} must be a section, [{section}]") });
        };
        if keys.is_empty() {
            known_section(into, &section).map_err(|what| ConfigError { place: at(None), what })?;
        }
        for (key, value) in keys {
            let place = at(Some(&key));
            set(into, &section, &key, value).map_err(|what| ConfigError { place: place.clone(), what })?;
            sources.push((format!("{section}.{key}"), place.unwrap_or_default()));
        }
    }
    Ok(())
}

fn merge_env(
    env: impl Iterator<Item = (String, String)>,
    into: &mut Table,
    sources: &mut Sources,
) -> Result<(), ConfigError> {
    for (name, text) in env {
        let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
        let fail = |what| ConfigError { place: Some(name.clone()), what };
        let path = path.to_lowercase();
        let (section, key) = path.split_once("__").ok_or_else(|| fail("expected BARRAGE__SECTION__KEY".into()))?;
        let value = env_value(into.get(section).and_then(|s| s.get(key)), &text);
        set(into, section, key, value).map_err(fail)?;
        sources.push((format!("{section}.{key}"), name.clone()));
    }
    Ok(())
}

/// A variable's text as the type that its key has: a list is written with commas.
fn env_value(default: Option<&Value>, text: &str) -> Value {
    let plain = || Value::String(text.to_owned());
    match default {
        Some(Value::Integer(_)) => text.trim().parse().map_or_else(|_| plain(), Value::Integer),
        Some(Value::Boolean(_)) => text.trim().parse().map_or_else(|_| plain(), Value::Boolean),
        Some(Value::Array(_)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        _ => plain(),
    }
}

fn known_section<'a>(into: &'a mut Table, section: &str) -> Result<&'a mut Table, String> {
    let known = into.keys().cloned().collect::<Vec<_>>().join(", ");
    match into.get_mut(section) {
        Some(Value::Table(keys)) => Ok(keys),
        _ => Err(format!("unknown section {section:?}; there are {known}")),
    }
}

fn set(into: &mut Table, section: &str, key: &str, value: Value) -> Result<(), String> {
    let keys = known_section(into, section)?;
    let known = keys.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(slot) = keys.get_mut(key) else {
        return Err(format!("unknown key {section}.{key}; [{section}] has {known}"));
    };
    if !fits(slot, &value) {
        let expected = expected(key, slot);
        return Err(format!("{section}.{key} must be {expected}, not {}", shown(&value)));
    }
    *slot = value;
    Ok(())
}

/// Whether a value is of its key's type. No number is negative, and lists hold strings.
fn fits(default: &Value, value: &Value) -> bool {
    match value {
        Value::Integer(number) => default.is_integer() && *number >= 0,
        Value::Array(items) => default.is_array() && items.iter().all(Value::is_str),
        value => default.same_type(value),
    }
}

/// What a key takes; the unit is in its name.
fn expected(key: &str, default: &Value) -> String {
    // The first that fits: a rate ends like a time.
    let unit = [
        ("_per_s", "a number a second"),
        ("_per_s_max", "a number a second"),
        ("_ms", "milliseconds"),
        ("_ms_max", "milliseconds"),
        ("_s", "seconds"),
        ("_s_max", "seconds"),
        ("_days", "days"),
        ("_bytes_max", "bytes"),
    ];
    match default {
        Value::Integer(_) => match unit.iter().find(|(suffix, _)| key.ends_with(suffix)) {
            Some((_, unit)) => format!("a whole number ({unit})"),
            None => "a whole number".into(),
        },
        Value::Boolean(_) => "true or false".into(),
        Value::Array(_) => "a list of strings".into(),
        _ => "a string".into(),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 40 { value.type_str().to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn from(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("b.toml");
        std::fs::write(&path, text).expect("written");
        load(Some(&path), env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    fn complaint(text: &str, env: &[(&str, &str)]) -> String {
        let complaint = from(text, env).expect_err(text).to_string();
        complaint.rsplit_once("b.toml").map_or(complaint.clone(), |(_, rest)| format!("b.toml{rest}"))
    }

    #[test]
    fn the_defaults_are_complete_and_in_range() {
        let config = load(None, std::iter::empty()).expect("valid");
        assert_eq!((config.server.listen.as_str(), config.limits.room_per_s), ("127.0.0.1:8080", 1_000));
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let config = from(
            "[limits]\nnormal_per_s = 2\nvip_per_s = 7\n",
            &[
                ("BARRAGE__LIMITS__NORMAL_PER_S", "3"),
                ("BARRAGE__AUTH__ORIGINS", "https://a.example, https://b.example"),
            ],
        )
        .expect("valid");
        assert_eq!((config.limits.normal_per_s, config.limits.vip_per_s, config.limits.owner_per_s), (3, 7, 10));
        assert_eq!(config.auth.origins, ["https://a.example", "https://b.example"]);
    }

    #[test]
    fn complaints_name_the_key_the_line_and_what_was_expected() {
        let cases = [
            ("[server]\nlistn = \"x\"\n", "b.toml:2: unknown key server.listn; "),
            ("[sever]\n", "b.toml:1: unknown section \"sever\"; "),
            (
                "\n[sockets]\nheartbeat_s = \"30s\"\n",
                "b.toml:3: sockets.heartbeat_s must be a whole number (seconds), not \"30s\"",
            ),
            (
                "[rooms]\n\nwindow_ms_max = 500\n",
                "b.toml:3: rooms.window_ms_max must be a number of milliseconds from 0 to 100",
            ),
            ("[rooms\n", "b.toml:1: "),
            (
                "[rooms]\nhistory_default = 90\nhistory_max = 50\n",
                "b.toml:2: rooms.history_default must be at most rooms.history_max",
            ),
        ];
        for (text, expected) in cases {
            let complaint = complaint(text, &[]);
            assert!(complaint.starts_with(expected), "{complaint}");
        }
        let complaint = complaint("", &[("BARRAGE__AUTH__HMAC_SECRET", "short")]);
        assert_eq!(complaint, "BARRAGE__AUTH__HMAC_SECRET: auth.hmac_secret must be at least 16 bytes, or empty");
    }

    #[test]
    fn numbers_out_of_their_type_are_named() {
        for (text, expected) in [
            (
                "[limits]\nnormal_per_s = -1\n",
                "b.toml:2: limits.normal_per_s must be a whole number (a number a second), not -1",
            ),
            ("[server]\nnode_id = 99999\n", "b.toml:2: server.node_id is too large: "),
            ("[auth]\norigins = [1]\n", "b.toml:2: auth.origins must be a list of strings, not [1]"),
        ] {
            let complaint = complaint(text, &[]);
            assert!(complaint.starts_with(expected), "{complaint}");
        }
    }

    /// Every key there is, with its section.
    fn keys() -> Vec<(String, String)> {
        let keys = |(section, keys): (String, Value)| {
            let keys: Vec<_> = keys.as_table().expect("a section").keys().cloned().collect();
            keys.into_iter().map(move |key| (section.clone(), key))
        };
        defaults().into_iter().flat_map(keys).collect()
    }

    /// A value as TOML writes it.
    fn value() -> impl Strategy<Value = String> {
        let strings = "[ -~]{0,20}".prop_map(|text| Value::String(text).to_string());
        let lists = prop::collection::vec("[a-z0-9./:*]{0,12}", 0..3).prop_map(|list| Value::from(list).to_string());
        let others = select(vec!["true", "false", "1.5", "nan", "[1]", "[[]]", "{ a = 1 }", "1979-05-27", "'30s'"]);
        let edges = select(vec![0, 1, 255, 256, 65_535, 65_536, i64::from(u32::MAX) + 1, i64::MAX, i64::MIN, -1]);
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            (0..2_000_i64).prop_map(|n| n.to_string()),
            edges.prop_map(|n| n.to_string()),
            strings,
            lists,
            others.prop_map(str::to_owned),
        ]
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[[a-z]{0,8}\\]?|[a-z_]{0,12} ?= ?[-0-9\"'\\[{a-z]{0,8}|\\PC{0,10}|\r?\n){0,12}") {
            if let Err(error) = from(&text, &[]) {
                prop_assert!(error.place.is_some(), "{error}");
            }
        }

        #[test]
        fn a_value_is_taken_or_refused_with_its_key_and_place((section, key) in select(keys()), value in value()) {
            if let Err(error) = from(&format!("[{section}]\n{key} = {value}\n"), &[]) {
                let complaint = error.to_string();
                prop_assert!(complaint.contains(&format!("{section}.{key}")), "{complaint}");
                // Impossible with another key's default: then there is no other place to name.
                let alone = complaint.contains(&format!("b.toml:2: {section}.{key} "));
                prop_assert!(alone || error.place.is_none(), "{complaint}");
            }
        }

        /// The environment takes and refuses what the file takes and refuses, and names the variable.
        #[test]
        fn the_environment_is_as_strict((section, key) in select(keys()), number in prop_oneof![any::<i64>(), 0..300_i64]) {
            let variable = format!("BARRAGE__{}__{}", section.to_uppercase(), key.to_uppercase());
            let in_file = from(&format!("[{section}]\n{key} = {number}\n"), &[]);
            let in_env = from("", &[(&variable, &number.to_string())]);
            match (in_file, in_env) {
                (Ok(_), Err(error)) => prop_assert!(false, "{error}"),
                (_, Err(error)) => prop_assert!(error.to_string().contains(&variable) || error.place.is_none(), "{error}"),
                (_, Ok(_)) => {}
            }
        }
    }
}

//! Configuration: the defaults, then one TOML file, then the environment.
//!
//! The crate `settings` defines every key and [`rules`] says which values go together; here they are merged and checked. An unknown
//! key, another type or a value out of range is an error that names the key, what was expected, and the line or variable it
//! came from. `config/default.toml` is the manual, printed from the same definitions.

mod manual;
mod rules;

use std::fmt;
use std::path::Path;

use archive::objects::Location;
use toml::{Table, Value};

pub use settings::{Config, Etcd, Kafka, Log, LogFormat, Nodes, Redis, Sentry, Server, Tls};
use settings::{MAX, SECTIONS, Section, Takes};

pub use self::manual::manual;

/// Every variable of ours begins with it.
const ENV_PREFIX: &str = "BARRAGE__";

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
    let mut merged = defaults(SECTIONS.iter());
    let mut sources = Vec::new();
    if let Some(path) = file {
        merge_file(path, &mut merged, &mut sources)?;
    }
    merge_env(env, &mut merged, &mut sources)?;
    merged.retain(|name, _| {
        let named = sources.iter().any(|(key, _)| key == name);
        named || SECTIONS.iter().any(|section| section.name == name && !section.is_optional)
    });
    let source = |key: &str| sources.iter().rev().find(|(known, _)| known == key).map(|(_, place)| place.clone());
    // What an optional section lacks is missing where the section is.
    let place = |key: &str| source(key).or_else(|| source(key.rsplit_once('.')?.0));
    if let Some((key, expected)) = refused_value(&merged) {
        return Err(ConfigError { place: place(&key), what: format!("{key} must be {expected}") });
    }
    // Every value has the type of its default by now: only a number beyond its type can still go wrong.
    let config: Config = serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
        let (key, inner) = (error.path().to_string(), error.into_inner());
        ConfigError { place: place(&key), what: format!("{key} is too large: {}", inner.message()) }
    })?;
    match rules::contradiction(&config) {
        Some((key, expected)) => Err(ConfigError { place: place(key), what: format!("{key} must be {expected}") }),
        None => Ok(config),
    }
}

/// Whether a configuration that cannot be loaded asks for a log of JSON, as far as that can be read: then the error is JSON.
pub fn wants_json_log(file: Option<&Path>) -> bool {
    let by_env = std::env::var(format!("{ENV_PREFIX}LOG__FORMAT")).ok();
    let by_file = || {
        let table: Table = std::fs::read_to_string(file?).ok()?.parse().ok()?;
        Some(table.get("log")?.get("format")?.as_str()?.to_owned())
    };
    by_env.or_else(by_file).is_some_and(|format| format == "json")
}

/// Where archived comments and uploads are, if anywhere. Over a database that nodes share, a directory within one node's data is
/// nowhere: what one node had moved there, no other would find.
pub fn archive_location(config: &Config) -> Option<Location> {
    if archive_is_one_nodes(config) {
        return None;
    }
    // The rules have refused what does not parse.
    Location::parse(&config.archive.url, &config.server.data).ok().flatten()
}

/// Whether `archive.url` names a directory within this node's data although the database is one that nodes share.
pub fn archive_is_one_nodes(config: &Config) -> bool {
    let relative = config.archive.url.strip_prefix("file:").is_some_and(|path| !path.starts_with('/'));
    relative && !config.store.url.is_empty()
}

/// Every key of some sections with its default.
fn defaults<'a>(sections: impl Iterator<Item = &'a Section>) -> Table {
    sections.map(|section| (section.name.into(), Value::Table(section.defaults()))).collect()
}

/// The first key whose value is not among those that it takes, and what these are.
fn refused_value(merged: &Table) -> Option<(String, String)> {
    let keys = SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.name, key)));
    keys.filter_map(|(section, key)| Some((section, key, merged.get(section)?.get(key.name)?)))
        .find(|(_, key, value)| !is_taken(&key.takes, value))
        .map(|(section, key, _)| (format!("{section}.{}", key.name), expected_value(key.name, &key.takes)))
}

fn is_taken(takes: &Takes, value: &Value) -> bool {
    match (takes, value) {
        (Takes::In(range), Value::Integer(number)) => range.contains(number),
        (Takes::Text(is_taken, _), Value::String(text)) => is_taken(text),
        (Takes::Text(is_taken, _), Value::Array(items)) => items.iter().filter_map(Value::as_str).all(is_taken),
        _ => true,
    }
}

/// What a key takes, for the error.
fn expected_value(key: &str, takes: &Takes) -> String {
    match takes {
        Takes::Any => String::new(),
        Takes::Text(_, expected) => (*expected).to_owned(),
        Takes::In(range) if *range.end() == MAX => match (range.start(), unit(key)) {
            (1, Some(unit)) => format!("at least 1 {}", unit.trim_end_matches('s')),
            (least, Some(unit)) => format!("at least {least} {unit}"),
            (least, None) => format!("at least {least}"),
        },
        Takes::In(range) => {
            let of_unit = unit(key).map(|unit| format!(" of {unit}")).unwrap_or_default();
            format!("a number{of_unit} from {} to {}", range.start(), range.end())
        }
    }
}

/// What a key counts; the unit is in its name.
fn unit(key: &str) -> Option<&'static str> {
    let key = key.trim_end_matches("_max").trim_end_matches("_min");
    let units =
        [("_ms", "milliseconds"), ("_s", "seconds"), ("_hours", "hours"), ("_days", "days"), ("_bytes", "bytes")];
    // A rate ends like a time.
    units.into_iter().find(|(suffix, _)| key.ends_with(suffix) && !key.ends_with("_per_s")).map(|(_, unit)| unit)
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
    // The line of a key by its path, such as `doors.irc.listen`.
    let line_of = |path: &str| {
        let (mut table, mut line) = (spans.get_ref(), None);
        for part in path.split('.') {
            let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
            line = Some(line_at(name.span().start));
            match value.get_ref().as_table() {
                Some(inner) => table = inner,
                None => break,
            }
        }
        line
    };
    let mut sections: Vec<(String, Value)> = table.into_iter().rev().collect();
    while let Some((section, value)) = sections.pop() {
        let at = |path: &str| place(line_of(path).unwrap_or(1));
        let Value::Table(keys) = value else {
            return Err(ConfigError { place: at(&section), what: format!("{section} must be a section, [{section}]") });
        };
        let named = keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), key, value));
        let (tables, keys): (Vec<_>, Vec<_>) = named.partition(|(path, ..)| is_section(path));
        let is_parent_only = !tables.is_empty() && keys.is_empty();
        sections.extend(tables.into_iter().rev().map(|(path, _, value)| (path, value)));
        if is_parent_only {
            continue;
        }
        known_section(into, &section).map_err(|what| ConfigError { place: at(&section), what })?;
        sources.push((section.clone(), at(&section).unwrap_or_default()));
        for (path, key, value) in keys {
            let place = at(&path);
            set(into, &section, &key, value).map_err(|what| ConfigError { place: place.clone(), what })?;
            sources.push((path, place.unwrap_or_default()));
        }
    }
    Ok(())
}

/// Whether there is a section of this name, such as `doors.irc`.
fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|section| section.name == name)
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
        let (section, key) = path.rsplit_once("__").ok_or_else(|| fail("expected BARRAGE__SECTION__KEY".into()))?;
        let section = section.replace("__", ".");
        let value = env_value(into.get(&section).and_then(|s| s.get(key)), &text);
        set(into, &section, key, value).map_err(fail)?;
        sources.push((section.clone(), name.clone()));
        sources.push((format!("{section}.{key}"), name.clone()));
    }
    Ok(())
}

/// A variable's text as its key's type; commas separate the items of a list.
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
        let expected = expected_type(key, slot);
        return Err(format!("{section}.{key} must be {expected}, not {}", shown(&value)));
    }
    *slot = value;
    Ok(())
}

/// Whether a value has its key's type. No number is negative, and lists hold strings.
fn fits(default: &Value, value: &Value) -> bool {
    match value {
        Value::Integer(number) => default.is_integer() && *number >= 0,
        Value::Array(items) => default.is_array() && items.iter().all(Value::is_str),
        value => default.same_type(value),
    }
}

/// The type that a key takes, for the error.
fn expected_type(key: &str, default: &Value) -> String {
    let is_rate = key.trim_end_matches("_max").ends_with("_per_s");
    match default {
        Value::Integer(_) => match unit(key).or(is_rate.then_some("a number a second")) {
            Some(unit) => format!("a whole number ({unit})"),
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
    fn the_manual_is_what_the_program_prints_and_says_the_defaults() {
        let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/default.toml"));
        let remedy = "run `barrage default-config > config/default.toml`";
        assert_eq!(file.expect("config/default.toml"), manual(), "{remedy}");
        let always = SECTIONS.iter().filter(|section| !section.is_optional);
        assert_eq!(manual().parse::<Table>().expect("TOML"), defaults(always));
    }

    #[test]
    fn nodes_that_share_a_database_archive_nothing_into_a_directory_of_their_own() {
        let shared = "[auth]\nhmac_secret = \"the same on all nodes\"\n[redis]\nurl = \"redis://h:6379\"\n\
                      [store]\nurl = \"mysql://u@h/d\"\n";
        let location = |text: &str| archive_location(&from(text, &[]).expect(text));
        assert_eq!(location(""), Some(Location::Directory("./data/archive".into())));
        assert_eq!(location(shared), None);
        let named = |url: &str| location(&format!("{shared}[archive]\nurl = \"{url}\"\n"));
        assert_eq!(named("file:///srv/past"), Some(Location::Directory("/srv/past".into())));
        assert!(matches!(named("s3://bucket/past"), Some(Location::Bucket { .. })));
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
    fn an_optional_section_is_on_when_it_is_named() {
        let config = from(&manual(), &[]).expect("valid");
        assert!(config.doors_irc.is_none() && config.doors_pusher.is_none() && config.doors_goim.is_none());
        let config = from("[doors.irc]\n", &[]).expect("valid");
        assert_eq!(config.doors_irc.map(|door| door.listen).as_deref(), Some("127.0.0.1:6667"));
        let config = from("[doors]\nembed = false\n[doors.irc]\nlisten = \"\"\n", &[]).expect("valid");
        assert_eq!((config.doors.embed, config.doors_irc.map(|door| door.listen)), (false, Some(String::new())));
        let config = from("", &[("BARRAGE__DOORS__GOIM__LISTEN", "127.0.0.1:3102")]).expect("valid");
        assert_eq!(config.doors_goim.map(|door| door.listen).as_deref(), Some("127.0.0.1:3102"));
        for (text, expected) in [
            (
                "\n[doors.pusher]\napp_id = \"1\"\nkey = \"k\"\n",
                "b.toml:2: doors.pusher.secret must be at least 16 bytes",
            ),
            ("[doors.irc]\nlisten = \"here\"\n", "b.toml:2: doors.irc.listen must be an address and port"),
            ("[doors.irc]\nport = 1\n", "b.toml:2: unknown key doors.irc.port; [doors.irc] has listen, tls_listen"),
            ("[doors.smtp]\n", "b.toml:1: "),
        ] {
            let complaint = complaint(text, &[]);
            assert!(complaint.starts_with(expected), "{complaint}");
        }
    }

    #[test]
    fn numbers_out_of_their_type_are_named() {
        for (text, expected) in [
            (
                "[limits]\nnormal_per_s = -1\n",
                "b.toml:2: limits.normal_per_s must be a whole number (a number a second), not -1",
            ),
            ("[server]\nnode_id = 99999\n", "b.toml:2: server.node_id must be a number from 0 to 1023"),
            ("[chat]\nrecall_s = 5000000000\n", "b.toml:2: chat.recall_s is too large: "),
            ("[rooms]\nsession_s_max = 0\n", "b.toml:2: rooms.session_s_max must be at least 1 second"),
            ("[auth]\norigins = [1]\n", "b.toml:2: auth.origins must be a list of strings, not [1]"),
            ("[auth]\norigins = [\"tv.example\"]\n", "b.toml:2: auth.origins must be origins such as "),
            (
                "[auth]\nadmin_key = \"fifteen-letters\"\n",
                "b.toml:2: auth.admin_key must be at least 16 bytes, or empty",
            ),
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
        defaults(SECTIONS.iter()).into_iter().flat_map(keys).collect()
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
                // An optional section that lacks a key is refused for that one.
                let is_optional = SECTIONS.iter().any(|known| known.name == section && known.is_optional);
                let named = if is_optional { format!("{section}.") } else { format!("{section}.{key}") };
                prop_assert!(complaint.contains(&named), "{complaint}");
                // Impossible with another key's default: then there is no other place to name.
                let alone = complaint.contains(&format!("b.toml:2: {section}.{key} "));
                // Or the complaint names the other key, and the place of their section.
                let of_section = complaint.contains("b.toml:1: ");
                prop_assert!(alone || is_optional || of_section || error.place.is_none(), "{complaint}");
            }
        }

        /// The environment takes and refuses what the file takes and refuses, and names the variable.
        #[test]
        fn the_environment_is_as_strict((section, key) in select(keys()), number in prop_oneof![any::<i64>(), 0..300_i64]) {
            let variable = format!("BARRAGE__{}__{}", section.to_uppercase().replace('.', "__"), key.to_uppercase());
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

//! What a room's owner may switch on beyond limits and words: `moderation` of `PUT /admin/rooms/{room_id}`.
//!
//! Owns the settings, their ranges, and how a change is merged into them. `ingest` applies them; the rules themselves are
//! in the crate `moderation`. Everything is off unless it is set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::room::InvalidSetting;
use crate::{Level, Snowflake, UserId};

/// Labels with a threshold.
const LABELS_MAX: usize = 32;
/// Hosts that links may lead to.
const HOSTS_MAX: usize = 100;
/// Terms that a room refuses, and characters of each.
const TERMS_MAX: usize = 200;
const TERM_CHARS_MAX: usize = 64;
/// People with a role in one room.
pub const ROLES_MAX: usize = 500;
/// The longest window of a rule, in seconds: a day.
const WINDOW_S_MAX: u32 = 86_400;
/// The longest that a follower or an account may be asked to exist, in seconds: a year.
const AGE_S_MAX: u32 = 366 * 86_400;

/// A share of 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Share(f64);

// Only finite numbers are ever stored.
impl Eq for Share {}

impl Share {
    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    fn is_valid(self) -> bool {
        (0.0..=1.0).contains(&self.0)
    }
}

/// What becomes of a comment; the strictest is last.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = ModerationVerdict)]
pub enum Verdict {
    /// Published.
    #[default]
    Allow,
    /// Published with another text.
    Mask,
    /// Held for a moderator.
    Hold,
    /// Shown to its sender and to moderators alone.
    Shadow,
    /// Refused.
    Deny,
}

impl Verdict {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Mask => "mask",
            Self::Hold => "hold",
            Self::Shadow => "shadow",
            Self::Deny => "deny",
        }
    }
}

/// What becomes of a comment about which the hook did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HookFallback)]
pub enum Fallback {
    /// Published.
    #[default]
    Allow,
    /// Held for a moderator.
    Hold,
    /// Refused as `unavailable`.
    Deny,
}

/// In [`crate::RoomSettings`]: written as an object even when nothing is set, so that readers need not ask whether it is
/// there, and kept as nothing then.
pub(crate) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Moderation;

    pub fn serialize<S: Serializer>(settings: &Option<Box<Moderation>>, serializer: S) -> Result<S::Ok, S::Error> {
        match settings {
            Some(settings) => settings.serialize(serializer),
            None => Moderation::default().serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Moderation>>, D::Error> {
        let settings = Option::<Moderation>::deserialize(deserializer)?.filter(|settings| !settings.is_empty());
        Ok(settings.map(Box::new))
    }
}

/// The score from which a label leads to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModerationThreshold)]
pub struct Threshold {
    /// The verdict.
    pub verdict: Verdict,
    /// The lowest score that leads to it.
    #[schema(value_type = f64, minimum = 0, maximum = 1)]
    pub score: Share,
}

/// Which links a comment may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = AllowedLinks)]
pub enum Links {
    /// `"none"`
    Word(NoLinks),
    /// Links to these hosts and those below them.
    Hosts(Vec<String>),
}

/// `"none"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoLinks {
    /// No link at all.
    None,
}

/// What becomes of somebody's first comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirstTime {
    /// Held for a moderator.
    Hold,
}

/// Seconds between two comments of one user: for normal users, or by level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum LevelSlow {
    /// Of normal users.
    Normal(u32),
    /// By level; a level that is absent is not slowed.
    ByLevel(BTreeMap<Level, u32>),
}

impl LevelSlow {
    /// Seconds between two comments of a user of this level; 0 is no limit.
    #[must_use]
    pub fn seconds(&self, level: Level) -> u32 {
        match self {
            Self::Normal(seconds) if level == Level::Normal => *seconds,
            Self::Normal(_) => 0,
            Self::ByLevel(levels) => levels.get(&level).copied().unwrap_or(0),
        }
    }
}

/// A room's moderation. Absent is off. Owner, moderators, helpers and admins are exempt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Moderation {
    /// Whether the hook decides; absent: when one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub hook: Option<bool>,
    /// What holds when the hook does not answer in time; absent: the deployment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fallback: Option<Fallback>,
    /// Which score of a label leads to which verdict; of several the strictest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, Threshold>,
    /// Links: `"none"`, or the hosts that they may lead to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub links: Option<Links>,
    /// Refuses what is this similar to one of the room's last 50 comments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false, minimum = 0, maximum = 1)]
    pub similar: Option<Share>,
    /// Refuses a text of at least 8 letters of which this share are capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false, minimum = 0, maximum = 1)]
    pub capitals: Option<Share>,
    /// Refuses texts with one of these terms; `*` stands for any letters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 200)]
    pub blocked_terms: Vec<String>,
    /// Takes comments of emoji alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub emoji_only: Option<bool>,
    /// Takes comments of those alone who have followed for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub followers_only_s: Option<u32>,
    /// Takes comments of accounts alone that are this old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account_age_s: Option<u32>,
    /// What becomes of comments of those of whom none was published here yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub first_time: Option<FirstTime>,
    /// No text twice within this long, whoever says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unique_s: Option<u32>,
    /// Everybody but moderators sees comments this much later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 60)]
    pub delay_s: Option<u32>,
    /// Takes comments of those alone whose token says `verified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub verified_only: Option<bool>,
    /// Seconds between two comments of one user: a number for normal users, or an object by level.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub level_slow_s: Option<LevelSlow>,
    /// Whether moderators are told when the room looks raided; absent: the deployment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub raid_alarm: Option<bool>,
    /// Whether the shield is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub shield: Option<bool>,
}

impl Moderation {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The shield's settings where a moderator names none.
    #[must_use]
    pub fn shield_preset() -> Map<String, Value> {
        let preset = Self {
            links: Some(Links::Word(NoLinks::None)),
            similar: Some(Share(0.8)),
            account_age_s: Some(600),
            first_time: Some(FirstTime::Hold),
            unique_s: Some(60),
            ..Self::default()
        };
        object(&preset)
    }

    /// These settings with `changes` merged in key by key (RFC 7396): null removes.
    ///
    /// # Errors
    /// Names the first key that is unknown, of another type or out of range.
    pub fn merged(&self, changes: &Map<String, Value>) -> Result<Self, InvalidSetting> {
        let mut merged = object(self);
        merge(&mut merged, changes);
        let settings: Self = serde_path_to_error::deserialize(Value::Object(merged)).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "moderation".into() } else { format!("moderation.{path}") };
            InvalidSetting { field: field.into(), expected: format!("as documented: {}", error.inner()).into() }
        })?;
        settings.check().map(|()| settings)
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        let wrong = |field: &str, expected: &'static str| {
            Err(InvalidSetting { field: format!("moderation.{field}").into(), expected: expected.into() })
        };
        let share = |share: Option<Share>| share.is_none_or(Share::is_valid);
        if !share(self.similar) {
            return wrong("similar", "a number from 0 to 1");
        }
        if !share(self.capitals) {
            return wrong("capitals", "a number from 0 to 1");
        }
        let label = |label: &String| (1..=64).contains(&label.len());
        let valid = |threshold: &Threshold| threshold.score.is_valid();
        if self.thresholds.len() > LABELS_MAX || !self.thresholds.keys().all(label) {
            return wrong("thresholds", "at most 32 labels of 1-64 bytes");
        }
        if !self.thresholds.values().all(valid) {
            return wrong("thresholds", "scores from 0 to 1");
        }
        if let Some(Links::Hosts(hosts)) = &self.links
            && !(hosts.len() <= HOSTS_MAX && hosts.iter().all(|host| is_host(host)))
        {
            return wrong("links", "\"none\", or at most 100 hosts such as example.com");
        }
        let term = |term: &String| term.chars().count() <= TERM_CHARS_MAX && term.chars().any(char::is_alphanumeric);
        if self.blocked_terms.len() > TERMS_MAX || !self.blocked_terms.iter().all(term) {
            return wrong("blocked_terms", "at most 200 terms of 1-64 characters, each with a letter or digit");
        }
        if self.unique_s.is_some_and(|s| s > WINDOW_S_MAX) {
            return wrong("unique_s", "at most 86400 seconds");
        }
        if self.delay_s.is_some_and(|s| s > 60) {
            return wrong("delay_s", "at most 60 seconds");
        }
        if self.followers_only_s.is_some_and(|s| s > AGE_S_MAX) {
            return wrong("followers_only_s", "at most 31622400 seconds");
        }
        if self.account_age_s.is_some_and(|s| s > AGE_S_MAX) {
            return wrong("account_age_s", "at most 31622400 seconds");
        }
        let slow = match &self.level_slow_s {
            None => 0,
            Some(LevelSlow::Normal(seconds)) => *seconds,
            Some(LevelSlow::ByLevel(levels)) => levels.values().copied().max().unwrap_or(0),
        };
        if slow > WINDOW_S_MAX {
            return wrong("level_slow_s", "at most 86400 seconds");
        }
        Ok(())
    }
}

fn is_host(host: &str) -> bool {
    let valid = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
    (1..=253).contains(&host.len()) && host.chars().all(valid)
}

fn object(settings: &Moderation) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn merge(into: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, change) in changes {
        match (change, into.get_mut(key)) {
            (Value::Null, _) => {
                into.remove(key);
            }
            // A null inside of what is new removes nothing, but must not stay either.
            (Value::Object(change), Some(Value::Object(known))) => merge(known, change),
            (Value::Object(change), _) => {
                let mut new = Map::new();
                merge(&mut new, change);
                into.insert(key.clone(), Value::Object(new));
            }
            (change, _) => {
                into.insert(key.clone(), change.clone());
            }
        }
    }
}

/// What somebody may do in one room, beyond its owner and what tokens say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomRole {
    /// Reads the audit trail and the reviews.
    Auditor = 1,
    /// Deletes comments, and mutes for up to ten minutes.
    Helper = 2,
    /// Deletes, mutes, bans, decides about held comments.
    Moderator = 3,
}

impl RoomRole {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Helper => "helper",
            Self::Moderator => "moderator",
        }
    }
}

/// What a token says about its bearer beyond identity and level.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Since when the bearer follows, Unix milliseconds.
    pub followed_at_ms: Option<i64>,
    /// Since when the account exists, Unix milliseconds.
    pub created_at_ms: Option<i64>,
    /// Whether the deployment has verified the person.
    pub verified: bool,
    /// Roles by room.
    pub roles: BTreeMap<crate::RoomId, RoomRole>,
}

/// A comment that stands at the top of its room until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The comment.
    pub comment: std::sync::Arc<crate::Comment>,
    /// Who pinned it.
    pub by: String,
    /// Its end, Unix milliseconds.
    pub until_ms: Option<i64>,
}

impl Pin {
    /// Whether it is of this comment.
    #[must_use]
    pub fn is_of(&self, id: Snowflake) -> bool {
        self.comment.id == id
    }
}

/// The roles given in one room, by user.
pub type RoomRoles = BTreeMap<UserId, RoomRole>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(settings: &Moderation, changes: Value) -> Result<Moderation, InvalidSetting> {
        let Value::Object(changes) = changes else { panic!("an object") };
        settings.merged(&changes)
    }

    #[test]
    fn changes_are_merged_key_by_key_and_null_removes() {
        let first = json!({ "links": ["example.com"], "thresholds": { "spam": { "verdict": "deny", "score": 0.9 } } });
        let first = merged(&Moderation::default(), first).expect("valid");
        let second = json!({ "links": null, "thresholds": { "insult": { "verdict": "hold", "score": 0.5 } } });
        let second = merged(&first, second).expect("valid");
        assert_eq!((second.links.as_ref(), second.thresholds.len()), (None, 2));
        let third = merged(&second, json!({ "thresholds": { "spam": null }, "links": "none" })).expect("valid");
        assert_eq!(third.thresholds.keys().collect::<Vec<_>>(), ["insult"]);
        assert_eq!(third.links, Some(Links::Word(NoLinks::None)));
        assert!(merged(&third, json!({ "thresholds": null, "links": null })).expect("valid").is_empty());
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (changes, field) in [
            (json!({ "similar": 1.5 }), "moderation.similar"),
            (json!({ "links": "some" }), "moderation.links"),
            (json!({ "links": ["http://a/"] }), "moderation.links"),
            (json!({ "blocked_terms": ["*"] }), "moderation.blocked_terms"),
            (json!({ "delay_s": -1 }), "moderation.delay_s"),
            (json!({ "delay_s": 61 }), "moderation.delay_s"),
            (json!({ "thresholds": { "spam": { "verdict": "deny", "score": 2 } } }), "moderation.thresholds"),
            (json!({ "linsk": "none" }), "moderation.linsk"),
        ] {
            let error = merged(&Moderation::default(), changes.clone()).expect_err("out of range");
            assert_eq!(error.field, field, "{changes}: {error}");
        }
    }
}
